"""HTCondor's answers, as its commands give them; what it does not say is no mistake."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.node.node_programs import NodePrograms
from sevenlbd.outside.schedulers import known
from sevenlbd.outside.schedulers.condor import Condor
from sevenlbd.outside.schedulers.scheduler import JobEnd, JobSession


def program(folder: Path, name: str, text: str) -> None:
    path = folder / "usr" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NodePrograms:
    (tmp_path / "usr").mkdir()
    monkeypatch.setenv("PATH", f"{tmp_path}/usr:/usr/bin:/bin")
    return NodePrograms({}, root=tmp_path / "no")


def answer(folder: Path, name: str, *ads: dict[str, object]) -> None:
    (folder / f"{name}.json").write_text(json.dumps(ads))
    program(folder, name, f"cat {folder}/{name}.json")


def test_jobs_are_read_whatever_they_are_called(tmp_path: Path, programs: NodePrograms) -> None:
    one = {"ClusterId": 7, "ProcId": 0, "JobStatus": 1, "JobBatchName": '7lbd"\x1b', "TotalSubmitProcs": 1, "Iwd": "/w"}
    two = {"ClusterId": 8, "ProcId": 2, "JobStatus": 2, "RemoteHost": "slot1_1@node1@vm", "TotalSubmitProcs": 5}
    held = {"ClusterId": 9, "JobStatus": 5, "HoldReason": "via condor_hold"}
    answer(tmp_path, "condor_q", one, two, held, {"ClusterId": "x", "JobStatus": None})
    waits, runs, stuck, _ = Condor(programs).jobs()
    assert (waits.id, waits.waits, waits.name, str(waits)) == ("7.0", True, '7lbd"\x1b', "idle")
    assert (runs.id, runs.runs, runs.nodes) == ("8.2", True, "vm")
    assert (stuck.waits, str(stuck)) == (True, "held: via condor_hold")
    for name in ("7", "7.0", "job7", "job7-0", "job7.0"):
        assert waits.is_meant_by(name), name
    for name in ("8", "8.0", "job8"):
        assert not runs.is_meant_by(name), name
    assert runs.is_meant_by("8.2")


def test_an_empty_queue_says_nothing_at_all(tmp_path: Path, programs: NodePrograms) -> None:
    program(tmp_path, "condor_q", "exit 0")
    assert Condor(programs).jobs() == []


def test_what_goes_wrong_is_told_in_htcondors_words(tmp_path: Path, programs: NodePrograms) -> None:
    program(tmp_path, "condor_submit", "cat >/dev/null; echo 'ERROR: on Line 3 of submit file: x' >&2; exit 1")
    program(tmp_path, "condor_q", "echo 'Error: Cannot connect to the schedd' >&2; exit 1")
    program(tmp_path, "condor_rm", "echo 'Couldn'\\''t find job 9.0' >&2; exit 1")
    condor = Condor(programs)
    with pytest.raises(Refusal, match="does not take the job: on Line 3 of submit file: x"):
        condor.submit("queue\n", ())
    with pytest.raises(Refusal, match="Cannot connect to the schedd"):
        condor.jobs()
    with pytest.raises(Refusal, match="find job 9.0"):
        condor.cancel("9.0")
    program(tmp_path, "condor_q", "echo '[{'")
    with pytest.raises(Refusal, match="what is no JSON"):
        condor.jobs()


def test_how_a_job_ended_is_in_the_queue_or_in_the_history(tmp_path: Path, programs: NodePrograms) -> None:
    program(tmp_path, "condor_q", "exit 0")
    answer(tmp_path, "condor_history", {"JobStatus": 4, "ExitCode": 5, "Out": "7lbd.log", "Iwd": "/home/u"})
    assert Condor(programs).why_ended("7.0") == JobEnd(
        "COMPLETED", "5", "/home/u/7lbd.log", "condor_q -hold 7.0; condor_history 7.0"
    )
    answer(tmp_path, "condor_q", {"JobStatus": 5, "HoldReason": "no such file"})
    assert Condor(programs).why_ended("7.0").state == "HELD: no such file"


def test_a_session_is_ended_on_its_node_where_that_can_be_reached(tmp_path: Path, programs: NodePrograms) -> None:
    program(tmp_path, "condor_rm", f"echo $1 >> {tmp_path}/removed")
    condor = Condor(programs)
    assert condor.end(JobSession("7.0", "n"), now=False)
    assert (tmp_path / "removed").read_text() == "7.0\n", "an eviction's signal is better than none"
    program(tmp_path, "condor_ssh_to_job", "exit 0")
    (tmp_path / "removed").unlink()
    assert not condor.end(JobSession("7.0", "n"), now=False)
    assert not (tmp_path / "removed").exists()


def test_a_job_is_asked_for_in_its_own_queue_and_never_another_one_of_the_same_number(
    tmp_path: Path, programs: NodePrograms
) -> None:
    """Two queues have each a job 7.0; and one that is made anew counts from 1."""
    program(tmp_path, "condor_rm", f'echo "$@" >> {tmp_path}/removed')
    answer(tmp_path, "condor_q", {"GlobalJobId": "s2@pool#7.0#200"})
    condor = Condor(programs)
    theirs = JobSession("7.0", "", unique="s1@pool#7.0#100")
    with pytest.raises(Refusal, match=r"job s1@pool#7.0#100 is in its queue no more"):
        condor.end(theirs, now=True)
    program(tmp_path, "condor_ssh_to_job", f'echo "$@" >> {tmp_path}/reached')
    with pytest.raises(Refusal, match="no more"):
        condor.on_node(theirs, ["true"], 10)
    assert not (tmp_path / "removed").exists()
    assert not (tmp_path / "reached").exists()
    program(tmp_path, "condor_q", f'echo "$1 $2 $3" > {tmp_path}/asked; cat {tmp_path}/condor_q.json')
    mine = JobSession("7.0", "", unique="s2@pool#7.0#200")
    condor.on_node(mine, ["true"], 10)
    assert (tmp_path / "asked").read_text() == "-name s2@pool 7.0\n"
    assert (tmp_path / "reached").read_text() == "-name s2@pool 7.0 true\n"
    assert condor.way_there(mine, "7lbd stop") == "condor_ssh_to_job -name s2@pool 7.0 '7lbd stop'"


def test_words_for_the_node_come_there_as_they_are(tmp_path: Path, programs: NodePrograms) -> None:
    program(tmp_path, "condor_ssh_to_job", 'shift; sh -c "$*"')
    done = Condor(programs).on_node(JobSession("7.0", "n"), ["printf", "%s|", "a b", "it's", "$(id)", '"'], 10)
    assert done.printed == "a b|it's|$(id)|\"|"


def test_which_scheduler_a_job_is_for(tmp_path: Path, programs: NodePrograms) -> None:
    assert known.chosen(programs, "", ()).name == "slurm", "as ever, and what is missing is told"
    assert known.chosen(programs, "", {"condor"}).name == "condor"
    program(tmp_path, "condor_q", "exit 0")
    assert known.chosen(programs, "", ()).name == "condor"
    program(tmp_path, "squeue", "exit 0")
    assert known.chosen(programs, "", {"condor"}).name == "condor"
    assert known.chosen(programs, "slurm", {"condor"}).name == "slurm"
    with pytest.raises(Refusal, match="several schedulers here: slurm, condor") as refused:
        known.chosen(programs, "", ())
    assert "--scheduler slurm" in str(refused.value)
