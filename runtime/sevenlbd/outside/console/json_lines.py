"""A session's progress for programs: JSON lines."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ...base.errors import Refusal
from ...wire.state import Phase, SessionState
from . import output
from .output import Output


class JsonLines(Output):
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

    def worker(self, state: SessionState) -> None:
        self._print("worker", {"phase": state.worker, "why": state.worker_why})

    def ready(self, state: SessionState) -> None:
        self._print("ready", {"id": state.id, "folder": state.folder, "url": state.url})

    def kept(self, folder: Path) -> None:
        self._print("kept", {"folder": str(folder)})

    def finished(self, state: SessionState) -> None:
        self._print("finished", asdict(state))

    def refused(self, refusal: Refusal) -> None:
        self._print("refused", {"what": refusal.what, "hint": refusal.hint, "code": int(refusal.code)})

    def _print(self, event: str, fields: dict[str, object]) -> None:
        output.say(json.dumps({"event": event, **fields}))
