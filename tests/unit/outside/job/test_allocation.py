"""What is read from a job's environment, and how large a guest it makes."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.base import units
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.images.description import Description
from sevenlbd.outside.job import allocation
from sevenlbd.outside.job.allocation import Allocation
from sevenlbd.outside.job.sizing import Size, Sizing, check_boots
from sevenlbd.outside.node import abilities
from sevenlbd.outside.node.abilities import Limit

GIB = 1 << 30
BATCH = {"SLURM_JOB_ID": "4711", "SLURMD_NODENAME": "node1"}
WHOLE_NODE = Limit(64 * GIB, "free on this node")


@pytest.fixture(autouse=True)
def eight_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(abilities, "cpus", lambda: 8)


def job(**more: str) -> Allocation:
    found = allocation.of({**BATCH, **more})
    assert found
    return found


def sizing(job: Allocation | None, **settings: int) -> Sizing:
    """Of an image that asks for 4 GiB and 2 CPUs, on a node with plenty."""
    return Sizing(Settings.model_validate(settings), Description(memory=4 * GIB, cpus=2), job, WHOLE_NODE)


@pytest.mark.parametrize("told", ["", "0x10", "12 13", "\u00b2", "-1", "1;id", "9" * 13])
def test_what_is_no_job_id_is_no_job(told: str) -> None:
    assert allocation.of({"SLURM_JOB_ID": told}) is None


def test_a_batch_script_tells_all_of_it() -> None:
    found = job(
        SLURM_MEM_PER_NODE="8192", SLURM_CPUS_ON_NODE="4", SLURM_RESTART_COUNT="2", SLURM_JOB_END_TIME="1800000000"
    )
    assert found.memory
    assert (found.memory.size, found.cpus, found.restarts, found.ends) == (8 * GIB, 4, 2, 1800000000.0)
    assert (found.step, found.first, found.elsewhere) == ("", 1, "")


def test_memory_for_each_cpu_is_multiplied() -> None:
    found = job(SLURM_MEM_PER_CPU="2048", SLURM_CPUS_ON_NODE="4").memory
    assert found
    assert found.size == 8 * GIB


@pytest.mark.parametrize("name", ["SLURM_MEM_PER_NODE", "SLURM_MEM_PER_CPU"])
def test_all_of_the_node_is_no_number(name: str) -> None:
    assert job(**{name: "0"}).memory is None


def test_garbage_is_as_good_as_nothing() -> None:
    found = job(
        SLURM_MEM_PER_NODE="much", SLURM_CPUS_ON_NODE="\u0664", SLURM_RESTART_COUNT="-1", SLURM_JOB_END_TIME="soon",
        SLURM_STEP_ID="zero", SLURM_JOB_CPUS_PER_NODE="2(x999999999999)", SLURM_STEP_TASKS_PER_NODE="two",
    )  # fmt: skip
    assert found == Allocation("4711", batch=True)


def test_tasks_of_a_step_share_what_the_node_has_and_get_names_of_their_own(tmp_path: Path) -> None:
    step = {
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_TASKS_PER_NODE": "1,2(x2)",
        "SLURM_NODEID": "2",
        "SLURM_CPUS_ON_NODE": "4",
    }
    tasks = [job(**step, SLURM_MEM_PER_NODE="8192", SLURM_LOCALID=task) for task in ("0", "1")]
    assert [task.name(tmp_path) for task in tasks] == ["job4711", "job4711-2"]
    for task in tasks:
        assert task.memory
        assert (task.memory.size, task.cpus, task.step) == (4 * GIB, 2, "0")


def test_a_task_of_an_array_is_called_as_squeue_shows_it() -> None:
    assert job(SLURM_ARRAY_JOB_ID="25", SLURM_ARRAY_TASK_ID="3").array == "25_3"
    assert job(SLURM_ARRAY_JOB_ID="25", SLURM_ARRAY_TASK_ID="$(id)").array == ""
    assert job().array == ""


def test_only_the_batch_script_is_signalled_alone() -> None:
    assert job().batch
    assert job(SLURM_STEP_ID=str(0xFFFFFFFB)).batch
    assert not job(SLURM_STEP_ID="0").batch
    assert not job(SLURM_STEP_ID=str(0xFFFFFFFA)).batch, "an interactive step"


def test_slurms_own_steps_are_none_of_the_users() -> None:
    """An interactive step (salloc with use_interactive_step) has the number 0xfffffffa."""
    assert job(SLURM_STEP_ID=str(0xFFFFFFFA)).step == ""


def test_a_shell_of_sallocs_is_warned_that_it_may_be_elsewhere() -> None:
    found = allocation.of({"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "node[1-2]", "SLURM_JOB_CPUS_PER_NODE": "4,2"})
    assert found
    assert found.cpus == 2
    [text] = allocation.warnings(found)
    assert "node[1-2]" in text
    assert "srun --pty" in text
    assert not allocation.warnings(job())


def test_the_control_group_counts_where_srun_tells_nothing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    files = []
    for place, limit in (("job_4711/step_0", "max"), ("job_4711", str(3 * GIB)), ("user.slice", str(GIB))):
        (tmp_path / place).mkdir(parents=True, exist_ok=True)
        (tmp_path / place / "memory.max").write_text(limit + "\n")
        files.append(tmp_path / place / "memory.max")
    monkeypatch.setattr(abilities, "_cgroup_files", lambda: files)
    found = job(SLURM_STEP_ID="0").memory
    assert found
    assert found.size == 3 * GIB, "of the job's own groups, and no others"
    (tmp_path / "job_4711" / "memory.max").write_text("9223372036854771712\n")
    assert job(SLURM_STEP_ID="0").memory is None, "version 1 spells no limit as a number"


def test_a_guest_that_boots_gets_the_allocation_without_what_the_helpers_need() -> None:
    notes: list[str] = []
    found = sizing(job(SLURM_MEM_PER_NODE="8193", SLURM_CPUS_ON_NODE="4")).chosen([], notes)
    assert found == Size((8192 - 512) << 20, 4), "a whole number of huge pages"
    assert "SLURM_MEM_PER_NODE" in notes[0]
    assert "0.5 GiB for its helpers" in notes[0]


def test_what_is_asked_for_wins() -> None:
    found = sizing(job(SLURM_MEM_PER_NODE="8192", SLURM_CPUS_ON_NODE="4"), memory=GIB, cpus=1).chosen([], [])
    assert found == Size(GIB, 1)


def test_without_a_number_the_guest_gets_what_the_image_asks_for() -> None:
    assert sizing(job()).chosen([], []) == Size(4 * GIB, 2)
    assert sizing(None).chosen([], []) == Size(4 * GIB, 2)


def test_an_allocation_too_small_for_the_image_is_refused_with_the_arithmetic() -> None:
    with pytest.raises(Refusal) as refused:
        sizing(job(SLURM_MEM_PER_NODE="4096")).chosen([], [])
    assert "4.0 GiB for the guest and 0.5 GiB for its helpers make 4.5 GiB, but only 4.0 GiB" in refused.value.what
    assert "SLURM_MEM_PER_NODE" in refused.value.what
    assert "--mem=4608M" in refused.value.hint
    assert "--memory 3584M fits" in refused.value.hint


def test_more_cpus_than_the_job_has_are_refused_though_the_node_has_them() -> None:
    with pytest.raises(Refusal, match="3 CPUs were asked for, but this job may use 2"):
        sizing(job(SLURM_CPUS_ON_NODE="2"), cpus=3).chosen([], [])


def test_a_warm_state_that_the_job_has_room_for_decides() -> None:
    frozen = Size(2 * GIB, 2)
    roomy = sizing(job(SLURM_MEM_PER_NODE="8192", SLURM_CPUS_ON_NODE="4"))
    assert roomy.like_frozen(frozen) == frozen
    assert "2.0 GiB and 2 CPUs" in roomy.note_of_frozen(frozen)[0]
    assert "--no-warm" in roomy.note_of_frozen(frozen)[0]
    just = sizing(job(SLURM_MEM_PER_NODE="2560", SLURM_CPUS_ON_NODE="2"))
    assert just.like_frozen(frozen) == frozen
    assert just.note_of_frozen(frozen) == []


@pytest.mark.parametrize(
    ("told", "settings"),
    [
        ({"SLURM_MEM_PER_NODE": "2559", "SLURM_CPUS_ON_NODE": "2"}, {}),
        ({"SLURM_MEM_PER_NODE": "8192", "SLURM_CPUS_ON_NODE": "1"}, {}),
        ({"SLURM_MEM_PER_NODE": "8192", "SLURM_CPUS_ON_NODE": "4"}, {"memory": 3 * GIB}),
        ({"SLURM_MEM_PER_NODE": "8192", "SLURM_CPUS_ON_NODE": "4"}, {"cpus": 4}),
    ],
)
def test_a_warm_state_without_room_or_against_the_wish_does_not(told: dict[str, str], settings: dict[str, int]) -> None:
    assert sizing(job(**told), **settings).like_frozen(Size(2 * GIB, 2)) is None


def test_outside_of_a_job_the_image_decides() -> None:
    assert sizing(None).like_frozen(Size(2 * GIB, 2)) is None


@pytest.mark.parametrize(
    ("requested", "asks_for", "boots_with", "least"),
    [
        ("64M", "2G", 0, 256 << 20),  # an eighth
        ("511M", "64G", 0, 512 << 20),  # whatever it asks for
        ("63M", "128M", 0, 64 << 20),  # nothing boots with less
        (0, "8M", 0, 64 << 20),  # the image's own slip
        ("63M", None, 0, 64 << 20),  # it says nothing of what it needs
        ("3G", "8G", "4G", 4 << 30),  # as it says
        ("31M", "1G", "32M", 32 << 20),
    ],
)
def test_less_memory_than_the_image_boots_with_is_refused_at_once(
    requested: str, asks_for: str | None, boots_with: str | int, least: int
) -> None:
    said = {"memory": asks_for} if asks_for else {}
    described = Description.model_validate({**said, "least_memory": boots_with})

    def check(memory: object) -> None:
        check_boots(Settings.model_validate({"memory": memory}).memory, described)

    with pytest.raises(Refusal, match="are too few for this guest") as refused:
        check(requested)
    assert refused.value.code == ExitCode.USAGE
    assert f"boots with {units.size(least)} at the least" in refused.value.what
    assert ("least_memory" in refused.value.hint) == (not boots_with), "who wrote it knows of it"
    check(least)
    hinted = refused.value.hint.partition(";")[0].removeprefix("--memory ")
    check(hinted)


def test_an_image_that_needs_more_than_it_asks_for_is_a_slip() -> None:
    with pytest.raises(ValueError, match="it is more than `memory`"):
        Description.model_validate({"memory": "2G", "least_memory": "3G"})
