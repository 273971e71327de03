"""A list of commands in several machines: every one gets its result, whatever becomes of the machines."""

from __future__ import annotations

import os
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.images.lookup import image as images
from sevenlbd.outside.batch import in_session, kept_machine, machine_words, many, transfer
from sevenlbd.outside.batch.order import Order
from sevenlbd.outside.batch.request import JobRequest
from sevenlbd.outside.batch.results import TABLE, JobResult, Results
from sevenlbd.outside.batch.verdict import CommandEnd, OwnCode, failed, lost
from sevenlbd.outside.cli.command import CommandContext
from sevenlbd.outside.node import abilities

LOST = lost("the session has ended")


class Job:
    """A command on its way."""

    def __init__(self, run: Callable[[], CommandEnd]) -> None:
        self.run = run

    def urge(self) -> None:
        """Nobody does here."""


class Machine:
    """One that is ready, or in trouble."""

    def __init__(self, folder: Path, trouble: str) -> None:
        self.folder = folder
        self.wait = lambda: trouble


class World:
    """Machines and commands that do as each test says: `ends` are those of each command, in turn."""

    def __init__(self, at: Path, ends: dict[str, list[CommandEnd]], trouble: str = "") -> None:
        self.at = at
        self.ends = ends
        self.trouble = trouble
        self.machines: list[str] = []
        self.lock = threading.Lock()

    @contextmanager
    def started(self, words: list[str]) -> Iterator[Any]:
        self.machines.append(words[-1])
        yield Machine(self.at, self.trouble)

    def job(self, _folder: Path, request: JobRequest, sinks: Any, *, windows: bool) -> Any:
        assert request.order is not None
        (name,) = request.order.command

        def run() -> CommandEnd:
            sinks.out(name.encode())
            with self.lock:
                return self.ends.get(name, [CommandEnd(0, full=0)]).pop(0)

        return Job(run)


def run(world: World, monkeypatch: pytest.MonkeyPatch, *commands: str, **more: Any) -> list[JobResult]:
    monkeypatch.setattr(kept_machine, "started", world.started)
    monkeypatch.setattr(many, "GuestJob", type("J", (), {"__new__": lambda _cls, *a, **k: world.job(*a, **k)}))
    monkeypatch.setattr(in_session, "running", lambda _folder: Namespace(runs="linux"))
    common = JobRequest(Order(("x",)))
    options = Namespace(fresh=more.get("fresh", False), retries=more.get("retries", "0"))
    with Results(str(world.at / "results"), common) as kept:
        pool = many._Pool([(name,) for name in commands], common, kept, [], options, more.get("leave_at", float("inf")))
        pool.work(2, lambda _done: None)
        return kept.all()


def test_each_command_is_done_once_and_its_output_is_in_a_file_of_its_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"c{number}" for number in range(1, 51)]
    results = run(World(tmp_path, {}), monkeypatch, *names)
    assert [result.command for result in results] == [(name,) for name in names]
    assert all((result.end.code, result.runs) == (0, 1) for result in results)
    assert (tmp_path / "results" / "7.out").read_text() == "c7"
    rows = (tmp_path / "results" / TABLE).read_text().splitlines()
    assert len(rows) == 51


def test_each_commands_files_come_into_a_folder_of_its_number_and_no_link_is_followed(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "elsewhere").mkdir()
    common = JobRequest(Order(("x",)), outputs=("result.csv",), folder=str(tmp_path))
    well = CommandEnd(0, full=0)

    def came(kept: Results, number: int) -> CommandEnd:
        (work / "result.csv").write_text(f"{number}")
        held = os.open(work, os.O_RDONLY)
        try:
            with kept.folder(number) as folder:
                return transfer.fetched(held, replace(common, results=folder), well)
        finally:
            os.close(held)

    with Results(str(tmp_path / "results"), common) as kept:
        assert [came(kept, number) for number in (1, 2)] == [well] * 2
        assert [(tmp_path / f"results/{number}.files/result.csv").read_text() for number in (1, 2)] == ["1", "2"]
        assert came(kept, 2) == well
        assert (tmp_path / "results/.2.files.1/result.csv").read_text() == "2", "an earlier run's is nobody's result"
        (work / "result.csv").unlink()
        with kept.folder(3) as folder:
            (tmp_path / "results/3.files/result.csv").mkdir()
            (work / "result.csv").touch()
            held = os.open(work, os.O_RDONLY)
            said = transfer.fetched(held, replace(common, results=folder), well).said
        assert said.startswith("result.csv: Is a directory: only 0 of its files came back")
        with kept.folder(4):
            pass
        assert not (tmp_path / "results/4.files").exists(), "none has come"
        (tmp_path / "results/5.files").symlink_to(tmp_path / "elsewhere")
        assert came(kept, 5) == well
        assert not list((tmp_path / "elsewhere").iterdir())


def test_one_that_fails_is_run_again_as_often_as_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad, good = CommandEnd(3, full=3), CommandEnd(0, full=0)
    ends = {"a": [bad, bad, good], "b": [bad, bad, bad], "c": [good]}
    results = run(World(tmp_path, ends), monkeypatch, "a", "b", "c", retries="2")
    assert [(result.end.code, result.runs) for result in results] == [(0, 3), (3, 3), (0, 1)]


def test_a_machine_that_does_not_start_is_tried_again_where_others_have_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(many, "_PAUSE", 0.0)
    world = World(tmp_path, {})
    troubles = ["", "", "no memory", "no memory", "", "no memory", "", *[""] * 20]

    @contextmanager
    def started(words: list[str]) -> Iterator[Any]:
        world.machines.append(words[-1])
        yield Machine(tmp_path, troubles.pop(0))

    world.started = started  # type: ignore[method-assign]
    results = run(world, monkeypatch, *(f"c{number}" for number in range(8)), fresh=True)
    assert [result.end.code for result in results] == [0] * 8

    troubles[:] = ["", "", *["no memory"] * 20]
    results = run(world, monkeypatch, *(f"c{number}" for number in range(8)), fresh=True)
    assert sorted(result.end.code for result in results) == [0, 0, *[125] * 6]
    assert len(troubles) == 20 - 2 * many._STARTS, "a node that has no room is not asked without end"

    troubles[:] = ["no such image"] * 20
    assert all(result.end.said == "there was no machine: no such image" for result in run(world, monkeypatch, "a", "b"))
    assert len(troubles) == 18, "where none has ever started, another try helps nobody"


def test_the_jobs_end_is_told_as_why_nothing_more_began(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    urged = threading.Event()
    world = World(tmp_path, {})

    def job(*_given: Any, **_more: Any) -> Job:
        one = Job(lambda: CommandEnd(143, full=143) if urged.wait(30) else LOST)
        monkeypatch.setattr(one, "urge", urged.set)
        return one

    monkeypatch.setattr(world, "job", job)
    results = run(world, monkeypatch, "a", "b", "c", retries="2", leave_at=time.time() + 1)
    assert [result.end.said for result in results] == ["", "", "the job ends"]
    assert [result.end.code for result in results] == [143, 143, 125], "nor is any of them run again"


def test_the_table_has_a_row_as_soon_as_its_command_is_done_and_the_last_lists_is_kept(tmp_path: Path) -> None:
    """A node that dies takes nothing of what was done before."""
    place, common, well = tmp_path / "results", JobRequest(Order(("x",))), CommandEnd(0, full=0)
    with Results(str(place), common) as kept:
        kept.add(JobResult(2, ("b",), well, 1.0, 1))
        assert (place / TABLE).read_text().splitlines()[1:] == ["2\t0\t1.00\t1\tb\t"]
        kept.add(JobResult(1, ("a",), well, 1.0, 1))
    whole = (place / TABLE).read_text()
    assert [row.split("\t")[0] for row in whole.splitlines()] == ["number", "1", "2"]
    with Results(str(place), common):
        assert (place / f".{TABLE}.1").read_text() == whole


def test_one_whose_machine_is_lost_runs_once_more_in_another_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, {"a": [LOST, CommandEnd(0, full=0)], "b": [LOST, LOST]})
    results = run(world, monkeypatch, "a", "b")
    assert [(result.end.code, result.runs) for result in results] == [(0, 2), (125, 2)]
    assert len(world.machines) > 2


def test_a_failure_of_ours_in_a_machine_that_is_well_is_retried_as_asked_and_costs_no_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    none = failed("it left no file that --output names")
    world = World(tmp_path, {"a": [none], "b": [none]})
    assert [(result.end.code, result.runs) for result in run(world, monkeypatch, "a", "b")] == [(125, 1)] * 2
    assert len(world.machines) <= 2
    world = World(tmp_path, {"a": [none, none, CommandEnd(0, full=0)]})
    assert [(result.end.code, result.runs) for result in run(world, monkeypatch, "a", retries="2")] == [(0, 3)]


def test_after_a_time_out_the_machine_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    late = failed("it was not done", OwnCode.TIMED_OUT)
    world = World(tmp_path, {name: [late] for name in "abcd"})
    results = run(world, monkeypatch, *"abcd")
    assert [result.end.code for result in results] == [124] * 4
    assert len(world.machines) >= 4


def test_without_a_machine_every_command_is_told_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    results = run(World(tmp_path, {}, trouble="no room"), monkeypatch, "a", "b", "c")
    assert [result.end.code for result in results] == [125] * 3
    assert all("no room" in result.end.said for result in results)


def test_a_row_of_the_table_stays_one_whatever_the_command_has_in_it() -> None:
    row = JobResult(1, ("a\tb\nc",), CommandEnd(1, said="x"), 1.0, 1).row()
    assert row.count("\t") == 5
    assert row.count("\n") == 1


def test_results_go_into_no_folder_that_the_guest_has_linked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder of results lies in the commands' own: before it is made, and while commands run."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    (tmp_path / "results").symlink_to(tmp_path / "mine")
    for name in ("results", "results/deeper", str(tmp_path / "results")):
        with pytest.raises(Refusal, match="link"):
            Results(name, JobRequest(Order(("x",))))
    (tmp_path / "results").unlink()
    with Results("results", JobRequest(Order(("x",)))) as kept:
        (tmp_path / "results").rename(tmp_path / "aside")
        (tmp_path / "results").symlink_to(tmp_path / "mine")
        with kept.sinks(1) as sinks:
            sinks.out(b"1")
    assert list((tmp_path / "mine").iterdir()) == []
    assert sorted(path.name for path in (tmp_path / "aside").iterdir()) == ["1.err", "1.out", TABLE]


@pytest.mark.parametrize(
    ("ends", "code"),
    [
        ([CommandEnd(0, full=0)], 0),
        ([CommandEnd(0, full=0), LOST], 123),
        ([failed("not there", OwnCode.NOT_FOUND)] * 2, 123),
        ([failed("late", OwnCode.TIMED_OUT)], 123),
        ([LOST, failed("a file could not be copied")], 125),
    ],
)
def test_only_what_is_all_our_fault_is_worth_another_try(ends: list[CommandEnd], code: int) -> None:
    every = [JobResult(number, ("x",), end, 1.0, 1) for number, end in enumerate(ends, 1)]
    assert many._told(every, JobRequest(None, as_json=True)) == code


@pytest.mark.parametrize(("memory", "said"), [(9 << 30, "--parallel 2"), (1 << 30, "a smaller machine, as --memory")])
def test_who_wants_more_machines_than_there_is_room_for_is_told_what_there_is_room_for(
    monkeypatch: pytest.MonkeyPatch, memory: int, said: str
) -> None:
    image = SimpleNamespace(description=SimpleNamespace(memory=4 << 30, cpus=2, exec_desktop=True))
    limit = SimpleNamespace(size=memory, beside=0, whose="the node's")
    monkeypatch.setattr(images, "resolve", lambda *_: image)
    monkeypatch.setattr(abilities, "memory_limit", lambda _: limit)
    options, here = SimpleNamespace(desktop=False), SimpleNamespace(environment={})
    context = SimpleNamespace(options=options, settings=Settings(image="x"), here=here, folders=[])
    with pytest.raises(Refusal) as refused:
        machine_words.of(cast(CommandContext, context), 3)
    assert said in refused.value.hint
