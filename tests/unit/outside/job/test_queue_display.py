"""What `submit` shows: one line for each change, nothing that a terminal would obey, and no key."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import Path

import pytest
from sevenlbd.base import heartbeat
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.job import following, queue_display
from sevenlbd.outside.job.queue_display import Events, QueueLines
from sevenlbd.outside.schedulers.scheduler import Job, JobEnd
from sevenlbd.outside.schedulers.slurm import Slurm
from sevenlbd.wire.state import Phase, SessionState

WAITS = Job("7", "PENDING", "", "2026-11-23T14:00:00", "/w", "Resources", "7lbd")
RUNS = Job("7", "RUNNING", "n17", "N/A", "/w", "None", "7lbd")


def session(*path: Phase) -> SessionState:
    state = SessionState(
        id="job7", user="u", host="n17", image="i", accel="kvm", network="tap", pid=1, folder="/tmp/7lbd-1/job7",
        url="http://127.0.0.1:1/", job="7",
    )  # fmt: skip
    for phase in path:
        state.advance(phase)
    return state


def walk(shown: queue_display.Progress) -> None:
    shown.submitted("7")
    for job in (WAITS, WAITS, Job("7", "PENDING", "", "N/A", "/w", "Priority\x1b[2J", "7lbd"), RUNS):
        shown.waits(job) if job.waits else shown.runs(job)
    for path in (
        (),
        (),
        (Phase.BOOTING,),
        (Phase.BOOTING, Phase.GUEST_UP),
        (Phase.BOOTING, Phase.GUEST_UP, Phase.READY),
    ):
        shown.session(session(*path))
    shown.close()


def test_lines_tell_each_change_once(capsys: pytest.CaptureFixture[str]) -> None:
    walk(QueueLines())
    lines = capsys.readouterr().out.splitlines()
    assert lines[:4] == [
        "7lbd: job 7 is handed in",
        "7lbd: job 7: pending: Resources, expected to start at 2026-11-23 14:00:00",
        "7lbd: job 7: pending: Priority\\x1b[2J",
        "7lbd: job 7 runs on n17",
    ]
    for phase in ("preparing", "booting", "guest-up", "ready"):
        assert sum(f"s  {phase}: " in line for line in lines) == 1
    assert "127.0.0.1" not in "".join(lines), "the page is on the node"


def test_programs_get_a_line_of_json_for_each_change(capsys: pytest.CaptureFixture[str]) -> None:
    walk(Events())
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    jobs = [(event["state"], event["note"]) for event in events if event["event"] == "job"]
    assert jobs == [("submitted", ""), ("pending", "Resources"), ("pending", "Priority\x1b[2J"), ("running", "n17")]
    assert [event["phase"] for event in events if event["event"] == "phase"][-1] == "ready"


class Away(Slurm):
    """A scheduler that does not answer at first."""

    def __init__(self, answers: list[list[Job] | None]) -> None:
        self._answers = answers

    def jobs(self, *_ids: str) -> list[Job]:
        answer = self._answers.pop(0)
        if answer is None:
            raise Refusal(ExitCode.NODE, "Unable to contact slurm controller")
        return answer

    def why_ended(self, _job: str) -> JobEnd:
        return JobEnd("FAILED", "5:0")


def test_a_job_that_is_put_back_into_the_queue_is_followed_into_its_next_life(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What its first life left still looks alive: its node was lost, and could not take it back."""
    monkeypatch.setattr(following, "_QUEUE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(following, "_REGISTER_SECONDS", 0.0)
    register = tmp_path / "sessions"
    register.mkdir(mode=0o700)

    def lives(host: str, started: float, *path: Phase) -> None:
        place = register / f"job7@{host}"
        place.mkdir(exist_ok=True)
        with suppress(FileExistsError):
            heartbeat.place(place / "mark")
        state = session()
        state.host, state.started = host, started
        for phase in path:
            state.advance(phase)
        state.write(place / "session.json")

    lives("n1", 100, Phase.BOOTING, Phase.GUEST_UP)
    answers: list[list[Job] | None] = [[RUNS], [RUNS], [WAITS], [RUNS], [RUNS]]

    class Story(Away):
        def jobs(self, *ids: str) -> list[Job]:
            if len(self._answers) == 3:
                lives("n1", 100, Phase.BOOTING, Phase.GUEST_UP, Phase.READY)
            if len(self._answers) == 1:
                lives("n2", 200, Phase.BOOTING, Phase.GUEST_UP, Phase.READY)
            return super().jobs(*ids)

    found = following.follow(Story(answers), register, "7", QueueLines())
    assert found.state
    assert found.state.host == "n2"
    told = capsys.readouterr().out
    assert told.count("session job7 of i on n1") == 1
    assert told.count("session job7 of i on n2") == 1
    assert told.count("ready: you can log in") == 1


def test_a_scheduler_that_is_away_for_a_moment_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_QUEUE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(following, "_REGISTER_SECONDS", 0.0)
    found = following.follow(Away([None, [WAITS], None, [RUNS]]), None, "7", QueueLines())
    assert found == following.JobOutcome(None, None)
    with pytest.raises(Refusal, match=r"job 7 has ended without a desktop that was ready \(failed, exit code 5:0\)"):
        following.follow(Away([[WAITS], []]), None, "7", QueueLines())
    monkeypatch.setattr(following, "_DEAF_SECONDS", -1.0)
    with pytest.raises(Refusal, match="Unable to contact"):
        following.follow(Away([None]), None, "7", QueueLines())
