"""IronRDP, the client that the desktop's page has: the same module, told the same things as lib/rdp.js tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .bindgen import WasmModule
from .browser import Canvas, GatewayWire, PageWindow
from .imports import Handle, table
from .values import Thrown

NAME = "iron-remote-desktop-rdp"
# IronErrorKind of iron-remote-desktop.
KINDS = {1: "wrong password", 2: "log-in refused", 3: "access denied", 4: "RDCleanPath", 5: "proxy", 6: "negotiation"}
BROKEN_OFF = "log-in broken off"
REFUSED = frozenset({"wrong password", "log-in refused", "access denied", BROKEN_OFF})
# What servers do that say nothing to a wrong password, or an error of their own (as in lib/rdp.js).
_HUNG_UP = ("not enough bytes", "CredSSP server returned an error")
_EXTENSIONS = {"enable_credssp": True, "display_control": False}


class NotLetIn(Exception):
    """No connection. `kind` is one of KINDS, or `general`."""

    def __init__(self, kind: str, words: str) -> None:
        super().__init__(words)
        self.kind = kind


@dataclass(frozen=True)
class Login:
    """What the client is to log in with, and where."""

    account: str
    password: str
    destination: str
    proxy: str
    """The gateway's WebSocket."""


class IronClient:
    """One instance of the module."""

    def __init__(self, folder: Path, wire: GatewayWire) -> None:
        self._module = WasmModule(folder, NAME, table(PageWindow(wire)))
        self._module.call("setup", *self._module.put("ERROR"))

    async def connect(self, login: Login, canvas: Canvas) -> RdpSession:
        """The session that came of it. Raises NotLetIn."""
        builder = self._builder(login, canvas)
        try:
            handle: Handle = await self._module.call("sessionbuilder_connect", builder)
        except Thrown as error:
            raise self._refusal(error) from None
        return RdpSession(self._module, handle.address)

    def _builder(self, login: Login, canvas: Canvas) -> int:
        call = self._module.call
        builder: int = call("sessionbuilder_create")
        texts: Mapping[str, str] = {
            "username": login.account,
            "password": login.password,
            "destination": login.destination,
            "serverDomain": "",
            "proxyAddress": login.proxy,
            "authToken": "cookie",
        }
        for name, text in texts.items():
            builder = call(f"sessionbuilder_{name}", builder, *self._module.put(text))
        size = call("desktopsize_create", canvas.width, canvas.height)
        builder = call("sessionbuilder_desktopSize", builder, size)
        builder = call("sessionbuilder_renderCanvas", builder, canvas)
        for name, value in _EXTENSIONS.items():
            extension = call("extension_create", *self._module.put(name), value)
            builder = call("sessionbuilder_extension", builder, extension)
        builder = call("sessionbuilder_setCursorStyleCallbackContext", builder, None)
        for name in ("setCursorStyleCallback", "canvasResizedCallback"):
            builder = call(f"sessionbuilder_{name}", builder, lambda *_: None)
        return builder

    def _refusal(self, error: Thrown) -> NotLetIn:
        if not isinstance(error.value, Handle):
            return NotLetIn("general", str(error.value))
        kind = KINDS.get(self._module.call("ironerror_kind", error.value.address), "general")
        words = self._module.text(*self._module.call("ironerror_backtrace", error.value.address))
        if kind == "general" and any(one in words for one in _HUNG_UP):
            kind = BROKEN_OFF
        return NotLetIn(kind, words)


class RdpSession:
    """A connection that stands."""

    def __init__(self, module: WasmModule, address: int) -> None:
        self._module, self._address = module, address

    def size(self) -> tuple[int, int]:
        size = self._module.call("session_desktopSize", self._address)
        return (
            self._module.call("__wbg_get_desktopsize_width", size),
            self._module.call("__wbg_get_desktopsize_height", size),
        )

    async def run(self) -> str:
        """Until it ends: the server's word for that, or why it broke."""
        try:
            handle: Handle = await self._module.call("session_run", self._address)
        except Thrown as error:
            return str(error)
        return str(self._module.text(*self._module.call("sessionterminationinfo_reason", handle.address)))

    def send(self, *events: int) -> None:
        """Events of `move` and `button`, at once. Raises Thrown."""
        transaction = self._module.call("inputtransaction_create")
        for event in events:
            self._module.call("inputtransaction_addEvent", transaction, event)
        self._checked("session_applyInputs", transaction)

    def move(self, x: int, y: int) -> int:
        return int(self._module.call("deviceevent_mouseMove", x, y))

    def button(self, *, pressed: bool) -> int:
        """The left one."""
        return int(self._module.call(f"deviceevent_mouseButton{'Pressed' if pressed else 'Released'}", 0))

    def close(self) -> None:
        self._checked("session_shutdown")

    def _checked(self, name: str, *arguments: Any) -> None:
        self._module.checked(name, self._address, *arguments)
