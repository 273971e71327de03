"""A command in a machine that is there, before it is in the guest."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from sevenlbd.outside.batch import attached
from sevenlbd.outside.batch.attached import GuestJob
from sevenlbd.outside.batch.order import Order
from sevenlbd.outside.batch.request import JobRequest
from sevenlbd.outside.batch.sinks import Raw
from sevenlbd.outside.batch.verdict import CommandEnd, OwnCode, failed, lost
from sevenlbd.outside.folders import session_folders
from sevenlbd.wire.job_files import JOB, WORK


@pytest.mark.parametrize(
    ("end", "comes"),
    [
        (failed("it was not done within 1 s", OwnCode.TIMED_OUT), True),
        (lost("the session has ended"), False),
        (CommandEnd(3, full=3), True),
    ],
)
def test_what_a_command_has_written_comes_back_however_it_was_made_to_end(
    tmp_path: Path, end: CommandEnd, *, comes: bool
) -> None:
    for name in (JOB, WORK, "mine"):
        (tmp_path / name).mkdir()
    request = JobRequest(Order(("x",)), outputs=("chk*",), folder=str(tmp_path / "mine"))
    job = GuestJob(tmp_path, request, Raw(), windows=False)

    def in_guest() -> CommandEnd:
        (tmp_path / WORK / "chk1").write_text("so far")
        return end

    job._in_guest = in_guest  # type: ignore[method-assign]
    assert job.run() == end
    assert (tmp_path / "mine" / "chk1").exists() == comes


def test_a_command_is_asked_to_end_before_its_machine_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ends(at: float) -> None:
        state = SimpleNamespace(ends_at=at)
        monkeypatch.setattr(session_folders, "read_state", lambda _folder: state)

    now = time.time()
    ends(now + 3600)
    assert attached._leave_at(tmp_path) == now + 3600 - attached.LEAD
    assert not attached.ends_soon(tmp_path)
    ends(now + 10)
    assert now + 4 < attached._leave_at(tmp_path) < now + 6, "what is begun late has half of what is left"
    assert attached.ends_soon(tmp_path)
    ends(0.0)
    assert attached._leave_at(tmp_path) == float("inf")
    assert not attached.ends_soon(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_its_inputs_are_brought_is_its_end_before_it_began(tmp_path: Path, number: int) -> None:
    for name in (JOB, WORK, "case"):
        (tmp_path / name).mkdir()
    (tmp_path / "case" / "large").write_text("7")
    job = GuestJob(tmp_path, JobRequest(Order(("x",)), inputs=(str(tmp_path / "case"),)), Raw(), windows=False)
    job.urge(number)
    end = job.run()
    assert (end.code, end.own, end.said) == (128 + number, False, "it was interrupted before it began")
    assert list((tmp_path / WORK).iterdir()) == []
    assert list((tmp_path / JOB).iterdir()) == [], "nothing was ordered in the guest"
