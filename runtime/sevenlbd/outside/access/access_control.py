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
        wanted: Connectors,
        plan: Plan,
        login: str,
        native_port: int,
        place: Path,
        lasts: float,
        gateway: GatewayLink,
    ) -> None:
        """`lasts` is how long the session does at most, in seconds; 0 when nobody knows."""
        self._wanted = wanted
        self._plan = plan
        self._login = login
        self._native = NativeTls(native_port, tuple(wanted.native_names())) if native_port else None
        self._place = place
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
    wanted: Connectors, plan: Plan, login: str, native_port: int, place: Path, lasts: float, gateway: GatewayLink
) -> AsyncIterator[AccessControl]:
    """All locks in place and the gateway told, which is heard from now on.

    Raises OSError when the secrets cannot be written, and Refusal for a certificate that cannot be used.
    """
    if wanted.certificate and wanted.key:
        await tls_files.adopt(wanted.certificate, wanted.key, place)
    access_control = AccessControl(wanted, plan, login, native_port, place, lasts, gateway)
    hearing = asyncio.create_task(gateway.listen())
    try:
        await access_control.change_locks(web=wanted.makes_web_certificate)
        yield access_control
    finally:
        hearing.cancel()


def take_bundle(place: Path) -> bytes:
    """For whoever came in by the page; whoever is first has it."""
    try:
        with tls_files.taken(place) as packed:
            return packed
    except (tls_files.Gone, OSError):
        return b""
