"""docs/one-hour.md: its commands, in its order, with a real Slurm: from a folder to a desktop as a job, and an app."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import harness
import pool
import pytest
from pool import Pool

PAGE = (harness.REPO / "docs" / "one-hour.md").read_text()
BLOCKS = re.findall(r"^( *)```sh walk\n(.*?)^\1```$", PAGE, re.MULTILINE | re.DOTALL)
SECONDS = 600
SITE = "/apps/7lbd"


@pytest.fixture
def cluster() -> Iterator[Pool]:
    # slurmd's and the session's sockets need a short path.
    with (
        tempfile.TemporaryDirectory(prefix="7h-", dir="/tmp") as folder,
        pool.running(Path(folder) / "p", cpus=4, memory_mb=20000) as running,
    ):
        yield running


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """What the reader has after the steps that need root or a Windows disc: the file, and an image called win11."""
    folder = tmp_path / "7lbd"
    (folder / "images").mkdir(parents=True)
    (folder / "7lbd.sif").symlink_to(harness.SIF)
    (folder / "images" / "win11").symlink_to(harness.DEMO)
    return folder


def test_the_hour_goes_as_the_page_says(cluster: Pool, site: Path) -> None:
    before = harness.my_processes()
    # The image is where the tests have theirs, which every container has to show.
    binds = [str(harness.REPO), *filter(None, os.environ.get("APPTAINER_BIND", "").split(","))]
    script = "\n".join(f"echo '--- {number}'\n{text}" for number, (_, text) in enumerate(BLOCKS))
    script = script.replace(SITE, str(site)).replace('# binds = ["/scratch"]', f"binds = {json.dumps(binds)}")
    env = {**cluster.env, "APPTAINER_BIND": ",".join(binds), "SEVENLBD_STATE_DIR": str(site / "state")}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        env=harness.environment(env), capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    said = dict(enumerate(re.split(r"^--- \d+\n", done.stdout, flags=re.M)[1:]))
    assert done.returncode == 0, done.stdout + done.stderr + cluster.story()
    node, images, written, called, checked, expanded, started, known, app = (
        said[number] for number in range(len(BLOCKS))
    )
    assert "ok     user namespaces: usable" in node
    assert "win11" in images
    assert (written, called, expanded) == ("", "", "")
    assert "ERROR" not in checked
    assert checked.count("ok     scheduler: the job of submit: Job ") == 2, "on the login node, and on the compute node"
    assert checked.count("ok     scheduler: [ondemand] size `") == 4
    assert "READY after" in started
    assert re.search(r"^job\d+ +ready", known, re.M)
    assert "ssh -L" in known
    assert re.search(r"^session job\d+ has ended$", known, re.M)
    assert f"the app is in {site}/ondemand" in app
    assert (site / "ondemand" / "manifest.yml").is_file()
    assert 'partition = "main"\n' in (site / "7lbd.toml").read_text()
    assert "# Memory of the guest" in (site / "7lbd.toml").read_text()
    assert not cluster.jobs()
    assert not harness.wait_until_gone(harness.my_processes() - before)


def test_the_page_has_all_of_its_steps() -> None:
    assert len(BLOCKS) == 9
    assert all(text in PAGE for text in ("render ondemand", "doctor --site", "submit"))
