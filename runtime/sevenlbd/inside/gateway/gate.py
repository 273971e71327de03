"""What the gateway's parts share: who may come in, how the session is, and who is watching.

Whoever keeps a connection open (a WebSocket, a stream of events) does so under `Gate.watching`, and is ended from
here: by a newer viewer, by the renewal of the locks, by the session's end.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from ...wire.gateway import Asked, BundleWanted, FarewellSaid, Front
from ...wire.state import FINAL
from .authentication import Guesses, Visitor
from .client_bundle import ClientBundle
from .traffic import Traffic

# Close codes of our WebSockets (RFC 6455 section 7.4.2: 4000 and above are the application's own).
TAKEN_OVER = 4001  # a newer tab has the desktop
SESSION_ENDED = 4002
GUEST_UNREACHABLE = 4003  # the guest's RDP or its screen: not there, refusing, or not the one it was
RENEWED = 4004  # the key was renewed, or the visitor logged out
UNUSED = 4005  # a connection that was opened ahead, and nothing was said on it (ahead.py)

_REPLACED = 300  # a guess: the keys of a hundred renewals
_FRONT_SECONDS = 3.0  # the supervisor tells it as soon as the gateway runs
_FAREWELL_SECONDS = 0.6  # the supervisor waits for a second


@dataclass(eq=False)
class Watcher:
    """One open connection, and why it was ended from here (code 0: it was not)."""

    visitor: Visitor
    task: asyncio.Task[Any]
    stream: bool
    code: int = 0
    reason: str = ""

    def end(self, code: int, reason: str) -> None:
        """Interrupt its handler, wherever that stands. The first reason counts."""
        if not self.code:
            self.code, self.reason = code, reason
            self.task.cancel()


@dataclass
class Viewer:
    """The one tab that has the desktop."""

    tab: str
    watcher: Watcher


@dataclass
class Counters:
    """What the metrics tell beside the connections."""

    pages: int = 0
    failed_logins: int = 0
    refused: dict[int, int] = field(default_factory=dict)


class Gate:
    """One per process. The link calls `on_front` and `on_state`; the application reads."""

    def __init__(self, ask: Callable[[Asked], None], rdp: tuple[str, int], vnc: str = "") -> None:
        """`ask` sends up the wire to the supervisor.

        `rdp` is where the guest's RDP server is; `vnc` QEMU's socket, empty when the console is off.
        """
        self.ask = ask
        self.rdp = rdp
        self.vnc = vnc
        self.pages_version = ""
        self.front: Front | None = None
        self.state: dict[str, Any] = {}
        self.guesses = Guesses()
        self.counters = Counters()
        self.traffic = {name: Traffic() for name in ("desktop", "console", "rdp", "vnc")}
        self.bundle = ClientBundle(lambda: ask(BundleWanted()))
        self._there = asyncio.Event()
        self.changed = asyncio.Event()
        self._watchers: set[Watcher] = set()
        self._left: set[str] = set()
        self._viewer: Viewer | None = None
        self.unused: dict[str, Watcher] = {}
        """Who waits with a connection that was opened ahead, by the cookie's nonce (ahead.py)."""
        self.begun: dict[str, Any] = {}
        """Connections with the guest that wait for their client, by the cookie's nonce: begun.Begun, which needs us."""
        self._farewell: asyncio.Task[None] | None = None
        self.late_inputs = 0
        """How much was typed too long ago, and not delivered."""
        self.replaced: deque[str] = deque(maxlen=_REPLACED)
        """SHA-256 of tokens that opened this session once."""

    def on_front(self, front: Front) -> None:
        """Who may come in from now on; whoever came in by an older key goes."""
        old, self.front = self.front, front
        if not old or old.cookie_key != front.cookie_key:
            self.bundle.void()  # what was meant for a gateway before this one may open older locks, too
        if old and old.cookie_key != front.cookie_key:
            self.replaced.extend(set(old.tokens.values()) - set(front.tokens.values()))
            self._left.clear()
            self.end(lambda _: True, RENEWED, "the key was renewed")
        self._there.set()
        self.tell()

    def on_state(self, state: dict[str, Any]) -> None:
        """How the session is now. At its end all viewers are told, and then the supervisor that they were."""
        self.state = state
        self.tell()
        if state.get("phase") in FINAL and not self._farewell:
            self.bundle.void()
            self._farewell = asyncio.ensure_future(self._say_farewell())

    def note_late(self) -> None:
        """Something was typed too long ago: the pages say so."""
        self.late_inputs += 1
        self.tell()

    def tell(self) -> None:
        """Wake those who wait for news: each change has an event of its own."""
        self.changed.set()
        self.changed = asyncio.Event()

    @property
    def over(self) -> bool:
        """Whether the session has ended."""
        return self.state.get("phase") in FINAL

    @property
    def viewer(self) -> str:
        """The tab that has the desktop; empty when none has."""
        return self._viewer.tab if self._viewer else ""

    async def known(self) -> Front | None:
        """The front; None when the supervisor has not told it in time."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._there.wait(), _FRONT_SECONDS)
        return self.front

    @contextmanager
    def watching(self, visitor: Visitor, *, stream: bool = False) -> Iterator[Watcher]:
        """Until the block is left, this task's connection can be ended from here: the block is cut short then."""
        task = asyncio.current_task()
        assert task
        watcher = Watcher(visitor, task, stream)
        self._watchers.add(watcher)
        try:
            yield watcher
        except asyncio.CancelledError:
            if not watcher.code or task.uncancel() > 0:
                raise
        finally:
            self._watchers.discard(watcher)

    def watchers(self, *, stream: bool) -> int:
        """How many streams of events, or WebSockets, are open."""
        return sum(watcher.stream is stream for watcher in self._watchers)

    def end(self, which: Callable[[Watcher], bool], code: int, reason: str) -> None:
        """End the connections that `which` picks."""
        for watcher in [watcher for watcher in self._watchers if which(watcher)]:
            watcher.end(code, reason)

    def left(self, visitor: Visitor) -> bool:
        """Whether the visitor has logged out."""
        return visitor.nonce in self._left

    def leave(self, visitor: Visitor) -> None:
        """Log out: this cookie opens nothing any more."""
        if visitor.nonce:
            self._left.add(visitor.nonce)
            self.end(lambda watcher: watcher.visitor.nonce == visitor.nonce, RENEWED, "logged out")

    @contextmanager
    def desktop_for(self, tab: str, watcher: Watcher) -> Iterator[None]:
        """Give the desktop to `tab` until the block is left; whoever has it goes."""
        if self._viewer:
            self._viewer.watcher.end(TAKEN_OVER, "taken over by another tab")
        ours = self._viewer = Viewer(tab, watcher)
        self.tell()
        try:
            yield
        finally:
            if self._viewer is ours:
                self._viewer = None
                self.tell()

    async def _say_farewell(self) -> None:
        """The streams end by themselves after the final state; the sockets have to be ended."""
        self.end(lambda watcher: not watcher.stream, SESSION_ENDED, "the session has ended")
        tasks = {watcher.task for watcher in self._watchers}
        if tasks:
            await asyncio.wait(tasks, timeout=_FAREWELL_SECONDS)
        self.ask(FarewellSaid())
