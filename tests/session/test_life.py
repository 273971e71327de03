"""A session's life: every way to end it, at every phase that needs no guest, leaves nothing behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import harness
import pexpect
import pytest
from conftest import StartSession
from harness import Session


def running_files(session: Session) -> list[str]:
    return sorted(path.name for path in session.folder.iterdir())


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR1, 143), (signal.SIGHUP, 143)]
)
def test_a_signal_while_booting_ends_it(
    start: StartSession, blank_image: Path, number: signal.Signals, code: int
) -> None:
    session = start("--image", str(blank_image))
    session.wait_phase("booting")
    session.send(number)
    assert session.wait_end() == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("delay", [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7])
def test_a_signal_while_preparing_leaves_nothing(
    start: StartSession, blank_image: Path, base: Path, number: signal.Signals, delay: float
) -> None:
    """The phase is short, so it is hit at many moments, from before the first line of Python on."""
    session = start("--image", str(blank_image))
    supervisor = session.pid_by_name("/usr/bin/7lbd")
    time.sleep(delay)
    with suppress(ProcessLookupError):
        os.kill(supervisor, number)
    try:
        session.wait_end()
    except subprocess.TimeoutExpired:
        # Python ignores nothing: a signal that was not heard would be a fault.
        pytest.fail(f"{number.name} after {delay} s was not heard:\n{session.story()}")
    harness.run("gc", "--session-dir", str(base))


def test_sigkill_of_the_supervisor_leaves_no_process(start: StartSession, blank_image: Path, base: Path) -> None:
    session = start("--image", str(blank_image), "--name", "victim")
    session.wait_phase("booting")
    session.pid_of("smbd")
    below = set(session.processes())
    session.send(signal.SIGKILL)
    session.wait_end()
    assert harness.wait_until_gone(below) == set()
    assert (base / "victim").exists(), "SIGKILL leaves no chance to clean up"
    second = start("--image", str(blank_image), "--name", "second")
    second.wait_phase("booting")
    assert not (base / "victim").exists(), "the next session removes it"
    second.send(signal.SIGTERM)
    second.wait_end()


def test_gc_removes_what_a_killed_session_left(start: StartSession, blank_image: Path, base: Path) -> None:
    session = start("--image", str(blank_image), "--name", "victim")
    session.wait_phase("booting")
    session.send(signal.SIGKILL)
    session.wait_end()
    done = harness.run("gc", "--session-dir", str(base))
    assert "removed" in done.stdout
    assert "victim" in done.stdout


def test_stop_and_status_find_the_session(start: StartSession, blank_image: Path, base: Path) -> None:
    session = start("--image", str(blank_image), "--name", "mine")
    session.wait_phase("booting")
    where = ("--session-dir", str(base))
    shown = harness.run("status", "--json", *where)
    assert [state["id"] for state in json.loads(shown.stdout)] == ["mine"]
    assert json.loads(shown.stdout)[0]["phase"] == "booting"
    assert "mine  booting" in harness.run("status", *where).stdout
    stopped = harness.run("stop", "mine", *where)
    assert (stopped.returncode, stopped.stdout) == (0, "session mine has ended\n")
    assert session.wait_end() == 0
    nothing = harness.run("stop", *where)
    assert nothing.returncode == 9
    assert "no session of yours is running" in nothing.stderr


def test_the_session_folder_is_private(start: StartSession, blank_image: Path) -> None:
    session = start("--image", str(blank_image), umask=0)
    session.wait_phase("booting")
    assert session.folder.stat().st_mode & 0o777 == 0o700
    assert session.folder.parent.stat().st_mode & 0o777 == 0o700
    harness.is_private(session.folder)
    assert {"rdp.sock", "vnc.sock", "session.json", "credentials.json", "overlay.qcow2"} <= set(running_files(session))
    session.send(signal.SIGTERM)
    session.wait_end()


def test_a_time_limit_ends_it_in_order(start: StartSession, blank_image: Path) -> None:
    session = start("--image", str(blank_image), "--for", "3s")
    assert session.wait_end() == 0
    assert session.events[-1]["reason"] == "its time is up"
    assert 3 <= session.events[-1]["phases"]["stopping"] < 60


def test_a_guest_that_never_gets_ready_fails_with_its_last_screen(
    start: StartSession, blank_image: Path, base: Path
) -> None:
    session = start("--image", str(blank_image), "--name", "dumb", "--ready-timeout", "6s")
    assert session.wait_end() == 7
    kept = Path(session.wait_event("kept")["folder"])
    assert kept == base / "failed-dumb"
    assert (kept / "console.png").read_bytes().startswith(b"\x89PNG")
    assert "not ready within 6 s" in session.events[-1]["reason"]
    assert (kept / "logs" / "qemu.log").exists()


def guest_that_stands_still() -> bytes:
    """A boot sector that says B, and whose processor never ends its timer's interrupt."""

    def write_msr(number: int, value: int) -> bytes:
        return b"\x66\xb9" + number.to_bytes(4, "little") + b"\x66\xb8" + value.to_bytes(4, "little") + b"\x0f\x30"

    handler = 0x6A
    code = bytes.fromhex("31c0 8ed8 8ed0 bc007c a30201 c7060001") + (0x7C00 + handler).to_bytes(2, "little")
    code += bytes.fromhex("baf803 b042 ee")  # B on the serial line, and before: ds = ss = 0, sp, vector 0x40
    code += bytes.fromhex("66b91b000000 0f32 0d000c 0f30 6631d2")  # the local APIC as an x2APIC
    # Intel SDM volume 4, the MSRs of an x2APIC.
    code += write_msr(0x80F, 0x1FF) + write_msr(0x83E, 0x0B)  # on; its timer undivided
    code += write_msr(0x832, 0x20040) + write_msr(0x838, 10_000_000)  # again and again, with vector 0x40
    code += bytes.fromhex("fb f4 ebfc")  # interrupts on; hlt; again
    return (code.ljust(handler, b"\x90") + b"\xcf").ljust(510, b"\0") + b"\x55\xaa"


def test_a_guest_that_stands_still_in_its_boot_is_started_anew_once(
    start: StartSession, blank_image: Path, work: Path
) -> None:
    folder = work / "still"
    shutil.copytree(blank_image, folder)
    raw = work / "still.raw"
    raw.write_bytes(guest_that_stands_still().ljust(1 << 20, b"\0"))
    harness.tool("qemu-img", "convert", "-O", "qcow2", str(raw), str(folder / "disk.qcow2"))
    session = start("--image", str(folder), "--accel", "tcg")
    serial = session.folder / "logs" / "serial.log"
    told = "the guest stood still in its boot, as emulation rarely makes it: the machine was started anew"
    session.wait_event("warning", harness.PATIENCE, text=told)
    deadline = time.monotonic() + harness.PATIENCE
    while (boots := serial.read_bytes().count(b"B")) < 2:
        assert time.monotonic() < deadline, boots
        time.sleep(0.2)
    time.sleep(16)
    assert serial.read_bytes().count(b"B") == 2, "once is enough"
    session.send(signal.SIGTERM)
    session.wait_end()


def test_the_death_of_qemu_ends_it_with_the_reason(start: StartSession, blank_image: Path) -> None:
    session = start("--image", str(blank_image))
    session.wait_phase("booting")
    os.kill(session.pid_of("qemu-system-x86_64"), signal.SIGSEGV)
    assert session.wait_end() == 8
    assert "QEMU ended with signal 11" in session.events[-1]["reason"]


@pytest.mark.parametrize("helper", ["smbd", "dnsmasq"])
def test_a_helper_that_dies_is_started_again(start: StartSession, blank_image: Path, helper: str) -> None:
    session = start("--image", str(blank_image))
    session.wait_phase("booting")
    first = session.pid_of(f"sbin/{helper}")
    time.sleep(0.5)
    os.kill(first, signal.SIGKILL)
    assert helper in session.wait_event("warning")["text"]
    deadline = time.monotonic() + harness.PATIENCE
    while session.pid_of(f"sbin/{helper}") == first:  # it may not be buried yet
        assert time.monotonic() < deadline, session.story()
        time.sleep(0.1)
    session.send(signal.SIGTERM)
    session.wait_end()


def test_the_keeper_killed_ends_it_with_the_reason(start: StartSession, blank_image: Path) -> None:
    session = start("--image", str(blank_image))
    session.wait_phase("booting")
    # First the one that waits in front of the wall, then the keeper, then what it has only just forked.
    keepers = sorted(pid for pid, line in session.processes().items() if "start.py sevenlbd.inside " in line)
    os.kill(keepers[1], signal.SIGKILL)
    assert session.wait_end() == 8


def test_the_password_is_in_no_process_list_environment_or_log(start: StartSession, blank_image: Path) -> None:
    session = start("--image", str(blank_image))
    session.wait_phase("booting")
    session.pid_of("smbd")
    password = session.password()
    assert len(password) >= 21
    assert password.isalnum()
    for pid in session.processes():
        for name in ("cmdline", "environ"):
            try:
                content = Path(f"/proc/{pid}/{name}").read_bytes()
            except (PermissionError, FileNotFoundError, ProcessLookupError):  # not ours, or gone by now
                continue
            assert password.encode() not in content, (pid, name)
    for path in (*session.folder.glob("logs/*"), session.folder / "session.json"):
        assert password.encode() not in path.read_bytes(), path
    session.send(signal.SIGTERM)
    session.wait_end()
    assert password not in session.story()


def apptainer_of(session: Session) -> int:
    """PID of Apptainer's own process, the parent of everything."""
    return session.process.pid


def test_sigterm_to_apptainer_alone_ends_it_in_order(start: StartSession, blank_image: Path) -> None:
    """slurmstepd's SIGTERM reaches only its direct child."""
    session = start("--image", str(blank_image))
    session.wait_phase("booting")
    os.kill(apptainer_of(session), signal.SIGTERM)
    session.wait_end()
    assert session.events[-1]["phase"] == "ended"


def test_apptainer_killed_takes_the_session_with_it(start: StartSession, blank_image: Path, base: Path) -> None:
    session = start("--image", str(blank_image))
    session.wait_phase("booting")
    below = {pid for pid, line in session.processes().items() if "squashfuse" not in line}
    os.kill(apptainer_of(session), signal.SIGKILL)
    assert harness.wait_until_gone(below) == set()
    assert not base.exists() or not list(base.iterdir()), "the supervisor had its chance to clean up"


def test_gc_ends_the_mount_of_a_killed_apptainer_and_no_other(start: StartSession, blank_image: Path) -> None:
    living = start("--image", str(blank_image))
    killed = start("--image", str(blank_image), "--name", "killed")
    for session in (living, killed):
        session.wait_phase("booting")
    kept, left = _mount_of(living), _mount_of(killed)
    below = set(killed.processes())
    os.kill(apptainer_of(killed), signal.SIGKILL)
    assert harness.wait_until_gone(below) == set()
    printed = harness.run("gc").stdout
    assert "of the SIF that a killed Apptainer left" in printed or not left
    assert harness.wait_until_gone(left) == set()
    assert harness.wait_until_gone(kept, 0.5) == kept
    living.send(signal.SIGINT)
    living.wait_end()


def _mount_of(session: Session) -> set[int]:
    """The process by which Apptainer shows the SIF; none where the kernel mounts it."""
    return {pid for pid, line in harness.descendants(apptainer_of(session)).items() if "squashfuse" in line}


@pytest.mark.parametrize("phase", ["booting"])
def test_ctrl_c_on_a_terminal_ends_it_in_order(blank_image: Path, base: Path, phase: str) -> None:
    """On a terminal the signal comes twice, from the terminal and from Apptainer: it counts once."""
    call = harness.command("run", "--image", str(blank_image), "--session-dir", str(base))
    terminal = pexpect.spawn(call[0], call[1:], encoding="utf-8", timeout=harness.PATIENCE, dimensions=(40, 140))
    terminal.expect(phase)
    time.sleep(2)
    terminal.sendintr()
    terminal.expect("has ended: SIGINT came")
    terminal.expect(pexpect.EOF)
    terminal.close()
    assert terminal.exitstatus == 130
    assert not base.exists() or not list(base.iterdir())
