"""A saved desktop outlives an upgrade: a newer QEMU goes on from it, or says that it cannot, and nothing is lost.

The newer QEMU is Debian's backport to the suite that the appliance is made of, laid over the SIF's own. 11.1.3 does not
read what 10.0.13 wrote of a virtio device, though it has the machine type: the same queue is of another size in both.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import harness
from harness import Console, Session
from strange import refusal

NEWER = harness.REPO / "build" / "second-qemu"
COUNTER = "i=0; while :; do i=$((i+1)); echo $i >> ~/count; sleep 0.2; done"
PACKAGES = "/usr/share/7lbd/debian-packages.tsv"


def newer_qemu(work: Path) -> list[str]:
    """Apptainer's options that lay the newer QEMU, with its modules, over the SIF's, file by file.

    A folder that is mounted there is a node's, and hidden behind the wall.
    """
    subprocess.run([harness.REPO / "scripts" / "second-qemu"], check=True, timeout=600)
    listed = [line.split("\t") for line in harness.tool("cat", PACKAGES).splitlines()]
    version = (NEWER / "version").read_text().strip()
    told = [[name, version if name == "qemu-system-x86" else rest[0], *rest[1:]] for name, *rest in listed]
    packages = work / "packages.tsv"
    packages.write_text("".join("\t".join(line) + "\n" for line in told))
    modules = harness.tool("find", "/usr/lib/x86_64-linux-gnu/qemu", "-name", "*.so").split()
    binds = [f"{NEWER}/tree{path}:{path}" for path in ("/usr/bin/qemu-system-x86_64", *modules)]
    binds.append(f"{packages}:{PACKAGES}")
    return [word for bind in binds for word in ("--bind", bind)]


def test_a_newer_qemu_goes_on_from_a_desktop_or_says_that_it_cannot_and_nothing_is_lost(
    work: Path, spare: Path
) -> None:
    env, newer = {"SEVENLBD_STATE_DIR": str(work / "state")}, (NEWER / "version")
    options = newer_qemu(work)
    first = start(work, "first", "run", "--image", str(spare), "--name", "elder")
    try:
        first.wait_phase("ready")
        Console(first).run(f"(setsid sh -c '{COUNTER}' </dev/null >/dev/null 2>&1 &)")
        suspend(first, env)
    finally:
        first.kill()
    before = (work / "state" / "saved" / "elder.7lbd").read_bytes()
    again = start(work, "again", "resume", "--image", str(spare), "elder", options=options)
    try:
        if phase(again) == "ready":
            counts_on(Console(again))
            suspend(again, env)
            back = harness.run("resume", "--session-dir", str(work / "s"), "--image", str(spare), "elder", env=env)
            refusal(
                back, 3, ["cannot go on here", f"QEMU {newer.read_text().strip()} when suspended, and the older 1:10."]
            )
            return
        again.wait_end()
        told = next(event for event in reversed(again.events) if event.get("reason"))
    finally:
        again.kill()
    assert "QEMU's migrate-incoming failed" in told["reason"]
    assert "elder.7lbd is lost; QEMU 1:10." in told["hint"]
    assert f"here is {newer.read_text().strip()}: resume it with the 7lbd that suspended it" in told["hint"]
    assert (work / "state" / "saved" / "elder.7lbd").read_bytes() == before
    own = start(work, "own", "resume", "--image", str(spare), "elder")
    try:
        own.wait_phase("ready")
        counts_on(Console(own))
    finally:
        own.kill()


def phase(session: Session) -> str:
    """Ready or failed, whichever it comes to."""
    deadline = time.monotonic() + harness.READY_SECONDS
    while time.monotonic() < deadline:
        for event in session.events:
            if event.get("phase") in ("ready", *harness.FINAL):
                return str(event["phase"])
        time.sleep(0.2)
    raise AssertionError(session.story())


def counts_on(shell: Console) -> None:
    """The counter of before, which skipped no number and told none twice."""
    before = int(shell.run("tail -1 ~/count"))
    on = shell.run(f'until [ "$(tail -1 ~/count)" -gt {before} ]; do sleep 0.2; done; tail -1 ~/count')
    assert int(on) > before
    assert shell.run('awk \'$1 != NR {bad=1} END {print bad ? "wrong" : "right"}\' ~/count') == "right"
    shell.hang_up()


def suspend(session: Session, env: dict[str, str]) -> None:
    """The session ends, and is in its file."""
    done = harness.run("suspend", "--session-dir", str(session.base), "elder", env=env, timeout=600)
    assert done.returncode == 0, done.stderr
    assert session.wait_end() == 0


def start(work: Path, folder: str, verb: str, *rest: str, options: Sequence[str] = ()) -> Session:
    """A session in a folder of its own, with an empty home for its share."""
    place = work / folder
    (place / "home").mkdir(parents=True)
    shares = ("--no-home-share", "--share", f"home={place / 'home'}")
    call = harness.command(verb, "--json", "--session-dir", str(place / "s"), *shares, *rest, options=options)
    (place / "s").mkdir(mode=0o700)
    process = subprocess.Popen(
        call, env=harness.environment({"SEVENLBD_STATE_DIR": str(work / "state")}), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return Session(process, place / "s")._begin()
