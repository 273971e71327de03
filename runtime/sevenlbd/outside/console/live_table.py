"""A session's progress on a terminal: a table that is redrawn in place until the desktop is ready; then lines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ...base.errors import Refusal, visible
from ...wire.state import Phase, SessionState
from ..access import credentials
from . import words
from .instructions import link
from .plain_lines import MEANING, Lines

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

_STEPS = (Phase.PREPARING, Phase.BOOTING, Phase.GUEST_UP, Phase.READY)


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
        title = f"session {state.id} · {state.called} · {state.accel}, {state.network}"
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
            note = words.latest(state) if phase is Phase.GUEST_UP else ""
            table.add_row(mark, str(phase), shown, f"[dim]{_literally(note or MEANING[phase])}[/]")
        return table


def _literally(text: str) -> str:
    """Text without meaning for rich or for the terminal: an image's name may have brackets in it."""
    from rich.markup import escape

    return escape(visible(text))
