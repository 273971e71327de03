"""How `run` tells its progress: a live table on a terminal, plain lines elsewhere, or JSON lines.

It shows what the state says and decides nothing. The only secret that comes here is the page's key, and only a terminal
is shown it: a job's log may be readable for others.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ...base.errors import Refusal, visible
from ...wire.state import Phase, SessionState
from ..access import credentials
from .instructions import link, ready_block
from .terminal import say_on

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_STEPS = (Phase.PREPARING, Phase.BOOTING, Phase.GUEST_UP, Phase.READY)
_MEANING = {
    Phase.PREPARING: "namespace, network, overlay",
    Phase.BOOTING: "the machine runs its firmware and system",
    Phase.GUEST_UP: "the guest answers; its desktop starts",
    Phase.READY: "you can log in",
    Phase.STOPPING: "the guest is shut down",
    Phase.ENDED: "nothing is left behind",
    Phase.FAILED: "the reason follows",
}


class Display(Protocol):
    """What the supervisor tells its user."""

    def update(self, state: SessionState) -> None:
        """Something in the state has changed."""

    def warn(self, text: str) -> None:
        """A warning that came while the session runs."""

    def note(self, text: str) -> None:
        """Something that happens while the session runs, and that nobody need mend."""

    def ready(self, state: SessionState) -> None:
        """The desktop is ready: how to connect."""

    def kept(self, place: Path) -> None:
        """A failed session's logs are kept there."""

    def finished(self, state: SessionState) -> None:
        """The session is over and cleaned up."""

    def refused(self, refusal: Refusal) -> None:
        """There is no session; whoever called prints why for people."""

    def unheard(self) -> str:
        """That what was said could not be written, and where; once."""


def choose(*, as_json: bool, sif: str) -> Display:
    """The display that fits the standard output."""
    if as_json:
        return JsonLines()
    if sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb":
        return Terminal(sif)
    return Lines(sif)


def _say(*lines: str, error: bool = False) -> None:
    if trouble := say_on(*lines, error=error):
        _Output.trouble = _Output.trouble or trouble


class _Output:
    """What could not be written, for all displays: there is one output."""

    trouble = ""
    told = False

    def unheard(self) -> str:
        """Why nothing of this is read, the first time that there is a reason."""
        if not _Output.trouble or _Output.told:
            return ""
        _Output.told = True
        return (
            f"the output cannot be written ({_Output.trouble}): what would stand there is on the page and in `status`"
        )


class JsonLines(_Output):
    """Every change as one JSON object a line."""

    def __init__(self) -> None:
        self._last: Phase | None = None

    def update(self, state: SessionState) -> None:
        if state.phase is not self._last:
            self._last = state.phase
            self._print("phase", asdict(state))

    def warn(self, text: str) -> None:
        self._print("warning", {"text": text})

    def note(self, text: str) -> None:
        self._print("note", {"text": text})

    def ready(self, state: SessionState) -> None:
        self._print("ready", {"id": state.id, "folder": state.folder, "url": state.url})

    def kept(self, place: Path) -> None:
        self._print("kept", {"folder": str(place)})

    def finished(self, state: SessionState) -> None:
        self._print("finished", asdict(state))

    def refused(self, refusal: Refusal) -> None:
        self._print("refused", {"what": refusal.what, "hint": refusal.hint, "code": int(refusal.code)})

    def _print(self, event: str, fields: dict[str, object]) -> None:
        _say(json.dumps({"event": event, **fields}))


class Lines(_Output):
    """Plain lines, for a job's log."""

    def __init__(self, sif: str) -> None:
        self._sif = sif
        self._last: Phase | None = None
        self._milestones: set[str] = set()
        self._link = ""

    def update(self, state: SessionState) -> None:
        if self._last is None:
            for text in _heading(state):
                _say(f"7lbd: {text}")
            for text in state.warnings:
                self.warn(text)
        self._show_link(state)
        for name, at in state.milestones.items():
            if name not in self._milestones:
                self._milestones.add(name)
                _say(f"7lbd: {at:7.1f} s    {name}")
        if state.phase is not self._last:
            self._last = state.phase
            why = f" ({state.reason})" if state.phase is Phase.STOPPING and state.reason else ""
            at = state.phases.get(state.phase, 0.0)
            _say(f"7lbd: {at:7.1f} s  {state.phase}: {_MEANING[state.phase]}{why}")

    def warn(self, text: str) -> None:
        _say(f"7lbd: WARNING: {text}")

    def note(self, text: str) -> None:
        _say(f"7lbd: {_clock()}: {text}")

    def ready(self, state: SessionState) -> None:
        _say("", *ready_block(state, self._sif, self._link).split("\n"), "")

    def kept(self, place: Path) -> None:
        _say(f"7lbd: logs and last screen are kept in {place}")

    def finished(self, state: SessionState) -> None:
        if state.phase is Phase.FAILED:
            _say(f"7lbd: FAILED: {state.reason}", *([f"  {state.hint}"] if state.hint else []), error=True)
        else:
            machine = f"; {state.end}" if state.end and state.end != state.reason else ""
            _say(f"7lbd: {_clock()}: session {state.id} has ended: {state.reason}{machine}")

    def refused(self, refusal: Refusal) -> None:
        pass

    def begin_anew(self) -> None:
        """What comes next is another session."""
        self._last = None
        self._milestones = set()
        self._link = ""

    def _show_link(self, state: SessionState) -> None:
        """The page works long before the desktop does: tell it as soon as there is one."""
        if not self._link and (found := self._find_link(state)):
            self._link = found
            self._say_link(f"7lbd: watch it start, and use it, in the browser: {found}")

    def _find_link(self, state: SessionState) -> str:
        return state.url

    def _say_link(self, text: str) -> None:
        _say(text)


class Terminal(Lines):
    """A table that is redrawn in place until the desktop is ready; then lines."""

    def __init__(self, sif: str) -> None:
        super().__init__(sif)
        self._live: Live | None = None
        self._state: SessionState | None = None

    def update(self, state: SessionState) -> None:
        self._state = state
        if self._live is None and self._last is None:
            self._open()
        self._show_link(state)
        if state.phase not in _STEPS or state.phase is Phase.READY:
            self._close()
            super().update(state)
            return
        self._last = state.phase

    def refused(self, refusal: Refusal) -> None:
        self._close()

    def warn(self, text: str) -> None:
        if self._live:
            self._live.console.print(f"[bold yellow]WARNING[/]: {_literally(text)}", highlight=False)
        else:
            super().warn(text)

    def _find_link(self, state: SessionState) -> str:
        """With its key, as soon as that has been made."""
        try:
            return link(state, credentials.read(Path(state.folder)), "desktop")
        except (OSError, ValueError):
            return ""

    def _say_link(self, text: str) -> None:
        if self._live:
            self._live.console.print(_literally(text), highlight=False, soft_wrap=True)
        else:
            super()._say_link(text)

    def note(self, text: str) -> None:
        if self._live:
            self._live.console.print(_literally(text), highlight=False)
        else:
            super().note(text)

    def _open(self) -> None:
        from rich.live import Live  # costs 70 ms: not before the session is on its way

        assert self._state
        self._live = Live(get_renderable=self._table, refresh_per_second=4, transient=False)
        self._live.start()
        for text in self._state.notes:
            self.note(text)
        for text in self._state.warnings:
            self.warn(text)

    def _close(self) -> None:
        if self._live:
            self._live.stop()
            self._live = None
            if self._state:
                self._milestones.update(self._state.milestones)

    def _table(self) -> Table:
        from rich.table import Table

        state = self._state
        assert state
        title = f"session {state.id} · {state.image} · {state.accel}, {state.network}"
        table = Table(title=_literally(title), title_justify="left", box=None)
        for name in ("", "phase", "at", ""):
            table.add_column(name)
        reached = max(_STEPS.index(phase) for phase in _STEPS if phase is Phase.PREPARING or phase in state.phases)
        for index, phase in enumerate(_STEPS):
            at = state.phases.get(phase, 0.0)
            done = index < reached or phase in state.phases and phase is Phase.READY
            here = index == reached and not done
            shown = f"{at:.1f} s" if index <= reached else ""
            mark = "[green]✔[/]" if done else " "
            if here and state.phase in _STEPS:
                mark = "[cyan]▶[/]"
                shown += f"  … {state.elapsed() - at:.0f} s"
            elif here:
                mark = "[red]✘[/]"
            note = ", ".join(state.milestones) if phase is Phase.GUEST_UP else ""
            table.add_row(mark, str(phase), shown, f"[dim]{_literally(note or _MEANING[phase])}[/]")
        return table


def _heading(state: SessionState) -> Iterator[str]:
    """What a job's log begins with: whose it is, since when and until when."""
    job = ""
    if state.job:
        step = f", step {state.step}" if state.step else ""
        again = f", started anew {state.restarts} time{'s' if state.restarts > 1 else ''}" if state.restarts else ""
        job = f" in job {state.job}{step}{again}"
    yield f"{_clock(state.started)}: session {state.id} of {state.image} on {state.host}{job}"
    if state.ends_at:
        yield f"it is shut down at {_clock(state.ends_at)} at the latest"
    yield from state.notes


def _clock(at: float | None = None) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def _literally(text: str) -> str:
    """Text without meaning for rich or for the terminal: an image's name may have brackets in it."""
    from rich.markup import escape

    return escape(visible(text))
