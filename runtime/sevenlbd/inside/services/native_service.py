"""Native RDP as a session offers it: stunnel with the certificates of the day."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from ...wire import shared_files
from ..init.root import SESSION
from . import helpers, native_rdp


class NativeService:
    """stunnel, while it runs, and what it serves with."""

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._stunnel: helpers.Kept | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve whoever the gateway lets through."""
        with native_rdp.listening() as knocking:
            descriptor = knocking.fileno()
            command, log_file = native_rdp.stunnel(descriptor), SESSION / shared_files.STUNNEL_LOG
            async with helpers.kept_running(
                "stunnel", command, log_file, self._warn, pass_fds=[descriptor]
            ) as self._stunnel:
                yield

    def serve_with(self, certificates: dict[str, str]) -> None:
        """Serve with these from now on: connections by the old ones are cut off."""
        try:
            native_rdp.write(certificates)
        except OSError as error:
            self._warn(f"the new certificates cannot be served with: {error.strerror}")
        if self._stunnel:
            self._stunnel.replace()
