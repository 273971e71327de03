"""The session's door: its secrets, its certificates, and the gateway that keeps it. Locks can be changed while it lives."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ..messages import Plan
from ..state import SessionState
from . import connectors
from .access import Access, new_tokens
from .connectors import Connectors
from .gateway_link import GatewayLink


class Door:
    """Who may come in to one session, and how the gateway learns of it."""

    def __init__(self, wanted: Connectors, plan: Plan, login: str, native_port: int, place: Path) -> None:
        self._wanted = wanted
        self._plan = plan
        self._login = login
        self._native_port = native_port
        self._place = place
        self._access = Access(plan.guest.account, plan.password, plan.user, new_tokens())

    @asynccontextmanager
    async def kept(self, stop: Callable[[bool], None]) -> AsyncIterator[GatewayLink]:
        """The wire to the gateway, with all locks in place; `stop(at_once)` is called when a page asks for the end.

        Raises OSError when the secrets cannot be written.
        """
        self._link = GatewayLink(stop)
        hearing = asyncio.create_task(self._link.listen())
        try:
            self._change_locks()
            yield self._link
        finally:
            hearing.cancel()
            self._link.close()

    async def renew(self) -> None:
        """New tokens: old links, and windows that are open by them, are worth nothing from now on. Raises OSError."""
        self._access = self._access.renewed()
        self._change_locks()

    def _change_locks(self) -> None:
        self._access.write(self._place)
        key = secrets.token_hex(32)
        self._link.let_in(
            connectors.front(self._wanted, self._plan, self._access, self._login, key, self._native_port)
        )
