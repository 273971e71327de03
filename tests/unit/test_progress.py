"""What `submit` shows: one line for each change, nothing that a terminal would obey, and no key."""

from __future__ import annotations

import json

import pytest
from sevenlbd.errors import ExitCode, Refusal
from sevenlbd.outside.cluster import following, progress
from sevenlbd.outside.cluster.progress import Events, Lines
from sevenlbd.outside.cluster.slurm import Job, Slurm
from sevenlbd.state import Phase, SessionState

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


def walk(shown: progress.Progress) -> None:
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
    walk(Lines())
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

    def why_ended(self, _job: str) -> dict[str, str]:
        return {"JobState": "FAILED", "ExitCode": "5:0"}


def test_a_scheduler_that_is_away_for_a_moment_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "_QUEUE_SECONDS", (0.0, 0.0))
    monkeypatch.setattr(following, "_REGISTER_SECONDS", 0.0)
    found = following.follow(Away([None, [WAITS], None, [RUNS]]), None, "7", Lines())
    assert found == following.Outcome(None, None)
    with pytest.raises(Refusal, match=r"job 7 has ended without a desktop that was ready \(failed, exit code 5:0\)"):
        following.follow(Away([[WAITS], []]), None, "7", Lines())
    monkeypatch.setattr(following, "_DEAF_SECONDS", -1.0)
    with pytest.raises(Refusal, match="Unable to contact"):
        following.follow(Away([None]), None, "7", Lines())
