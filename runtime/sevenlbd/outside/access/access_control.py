"""Who may come in: secrets, certificates, and the gateway that is told. Locks can be changed while a session lives."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ...wire.messages import NativeTls, Plan
from . import connectors, tls_files
from .connectors import Connectors
from .credentials import Credentials, new_tokens
from .gateway_link import GatewayLink


class AccessControl:
    """Who may come in to one session."""

    def __init__(self, wanted: Connectors, plan: Plan, login: str, native_port: int, place: Path, lasts: float) -> None:
        """`lasts` is how long the session does at most, in seconds; 0 when nobody knows."""
        self._wanted = wanted
        self._plan = plan
        self._login = login
        self._native = NativeTls(native_port, tuple(wanted.native_names())) if native_port else None
        self._place = place
        self._lasts = lasts
        self.web_certificate = ""
        """SHA-256 of the page's own certificate, when the session made one."""
        self.certificates: dict[str, str] = {}
        """What those inside serve with, by name."""
        self._access = Credentials(plan.guest.account, plan.password, plan.user, new_tokens())

    @asynccontextmanager
    async def kept(self, stop: Callable[[bool], None]) -> AsyncIterator[GatewayLink]:
        """The wire to the gateway, with all locks in place; `stop(at_once)` is called when a page asks for the end.

        Raises OSError when the secrets cannot be written, and Refusal for a certificate that cannot be used.
        """
        if self._wanted.certificate and self._wanted.key:
            await tls_files.adopt(self._wanted.certificate, self._wanted.key, self._place)
        self._link = GatewayLink(stop, self._take_bundle)
        hearing = asyncio.create_task(self._link.listen())
        try:
            await self._change_locks(web=self._wanted.makes_web_certificate)
            yield self._link
        finally:
            hearing.cancel()
            self._link.close()

    async def renew(self) -> None:
        """New tokens and client certificates: old links, bundles and open windows are worth nothing from now on.

        The page keeps its own certificate, which nobody comes in by. Raises OSError or RuntimeError.
        """
        self._access = self._access.renewed()
        await self._change_locks(web=False)

    async def _change_locks(self, *, web: bool) -> None:
        if web or self._native:
            made = await tls_files.make(
                self._place,
                session=self._plan.session,
                account=self._access.account,
                names=self._wanted.names(),
                seconds=self._lasts,
                web=web,
                native=self._native,
            )
            self.web_certificate = made.web or self.web_certificate
        self.certificates = tls_files.served(self._place)
        self._access.write(self._place)
        key = secrets.token_hex(32)
        self._link.let_in(connectors.front(self._wanted, self._plan, self._access, self._login, key, self._native))

    def _take_bundle(self) -> bytes:
        """For whoever came in by the page; whoever is first has it."""
        try:
            with tls_files.taken(self._place) as packed:
                return packed
        except (tls_files.Gone, OSError):
            return b""
