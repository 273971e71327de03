"""Who may come in: secrets, certificates, and the gateway that is told. Locks can be changed while a session lives."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from ...wire.gateway import NativeTls
from ...wire.plan import Plan
from . import connectors, tls_files
from .connectors import Connectors
from .credentials import Credentials, new_tokens
from .gateway_link import GatewayLink


class AccessControl:
    """Who may come in to one session."""

    def __init__(
        self,
        ways_in: Connectors,
        plan: Plan,
        login: str,
        native_port: int,
        folder: Path,
        lasts: float,
        gateway: GatewayLink,
    ) -> None:
        """`lasts` is how long the session does at most, in seconds; 0 when nobody knows."""
        self._wanted = ways_in
        self._plan = plan
        self._login = login
        self._native = NativeTls(native_port, tuple(ways_in.native_names())) if native_port else None
        self._place = folder
        self._lasts = lasts
        self._gateway = gateway
        self.web_certificate = ""
        """SHA-256 of the page's own certificate, when the session made one."""
        self.certificates: dict[str, str] = {}
        """What those inside serve with, by name."""
        self._access = Credentials(plan.guest.account, plan.password, plan.user, new_tokens())

    async def renew(self) -> None:
        """New tokens and client certificates: old links, bundles and open windows are worth nothing from now on.

        The page keeps its own certificate, which nobody comes in by. Raises OSError or RuntimeError.
        """
        self._access = self._access.renewed()
        await self.change_locks(web=False)

    async def change_locks(self, *, web: bool) -> None:
        """Put all locks in place, and tell the gateway; `web` makes the page a certificate of its own."""
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
        self._gateway.let_in(connectors.front(self._wanted, self._plan, self._access, self._login, key, self._native))


@asynccontextmanager
async def opened(
    ways_in: Connectors, plan: Plan, login: str, native_port: int, folder: Path, lasts: float, gateway: GatewayLink
) -> AsyncIterator[AccessControl]:
    """All locks in place and the gateway told, which is heard from now on.

    Raises OSError when the secrets cannot be written, and Refusal for a certificate that cannot be used.
    """
    if ways_in.certificate and ways_in.key:
        await tls_files.adopt(ways_in.certificate, ways_in.key, folder)
    access_control = AccessControl(ways_in, plan, login, native_port, folder, lasts, gateway)
    hearing = asyncio.create_task(gateway.listen())
    try:
        await access_control.change_locks(web=ways_in.makes_web_certificate)
        yield access_control
    finally:
        hearing.cancel()


def take_bundle(folder: Path) -> bytes:
    """For whoever came in by the page; whoever is first has it."""
    try:
        with tls_files.taken(folder) as packed:
            return packed
    except (tls_files.Gone, OSError):
        return b""
