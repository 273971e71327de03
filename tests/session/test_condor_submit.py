"""From a submit node: a desktop is submitted to the real HTCondor, followed, reached, and stopped."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import condor
import harness
import pytest
import submit_node
from condor import CondorPool
from submit_node import SubmitNode

BROKE, USAGE = 8, 2


@dataclass
class Login(SubmitNode):
    """With HTCondor's commands."""

    pool: CondorPool


@pytest.fixture(scope="module")
def login(work: Path) -> Iterator[Login]:
    """A pool, and its submit node."""
    place = work / "c"
    (place / "login").mkdir(parents=True)
    setup = f"export SEVENLBD_STATE_DIR={place}/state PATH=/usr/local/bin:/usr/bin:/bin"
    submit_node.site(place, "condor", setup=[setup], disk="100M")
    before = harness.my_processes()
    with condor.running(work / "p", cpus=2, memory_mb=3000) as pool:
        yield Login(place, "submit1", pool.jobs, pool.env, pool)
    assert not harness.wait_until_gone(harness.my_processes() - before)


def blank(image: Path, *more: str) -> list[str]:
    """What starts a machine without a system in a second."""
    return ["--image", str(image), "--memory", "256M", "--cpus", "1", *more]


def test_a_desktop_in_a_pool_is_submitted_seen_reached_and_stopped(login: Login, blank_image: Path) -> None:
    """All from a node on which it does not run, by the scheduler's own commands."""
    job = login.call("7lbd", "submit", "--detach", *blank(blank_image)).strip()
    assert re.fullmatch(r"\d+\.0", job)
    cluster = job.partition(".")[0]
    session = f"job{cluster}-0"
    status = login.until("booting", "7lbd", "status")
    assert f"{session}  booting" in status
    assert f"on {os.uname().nodename}, job {cluster}" in status
    assert f"session {session} on" in login.call("7lbd", "connect", cluster)
    password = login.call("7lbd", "connect", job, "--password").strip()
    assert len(password) == 24, "the node itself was asked, by condor_ssh_to_job"
    assert f"session {session} has ended" in login.call("7lbd", "stop", cluster)
    login.pool.wait(job)
    output = (login.pool.jobs / f"7lbd-{job}.log").read_text()
    assert "nothing is left behind" in output
    assert login.pool.ad(job, "JobStatus", "ExitCode") == ["4", "0"], "its user's end is a job's good end"
    assert login.records() == []


RENDERED = """
require "erb"; require "yaml"; require "json"
Said = Struct.new(:cluster, :desktop_image, :desktop_size, :bc_num_hours) { def bound = binding }
puts JSON.generate(YAML.safe_load(ERB.new(File.read(ARGV[0]), trim_mode: "-").result(Said.new(*ARGV[1..]).bound)))
"""


def asked(app: Path, cluster: str, image: str, size: str) -> dict[str, Any]:
    """The `script` of submit.yml.erb, as OnDemand's own Ruby reads it."""
    words = ["ruby", "-e", RENDERED, str(app / "submit.yml.erb"), cluster, image, size, "2"]
    told = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    found: dict[str, Any] = json.loads(told)["script"]
    return found


def test_the_portals_app_asks_each_cluster_in_its_own_words(work: Path, login: Login) -> None:
    """As OnDemand's adapter hands lines on, by a shell, the real condor_submit takes them."""
    site = work / "o"
    site.mkdir()
    (site / "7lbd.sif").symlink_to(harness.SIF)
    (site / "7lbd.toml").write_text(
        '[condor]\nrequirements = "SevenLbdKvm && Memory > 1"\ncommands = ["+Project = \\"a b\\""]\ndisk = "2G"\n'
        'account = "group_x"\n[slurm]\npartition = "long"\n[ondemand]\ncluster = ["blue", "red"]\n'
        'condor_clusters = ["red"]\nportals = ["https://p.example.edu"]\nimages = ["win11=Windows", "win10"]\n'
        'sizes = [{ cpus = 2, memory = "8G" }, { cpus = 4, memory = "16G" }]\n'
    )
    app = site / "app"
    done = harness.run("render", "ondemand", str(app), options=["--bind", str(site)], sif=site / "7lbd.sif")
    assert done.returncode == 0, done.stderr
    slurm = asked(app, "blue", "win10", "4x16384")
    assert (slurm["queue_name"], "--mem=16384M" in slurm["native"]) == ("long", True)
    script = asked(app, "red", "win10", "4x16384")
    assert (script["cores"], script["accounting_id"], "queue_name" in script) == (4, "group_x", False)
    lines = [f"-a {name}={value}" for name, value in script["native"].items()]
    dry = login.pool.jobs / "dry.ad"
    lines += ["-a executable=/bin/true", "-", "-queue 1"]
    call = f"condor_submit -dry-run {shlex.quote(str(dry))} {' '.join(lines)} </dev/null"
    login.pool.call("sh", "-c", call)
    ad = dry.read_text()
    for attribute in (
        'vm_name="win10"',
        "RequestMemory=16384",
        "RequestCpus=4",
        'Project="a b"',
        "RequestDisk=2097152",
    ):
        assert attribute in ad.replace(" = ", "="), ad
    assert "(SevenLbdKvm && Memory > 1) && stringListMember(MY.vm_name,TARGET.SevenLbdImages)" in ad.replace(", ", ",")
    assert asked(app, "red", "gone", "gone")["native"]["+vm_name"] == "'\"win11\"'", (
        "an older form's choice is the first"
    )
