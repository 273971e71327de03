"""The examples of docs/exec.md for schedulers, as they are written: in the real Slurm and HTCondor, with machines.

`7lbd` is a site's command whose image `win11` is the demo guest; its program is a script in the folder of the case.
"""

from __future__ import annotations

import re
from pathlib import Path

import condor
import harness
import pool
import pytest

PAGE = harness.REPO / "docs" / "exec.md"
SOLVER = '#!/bin/sh\n[ "$2" != 2 ] || exit 3\necho "$*: $(cat case.inp)" | tee result.csv\n'
SECONDS = 600.0


@pytest.fixture(scope="module")
def site(work: Path) -> Path:
    """The site's command."""
    images = work / "i"
    images.mkdir()
    (images / "win11").symlink_to(harness.DEMO)
    command = " ".join(harness.command("exec", options=["--bind", str(work), "--bind", str(harness.DEMO)]))
    (work / "7lbd").write_text(
        f"#!/bin/sh\nshift\nexport HOME={work} SEVENLBD_IMAGE_DIRS={images} SEVENLBD_SESSION_DIR={work}/s\n"
        f'exec {command} --env PATH=/home/user1/Work:/usr/bin:/bin "$@"\n'
    )
    (work / "7lbd").chmod(0o755)
    return work / "7lbd"


def case(folder: Path, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "solver.exe").write_text(SOLVER)
    (folder / "solver.exe").chmod(0o755)
    (folder / "case.inp").write_text(text)


def blocks(beginning: str) -> str:
    """The block of the page that begins so."""
    found = re.findall(r"^```(?:text|sh elsewhere)\n(.*?)^```$", PAGE.read_text(), re.M | re.S)
    [text] = [one for one in found if one.startswith(beginning)]
    return str(text)


def test_an_array_of_slurms_runs_a_case_a_task(site: Path, work: Path) -> None:
    script = blocks("#!/bin/bash\n#SBATCH --array").replace("7lbd exec", f"{site} exec")
    with pool.running(work / "p", cpus=2, memory_mb=8000) as slurm:
        jobs = slurm.folder / "jobs"
        for number in "12":
            case(jobs / f"case{number}", number)
        (jobs / "job").write_text(script)
        waiting = slurm.popen("sbatch", "--wait", "--array=1-2", "--output=%a.out", "job")
        told, _ = waiting.communicate(timeout=SECONDS)
        # Of a node without KVM it is warned; both outputs are one file here.
        said = [re.sub(r"^7lbd: WARNING.*\n", "", (jobs / f"{number}.out").read_text(), flags=re.M) for number in "12"]
        assert waiting.returncode == 0, (told, said)
        assert said == ["case.inp: 1\n", "case.inp: 2\n"]
        assert [(jobs / f"case{number}" / "result.csv").read_text() for number in "12"] == said


def test_a_sweep_of_htcondors_runs_an_angle_a_job(site: Path, work: Path) -> None:
    options = {"SevenLbdImages": '"win11"', "STARTD_ATTRS": "SevenLbdImages"}
    with condor.running(work / "c", cpus=2, memory_mb=8000, options=options) as there:
        case(there.jobs, "steel")
        script = blocks("#!/bin/sh\n# sweep.sh").replace("7lbd exec", f"{site} exec")
        (there.jobs / "sweep.sh").write_text(script)
        (there.jobs / "sweep.sh").chmod(0o755)
        description = blocks("# sweep.sub").replace("queue 1000", "queue 3").replace("10G", "100M")
        job = there.submit(description)
        for number in range(2):
            one = f"{job.partition('.')[0]}.{number}"
            assert there.wait(one, timeout=SECONDS) == condor.COMPLETED
            assert there.ad(one, "ExitCode") == ["0"], (there.jobs / f"{number}.err").read_text()
            assert (there.jobs / f"{number}.out").read_text() == f"--angle {number}: steel\n"
            assert (there.jobs / f"result{number}.csv").read_text() == f"--angle {number}: steel\n"
        failed = f"{job.partition('.')[0]}.2"
        assert there.wait(failed, timeout=SECONDS) == condor.COMPLETED, "it left no result, and is not held"
        assert there.ad(failed, "ExitCode") == ["3"]
