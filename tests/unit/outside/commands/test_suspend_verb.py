"""The verb `suspend` for a session in a job on another node: done there, and told in that node's words."""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.base.process import Done
from sevenlbd.config.settings import Settings
from sevenlbd.outside.cli.command import CommandContext
from sevenlbd.outside.commands import session_verbs, suspend_verb
from sevenlbd.outside.commands.session_verbs import Seat
from sevenlbd.outside.console import progress_bar
from sevenlbd.outside.folders import session_folders
from sevenlbd.outside.job import rendering
from sevenlbd.outside.presence.elsewhere import Elsewhere
from sevenlbd.outside.saved import places, reading
from sevenlbd.outside.session import control
from sevenlbd.wire.state import SessionState


@dataclass
class There:
    """A node that answers so; when `ends`, the session's record is gone by then."""

    done: Done
    record: Path
    ends: bool = False
    asked: list[str] = field(default_factory=list)

    def on_its_node(self, _session: Elsewhere, verb: str, *words: str, seconds: float) -> Done:
        assert seconds > 1800
        self.asked += [verb, *words]
        if self.ends:
            self.record.unlink()
        return self.done

    def said_there(self, done: Done, _session: Elsewhere) -> Refusal:
        return Refusal(ExitCode.NO_SESSION, f"node7: {done.said}")


def suspended(tmp_path: Path, done: Done, *, ends: bool = False, **options: Any) -> There:
    """What is asked of the node."""
    record = tmp_path / "record"
    record.touch()
    there = There(done, record, ends)
    state = cast("SessionState", Namespace(id="job7", host="node7", job="7", array=""))
    said = Namespace(**{"recipient": None, "to": "", "keep_running": False, "passphrase": False} | options)
    context = cast("CommandContext", Namespace(options=said, settings=Settings()))
    seat = cast("Seat", Namespace(lookout=there))
    assert suspend_verb._suspend_there(context, seat, Elsewhere(state, record)) == ExitCode.OK
    return there


def test_its_own_node_does_it_and_is_heard(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words: dict[str, Any] = {"recipient": ["age1x"], "to": "/p/it.7lbd", "keep_running": True}
    there = suspended(tmp_path, Done(0, "saved there\n", ""), **words)
    assert there.asked == ["suspend", "--recipient=age1x", "--to=/p/it.7lbd", "--keep-running"]
    assert capsys.readouterr().out == "saved there\n"


def test_a_job_that_ends_with_its_session_takes_the_call_along(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    suspended(tmp_path, Done(1, "", "srun: error: step killed"), ends=True)
    assert capsys.readouterr().out == "session job7 has ended: 7lbd saved list\n"


def test_what_the_node_refuses_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="node7: it is not ready"):
        suspended(tmp_path, Done(2, "", "it is not ready"))
    with pytest.raises(Refusal, match="where nobody asks for your passphrase"):
        suspended(tmp_path, Done(0, "", ""), passphrase=True)


@pytest.mark.parametrize(
    ("saved", "word"),
    [("usual/desk.7lbd", "desk"), ("usual/my desk.7lbd", "'my desk'"), ("else where/desk.7lbd", "'{}'")],
)
def test_the_line_to_go_on_with_can_be_pasted(tmp_path: Path, saved: str, word: str) -> None:
    """A desktop that was resumed from a file somewhere is saved into that again, where no name finds it."""
    settings = Settings.model_validate({"state_dir": str(tmp_path)})
    usual = places.folder(str(tmp_path), {})
    assert usual
    path = Path(str(tmp_path / saved).replace(str(tmp_path / "usual"), str(usual)))
    context = cast("CommandContext", Namespace(settings=settings, here=Namespace(environment={})))
    told = suspend_verb._named(context, path)
    assert told == word.format(path)
    (meant,) = shlex.split(told)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    assert places.find(usual, meant) == path


def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: Callable[..., str], **state: Any) -> None:
    """Suspend a session of this node, which has a state of so much before, and then of more."""
    saved = tmp_path / "desk.7lbd"
    saved.touch()
    states = [Namespace(**{"job": "", "warnings": []} | state), Namespace(job="", warnings=["old", "it is deaf"])]
    monkeypatch.setattr(session_folders, "read_state", lambda _: states.pop(0))
    monkeypatch.setattr(session_verbs, "seat", lambda _: Namespace(find=lambda _: tmp_path / "desk"))
    monkeypatch.setattr(reading, "header", lambda _: Namespace(facts=Namespace(machine=KVM)))
    monkeypatch.setattr(control, "send_suspend", lambda *words: wait(*words) or str(saved))
    said = Namespace(session="", to="", recipient=None, keep_running=False, passphrase=False)
    context = Namespace(options=said, settings=Settings(), here=Namespace(environment={}, sif="/a/7lbd.sif"))
    assert suspend_verb.suspend(cast("CommandContext", context)) == ExitCode.OK


KVM = Namespace(accel="kvm", enforced=True)


def test_who_breaks_it_off_is_told_that_it_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def wait(*_: object) -> str:
        raise KeyboardInterrupt

    with pytest.raises(Refusal, match="is saved all the same") as refused:
        here(tmp_path, monkeypatch, wait)
    assert refused.value.code == ExitCode.INTERRUPTED


def test_what_was_a_job_is_told_how_it_becomes_one_again_before_the_call_ends_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told: list[str] = []
    monkeypatch.setattr(suspend_verb, "_wait_gone", lambda *_: told.append(capsys.readouterr().out))
    here(tmp_path, monkeypatch, lambda *_: "", job="7")
    assert f"submit --resume {tmp_path}/desk.7lbd" in told[0]
    assert f"is saved in {tmp_path}/desk.7lbd (0 B), and ends; to go on:" in told[0], "it has not ended yet"


def test_a_bar_of_the_guests_memory_and_one_of_the_file_and_both_come_to_their_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bars: dict[str, int] = {}

    @contextmanager
    def shown(what: str, _total: int) -> Iterator[Callable[[int], None]]:
        bars[what] = 0

        def advance(more: int) -> None:
            bars[what] += more

        yield advance

    def wait(_folder: Path, _order: object, advance: Callable[..., None]) -> str:
        for words in ((0, 9, "the guest's memory"), (5, 9, "the guest's memory"), (1, 4, ""), (3, 4, "")):
            advance(*words)
        return ""

    monkeypatch.setattr(progress_bar, "shown", shown)
    here(tmp_path, monkeypatch, wait, warnings=["old"])
    assert bars == {"suspending: the guest's memory": 9, "suspending": 4}
    assert [line for line in capsys.readouterr().err.splitlines() if "WARNING" in line] == ["7lbd: WARNING: it is deaf"]


def test_the_sites_command_shows_the_schedulers_to_it() -> None:
    assert "suspend" in rendering._WITH_SCHEDULER
