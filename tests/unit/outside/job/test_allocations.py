"""What a job of HTCondor's says in its two files; what PBS, LSF, Flux and Grid Engine tell in made-up environments."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.job import allocation
from sevenlbd.outside.job.allocation import Allocation
from sevenlbd.outside.job.allocations.share import session_of
from sevenlbd.outside.session.preflight import checker

MIB = 1 << 20
JOB = """\
ClusterId = 12
ProcId = 3
JobRunCount = 2
TotalSubmitProcs = 8
RequestMemory = 1000
JobCurrentStartDate = 1800000000
AllowedExecuteDuration = 3600
Requirements = (TARGET.Memory >= RequestMemory)
"""
SLOT = "Memory = 1024\nCpus = 2\nMachineMaxVacateTime = 10 * 60\n"


def in_pool(folder: Path, job: str = JOB, slot: str = SLOT) -> dict[str, str]:
    """The environment of a job, whose ads lie in a folder."""
    (folder / ".job.ad").write_text(job)
    (folder / ".machine.ad").write_text(slot)
    return {"_CONDOR_JOB_AD": f"{folder}/.job.ad", "_CONDOR_MACHINE_AD": f"{folder}/.machine.ad"}


def read(environment: dict[str, str]) -> Allocation:
    found = allocation.of(environment)
    assert found
    return found


def test_a_job_of_htcondors_tells_all_of_it(tmp_path: Path) -> None:
    found = read(in_pool(tmp_path))
    assert (found.scheduler, found.job, found.array, found.restarts) == ("condor", "12.3", "", 1)
    assert found.memory
    assert (found.memory.size, found.cpus, found.ends) == (1024 * MIB, 2, 1800003600.0)
    assert "request_memory = 1536M" in found.memory.more.format(mib=1536, kib=0)
    assert found.name(tmp_path) == "job12-3"
    assert found.unique == ""


def test_what_no_other_queue_calls_a_job_is_told_for_one_line_of_text(tmp_path: Path) -> None:
    assert (
        read(in_pool(tmp_path, f'{JOB}GlobalJobId = "s1@pool#12.3#1800000000"\n')).unique == "s1@pool#12.3#1800000000"
    )
    hostile = read(in_pool(tmp_path, f'{JOB}GlobalJobId = "\x1b]0;x{"y" * 5000}"\n')).unique
    assert "\x1b" not in hostile
    assert len(hostile) < 500


def test_a_pilots_end_is_the_jobs(tmp_path: Path) -> None:
    assert read(in_pool(tmp_path, slot=f"{SLOT}GLIDEIN_ToDie = 1800000900\n")).ends == 1800000900.0


def test_how_long_an_eviction_leaves_is_what_job_and_machine_agree_on(tmp_path: Path) -> None:
    asks = f"{JOB}JobMaxVacateTime = 150\n"
    assert read(in_pool(tmp_path)).vacate == 0.0
    assert read(in_pool(tmp_path, asks)).vacate == 150.0
    assert read(in_pool(tmp_path, asks, f"{SLOT}MachineMaxVacateTime = 60\n")).vacate == 60.0
    passed_over = read(in_pool(tmp_path, asks, f"{SLOT}MachineMaxVacateTime = 60 * x\n"))
    assert passed_over.vacate == 150.0
    (told,) = allocation.warnings(passed_over)
    assert "MachineMaxVacateTime is an expression" in told
    assert read(in_pool(tmp_path, slot=f"{SLOT}MachineMaxVacateTime = 600\n")).vacate == 0.0, "who asks for nothing"


def test_an_expression_is_what_htcondor_makes_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its real condor_status reads an ad from a file; here one that answers as it does, and for these alone."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "condor_status"
    program.write_text(
        "#!/bin/sh\n"
        '[ "$1 $3" = "-ads -autoformat" ] || exit 1\n'
        'grep -q "^$4 = " "$2" || exit 1\n'
        "case $4 in MachineMaxVacateTime) echo 60 ;; JobMaxVacateTime) echo 150.0 ;; *) echo undefined ;; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    asks = f"{JOB}JobMaxVacateTime = 150\n"
    found = read(in_pool(tmp_path, asks, "MachineMaxVacateTime = ifThenElse(Cpus > 1, 60, 600)\n"))
    assert (found.vacate, allocation.warnings(found)) == (60.0, [])
    assert read(in_pool(tmp_path, f"{JOB}JobMaxVacateTime = 2 * 75\n", "Cpus = 2\n")).vacate == 150.0
    program.write_text("#!/bin/sh\necho undefined\n")
    unknown = read(in_pool(tmp_path, asks, "MachineMaxVacateTime = TARGET.Mine\n"))
    assert unknown.vacate == 150.0
    assert len(allocation.warnings(unknown)) == 1


def test_the_only_process_of_a_cluster_goes_by_the_clusters_number(tmp_path: Path) -> None:
    assert read(in_pool(tmp_path, JOB.replace("Procs = 8", "Procs = 1"))).array == "12"


def test_without_a_slots_ad_the_request_counts(tmp_path: Path) -> None:
    environment = in_pool(tmp_path)
    found = read({"_CONDOR_JOB_AD": environment["_CONDOR_JOB_AD"]})
    assert found.memory
    assert (found.memory.size, found.cpus) == (1000 * MIB, 0)


@pytest.mark.parametrize(
    "job",
    [
        "",
        "ClusterId = 0",
        'ClusterId = "12"',
        "ClusterId = 6 * 2",
        "ClusterId = -1",
        "ClusterId = 1e99",
        "\0\xff\n",
        "= 3",
    ],
)
def test_garbage_is_no_job(tmp_path: Path, job: str) -> None:
    assert allocation.of(in_pool(tmp_path, job)) is None


def test_a_name_without_a_file_is_another_jobs_leftover(tmp_path: Path) -> None:
    assert allocation.of({"_CONDOR_JOB_AD": f"{tmp_path}/gone"}) is None
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in ("link", ".", "", "x/../.job.ad"):
        assert allocation.of({"_CONDOR_JOB_AD": f"{tmp_path}/{path}"}) is None, path


def test_the_pool_inside_another_schedulers_job_is_nearer(tmp_path: Path) -> None:
    outer = {"SLURM_JOB_ID": "7", "SLURMD_NODENAME": "n1"}
    assert read({**outer, **in_pool(tmp_path)}).job == "12.3"
    assert read({**outer, "_CONDOR_JOB_AD": "/gone"}).job == "7"


@pytest.mark.parametrize("attribute", ["vm_name", "VM_Name", "SevenLbdImage"])
def test_a_job_names_its_image_in_its_ad(tmp_path: Path, attribute: str) -> None:
    found = read(in_pool(tmp_path, f'{JOB}{attribute} = "win11@2026.11"\n'))
    [source] = checker._named_by(found)
    assert (source.values, source.trusted) == ({"image": "win11@2026.11"}, False), "the site's lock holds for it, too"


@pytest.mark.parametrize(
    "name",
    [
        "/etc",
        "../x",
        "a b",
        "win11;id",
        'win11\\" || true',
        "$(id)",
        "win11@",
        "WIN11",
        "\x1b[2J",
        "a" * 64,
        "$$(Cpus)",
    ],
)
def test_a_hostile_name_is_refused_and_shown_harmless(tmp_path: Path, name: str) -> None:
    found = read(in_pool(tmp_path, f'{JOB}vm_name = "{name}"\n'))
    with pytest.raises(Refusal, match=r"the job's ad \(vm_name\)") as refused:
        checker._named_by(found)
    assert str(refused.value).replace("\n", "").isprintable()


@pytest.mark.parametrize("value", ["undefined", "strcat(1)", "7", 'x" + "y', ""])
def test_a_name_that_is_an_expression_is_none(tmp_path: Path, value: str) -> None:
    assert checker._named_by(read(in_pool(tmp_path, f"{JOB}vm_name = {value}\n"))) == []


def test_sessions_are_called_after_jobs_of_every_kind() -> None:
    assert [session_of(job) for job in ("4711", "12.0", "f2ABc", "9-3", "1" * 40)] == [
        "job4711", "job12-0", "jobf2abc", "job9-3", "job" + "1" * 23,
    ]  # fmt: skip


# Made-up environments, after the manuals.


def test_pbs() -> None:
    found = read({"PBS_JOBID": "4711.server", "NCPUS": "4", "PBS_RESC_MEM": str(4096 * MIB)})
    assert (found.scheduler, found.job, found.array, found.cpus) == ("pbs", "4711", "", 4)
    assert found.memory
    assert found.memory.size == 4096 * MIB
    task = read({"PBS_JOBID": "4711[5].server.edu", "PBS_NUM_PPN": "2"})
    assert (task.job, task.array, task.cpus) == ("4711-5", "4711[5]", 2)


def test_lsf() -> None:
    found = read({"LSB_JOBID": "88", "LSB_JOBINDEX": "0", "LSB_MCPU_HOSTS": "a 8 b 4", "LSB_CG_MEMLIMIT": "0x40000000"})
    assert (found.scheduler, found.job, found.array, found.cpus) == ("lsf", "88", "", 4)
    assert found.memory
    assert found.memory.size == 1024 * MIB
    assert read({"LSB_JOBID": "88", "LSB_JOBINDEX": "3", "LSB_RESTART": "Y"}).restarts == 1


def test_grid_engine() -> None:
    found = read({"JOB_ID": "5", "SGE_TASK_ID": "undefined", "NSLOTS": "3", "RESTARTED": "1"})
    assert (found.scheduler, found.job, found.array, found.cpus, found.restarts) == ("sge", "5", "", 3, 1)
    assert read({"JOB_ID": "5", "SGE_TASK_ID": "2"}).array == "5.2"


def test_flux() -> None:
    for name in ("f2Vkq9", "ƒ2Vkq9"):
        found = read({"FLUX_JOB_ID": name})
        assert (found.scheduler, found.job, found.cpus) == ("flux", "f2Vkq9", 0)


@pytest.mark.parametrize(
    "environment",
    [
        {"PBS_JOBID": "x"}, {"PBS_JOBID": "1;id"}, {"PBS_JOBID": "1[2"}, {"LSB_JOBID": "-1"}, {"LSB_JOBID": ""},
        {"JOB_ID": "5"}, {"JOB_ID": "a", "SGE_TASK_ID": "undefined"}, {"FLUX_JOB_ID": "0O"}, {"FLUX_JOB_ID": "f../x"},
    ],
)  # fmt: skip
def test_what_is_no_job_of_theirs(environment: dict[str, str]) -> None:
    assert allocation.of(environment) is None
