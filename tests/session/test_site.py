"""A site's file with the real SIF: all that is wrong in it told at once, on the node and by the real Slurm."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import harness
import pool
import pytest
from pool import Pool
from strange import NODE, USAGE

WRONG = """
image = "vista"
memroy = "8G"
cpus = "two"
locked = ["acel"]
name = "all-of-them"
shares = ["data=/no/data"]
egress_allow = ["tcp://license.invalid:27000", "udp://192.0.2.9:5000"]
[slurm]
partitoin = "x"
time = "soon"
[ondemand]
cluster = "blue"
hours = 99
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A site without an image; its file is the test's to write."""
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "7lbd.sif").symlink_to(harness.SIF)
    return folder


@pytest.fixture
def cluster() -> Iterator[Pool]:
    with (
        tempfile.TemporaryDirectory(prefix="7s-", dir="/tmp") as folder,
        pool.running(Path(folder) / "p", cpus=2, memory_mb=8000) as running,
    ):
        yield running


def findings(site: Path, *options: str, **env: str) -> tuple[int, list[dict[str, str]]]:
    """What `doctor --site` says, and its exit code."""
    done = harness.run("doctor", "--site", "--json", options=options, sif=site / "7lbd.sif", env=env)
    return done.returncode, json.loads(done.stdout)


def test_all_that_is_wrong_with_a_site_is_told_at_once(site: Path) -> None:
    (site / "7lbd.toml").write_text(WRONG)
    code, told = findings(site)
    assert code == NODE
    wrong = {finding["text"]: finding for finding in told if finding["level"] != "ok"}
    for words in (
        "`memroy` is not a setting; did you mean `memory`?",
        '`cpus` = "two": it must be a whole number',
        "`locked` names `acel`, which is not a setting; did you mean `accel`?",
        "[slurm] `partitoin` is not a key of this table; did you mean `partition`?",
        '[slurm] `time` = "soon": a duration is a number',
        "[ondemand] `hours` = 99 is more than `max_hours` = 8",
        "`name` is one session's affair",
        "image `vista` is neither",
        "/no/data does not exist here",
        "license.invalid: ",
        "sbatch cannot be called from here",
    ):
        found = [finding for text, finding in wrong.items() if words in text]
        assert len(found) == 1, f"{words}: {list(wrong)}"
        assert found[0]["mend"]
    assert any(finding["text"] == "1 ports of servers, 0 patterns of the proxy" for finding in told)


def test_a_mistake_in_a_table_stops_only_what_reads_it(site: Path) -> None:
    (site / "7lbd.toml").write_text('memory = "3G"\n[slurm]\npartitoin = "x"\n')
    done = harness.run("render", "slurm", sif=site / "7lbd.sif")
    assert (done.returncode, done.stdout) == (USAGE, "")
    assert "[slurm] `partitoin` is not a key of this table; did you mean `partition`?" in done.stderr
    assert 'memory = "3G"' in harness.run("config", sif=site / "7lbd.sif").stdout


@pytest.mark.parametrize("verb", ["submit", "render slurm", "doctor"])
def test_no_verb_gets_around_a_lock(site: Path, verb: str) -> None:
    (site / "7lbd.toml").write_text('accel = "tcg"\nmemory = "2G"\nlocked = ["accel", "memory"]\n')
    for words, env in (((*verb.split(), "--memory", "4G"), {}), (tuple(verb.split()), {"SEVENLBD_ACCEL": "kvm"})):
        done = harness.run(*words, sif=site / "7lbd.sif", env=env)
        assert (done.returncode, done.stdout) == (USAGE, "")
        assert "is for the site's settings file only" in done.stderr


def test_a_job_that_slurm_would_not_take_is_known_beforehand(cluster: Pool, site: Path) -> None:
    file = site / "7lbd.toml"
    node = ("--bind", "/:/node")
    image = f'image = "{harness.DEMO}"\nportals = ["https://ondemand.example.edu"]\n'
    sizes = '[ondemand]\ncluster = "blue"\nsizes = [{cpus = 1, memory = "4G"}, {cpus = 99, memory = "4G"}]\n'
    file.write_text(f'{image}[slurm]\npartition = "nowhere"\n{sizes}')
    code, told = findings(site, *node, **cluster.env)
    jobs = [(finding["level"], finding["text"]) for finding in told if finding["check"] == "scheduler"]
    assert (code, [level for level, _ in jobs]) == (NODE, ["error"] * 3)
    assert all("invalid partition specified" in text for _, text in jobs)
    file.write_text(f'{image}[slurm]\npartition = "urgent"\n{sizes}')
    _, told = findings(site, *node, **cluster.env)
    jobs = [(finding["level"], finding["text"]) for finding in told if finding["check"] == "scheduler"]
    assert [level for level, _ in jobs] == ["ok", "ok", "error"]
    assert "in partition urgent" in jobs[0][1]
    assert "`99 cores, 4 GB` would be refused" in jobs[2][1]
    assert cluster.jobs() == [], "nothing was handed in"
