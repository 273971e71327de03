"""What waits in the queue: whatever strangers submitted, names of ours and whole numbers, and not too many."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.base.process import Done
from sevenlbd.outside.grid import record_limits
from sevenlbd.outside.grid.pool import queue_demand
from sevenlbd.outside.grid.pool.queue_demand import collected, constraint
from sevenlbd.outside.grid.protocol import Demand
from sevenlbd.outside.node.node_programs import NodePrograms


def of(printed: str, *wanted: str) -> tuple[Demand, ...]:
    return collected(lambda _wanted, _most: printed, wanted or ("win11",))


def test_jobs_of_one_name_and_size_are_counted_together() -> None:
    assert of("win11 2 100 1024\nwin11 2 100 1024\n") == (Demand("win11", 2, 2, 100 << 20, 1 << 20),)


@pytest.mark.parametrize(
    "line",
    [
        "other 1 1 1", "../../etc 1 1 1", 'win11" 1 1 1', "win11", "win11 1 1", "win11 1 1 1 1", "", "\0 1 1 1",
        "WIN11 1 1 1",
        "win11\x1b[31m 1 1 1", "undefined 1 1 1", "error error error error", "x" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_line_of_ours_is_passed_over(line: str) -> None:
    assert of(f"{line}\nwin11 1 1 1\n") == (Demand("win11", 1, 1, 1 << 20, 1 << 10),)


@pytest.mark.parametrize("word", ["undefined", "error", "-5", "1e9", "0x10", "9" * 500, "\u0663"])
def test_a_number_that_is_none_is_nothing(word: str) -> None:
    assert of(f"win11 {word} {word} {word}\n") == (Demand("win11", 1, 1, 0, 0),)


def test_a_need_that_no_machine_has_stays_a_number() -> None:
    (demand,) = of(f"win11 1 {'9' * 15} {'9' * 15}\n")
    assert demand.memory == demand.disk == 1 << 50


def test_the_oldest_job_comes_first() -> None:
    assert [demand.vm_name for demand in of("b 1 1 1\na 1 1 1\nb 1 1 1\n", "a", "b")] == ["b", "a"]


def test_one_name_has_so_many_sizes_and_the_jobs_of_all_others_are_told_as_the_least_of_them() -> None:
    lines = "".join(f"win11 {number} 1 1\n" for number in range(1, 500)) + "plain 1 1 1\n"
    found = of(lines, "win11", "plain")
    told = [demand for demand in found if demand.vm_name == "win11"]
    assert [demand.cpus for demand in told] == list(range(1, 10))
    assert [demand.jobs for demand in told] == [1] * 8 + [499 - 8]
    assert len(found) == 10


def test_jobs_that_fit_nowhere_hide_none_of_the_same_image_that_do() -> None:
    lines = "".join(f"win11 {number} {number} 1\n" for number in range(1000, 1100)) + "win11 2 2048 1\nwin11 1 9 1\n"
    assert of(lines)[-1] == Demand("win11", 94, 1, 9 << 20, 1 << 10)


def test_a_million_jobs_of_one_image_do_not_hide_those_of_another() -> None:
    asked: list[tuple[str, ...]] = []

    def ask(wanted: Sequence[str], most: int) -> str:
        asked.append(tuple(wanted))
        return "flood 1 1 1\n" * (1_000_000 if most > 1_000_000 else most) if "flood" in wanted else "win11 1 1 1\n"

    found = collected(ask, ("flood", "win11"))
    assert [demand.vm_name for demand in found] == ["flood", "win11"]
    assert asked == [("flood", "win11"), ("win11",)]


def test_a_flood_of_every_image_comes_to_an_end() -> None:
    wanted = [f"n{number}" for number in range(2000)]
    asked = []

    def ask(left: Sequence[str], most: int) -> str:
        asked.append(len(left))
        return f"{left[0]} 1 1 1\n" * most

    assert len(collected(ask, wanted)) == 4
    assert asked == [2000, 1999, 1998, 1997]


def test_more_names_than_may_be_told_are_cut() -> None:
    wanted = [f"n{number}" for number in range(2000)]
    assert len(of("".join(f"{name} 1 1 1\n" for name in wanted), *wanted)) == record_limits.MOST_DEMANDS


def test_no_name_becomes_an_expression() -> None:
    assert constraint(["win11", "a.b-c_d"]) == (
        'JobStatus == 1 && JobUniverse == 5 && (stringListIMember(vm_name, "win11,a.b-c_d") =?= true)'
    )
    for name in ('a"', "a,b", "a\\", "a b", "..", ""):
        with pytest.raises(AssertionError):
            constraint([name])


class Programs(NodePrograms):
    """A node on which a program answers so."""

    def __init__(self, done: Done) -> None:
        super().__init__({})
        self.done, self.called = done, list[tuple[str, ...]]()

    def run(self, name: str, *arguments: str, **_: object) -> Done:
        self.called.append((name, *arguments))
        return self.done


def test_a_queue_that_does_not_answer_is_told_in_its_own_words() -> None:
    with pytest.raises(Refusal, match="condor_q: Can't find address"):
        queue_demand.by_condor_q(Programs(Done(1, "", "Can't find address\nmore")))(["win11"], 5)


def test_all_users_jobs_are_asked_for_with_a_limit() -> None:
    programs = Programs(Done(0, "win11 1 1 1\n", ""))
    assert queue_demand.by_condor_q(programs)(["win11"], 5) == "win11 1 1 1\n"
    (call,) = programs.called
    assert call[:2] == ("condor_q", "-allusers")
    assert call[call.index("-limit") + 1] == "5"
