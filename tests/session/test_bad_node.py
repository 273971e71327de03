"""Nodes that lack something, and jobs that want too much: refused with what is missing, or said aloud."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import harness
import pytest
from conftest import Refuse, StartSession
from strange import BROKE, NODE, RESOURCES, USAGE, boots, node, refusal

HIDDEN_TUN = "mount --bind /dev/null /dev/net/tun"
NO_TUN = "mount -t tmpfs none /dev/net"
NO_KVM = "! [ -e /dev/kvm ] || mount --bind /dev/null /dev/kvm"
CLOSED = "touch {0}/closed; chmod 0 {0}/closed; mount --bind {0}/closed {1}"


def test_a_limit_of_user_namespaces_is_refused_with_the_command_that_mends_it(
    refuse: Refuse, blank_image: Path
) -> None:
    """Apptainer has its one and starts; the session's own is one too many."""
    prefix = node("echo 1 >/proc/sys/user/max_user_namespaces")
    says = ["user namespaces cannot be made", "limit", "sysctl -w user.max_user_namespaces"]
    refuse("--image", str(blank_image), code=NODE, says=says, prefix=prefix)


def test_without_any_user_namespace_apptainer_itself_says_so(blank_image: Path, base: Path) -> None:
    """Nothing of ours runs then: docs/admin.md says what to do."""
    prefix = node("echo 0 >/proc/sys/user/max_user_namespaces")
    done = harness.run("run", "--image", str(blank_image), "--session-dir", str(base), prefix=prefix)
    assert done.returncode != 0
    assert "max_user_namespaces" in done.stderr


def test_the_doctor_finds_what_the_node_lacks(base: Path) -> None:
    changes = f"{NO_KVM}; {NO_TUN}; echo 1 >/proc/sys/user/max_user_namespaces"
    done = harness.run("doctor", "--json", "--session-dir", str(base), prefix=node(changes))
    assert done.returncode == NODE, done.stderr
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert findings["user namespaces"]["level"] == "error"
    assert "sysctl" in findings["user namespaces"]["mend"]
    assert findings["KVM"]["level"] == "warning"
    assert "modprobe tun" in findings["tap network"]["mend"]


def test_a_node_that_covers_a_piece_of_proc_is_told_with_what_covers_it(
    start: StartSession, blank_image: Path, base: Path, tmp_path: Path
) -> None:
    """As LXCFS does, and containers: the kernel makes no /proc that would show what is beneath."""
    (tmp_path / "meminfo").write_text("MemTotal: 8000000 kB\nMemAvailable: 8000000 kB\n")
    covered = node(f"mount --bind {tmp_path}/meminfo /proc/meminfo")
    session = start("--image", str(blank_image), prefix=covered)
    assert session.wait_end() == BROKE, session.story()
    last = session.wait_event("finished")
    assert "mounted over /proc/meminfo" in last["reason"]
    assert "LXCFS" in last["hint"]
    done = harness.run("doctor", "--json", "--session-dir", str(base), prefix=covered)
    findings = {finding["check"]: finding for finding in json.loads(done.stdout)}
    assert findings["user namespaces"]["level"] == "error", findings["user namespaces"]
    assert "LXCFS" in findings["user namespaces"]["mend"]


def test_without_kvm_accel_kvm_is_refused(refuse: Refuse, blank_image: Path) -> None:
    asked = ("--image", str(blank_image), "--accel", "kvm")
    refuse(*asked, code=NODE, says=["accel = kvm", "/dev/kvm", "modprobe"], prefix=node(NO_KVM))


def test_without_kvm_accel_auto_says_so_aloud_and_in_status(start: StartSession, blank_image: Path, base: Path) -> None:
    session = start("--image", str(blank_image), "--accel", "auto", prefix=node(NO_KVM))
    session.wait_phase("booting")
    (state,) = json.loads(harness.run("status", "--json", "--session-dir", str(base)).stdout)
    assert state["accel"] == "tcg"
    assert any("NO KVM" in text and "slower" in text for text in state["warnings"])
    assert "WARNING: NO KVM" in harness.run("status", "--session-dir", str(base)).stdout
    assert any("NO KVM" in text for text in session.events[0]["warnings"])
    boots(session)
    plain = harness.run(
        "run", "--image", str(blank_image), "--session-dir", str(base), "--for", "1s", prefix=node(NO_KVM)
    )
    assert "7lbd: WARNING: NO KVM" in plain.stdout


def limited(*limits: str) -> list[str]:
    """A prefix: the command runs in a shell with these limits."""
    return ["bash", "-ec", f'{"; ".join(f"ulimit {limit}" for limit in limits)}; exec "$@"', "bash"]


@pytest.mark.parametrize(
    ("limit", "more", "says"),
    [
        ("-n 64", (), ["64 files open here (ulimit -n)", "need 256", "ulimit -n 256"]),
        (
            "-v 4000000",
            ("--memory", "4G"),
            ["4.0 GiB for the guest", "QEMU's own addresses", "only 3.8 GiB", "ulimit -v"],
        ),
        ("-d 2000000", ("--memory", "4G"), ["QEMU's own data", "only 1.9 GiB", "ulimit -d"]),
        ("-f 100", (), ["a file may grow to 0.", "(ulimit -f)", "--min-space"]),
        # Beside what this user has already: other tests run meanwhile, and Apptainer itself needs some.
        (
            '-u $(( $(ps -L -u "$(id -u)" -o lwp= | wc -l) + 50 ))',
            (),
            ["a session takes", "are allowed (ulimit -u)"],
        ),
    ],
)
def test_limits_of_the_shell_are_refused_with_the_arithmetic(
    refuse: Refuse, blank_image: Path, limit: str, more: tuple[str, ...], says: list[str]
) -> None:
    refuse("--image", str(blank_image), *more, code=RESOURCES, says=says, prefix=limited(limit))


def test_limits_that_may_be_raised_are_raised_for_everything_inside(start: StartSession, blank_image: Path) -> None:
    session = start("--image", str(blank_image), prefix=limited("-Sn 64", "-Sf 100", "-Sv 3000000"))
    session.wait_phase("booting")
    for name in ("qemu-system", "sbin/smbd", "sevenlbd.inside.gateway"):
        told = Path(f"/proc/{session.pid_by_name(name)}/limits").read_text()
        soft = {line[:26].strip(): line[26:].split()[0] for line in told.splitlines()}
        assert int(soft["Max open files"]) >= 4096, name
        assert soft["Max file size"] == soft["Max address space"] == "unlimited", name
    boots(session)


@pytest.mark.parametrize("changes", [HIDDEN_TUN, NO_TUN, "closed"])
def test_without_tun_network_tap_is_refused(refuse: Refuse, blank_image: Path, work: Path, changes: str) -> None:
    if changes == "closed":
        changes = CLOSED.format(work, "/dev/net/tun")
    asked = ("--image", str(blank_image), "--network", "tap")
    refuse(*asked, code=NODE, says=["network = tap", "/dev/net/tun", "modprobe tun"], prefix=node(changes))


def test_without_tun_network_auto_falls_back_aloud(start: StartSession, blank_image: Path) -> None:
    session = start("--image", str(blank_image), prefix=node(NO_TUN))
    last = boots(session)
    assert last["network"] == "user"
    assert any("No tap device" in text for text in session.events[0]["warnings"])


def test_a_user_mode_network_ends_in_a_namespace_that_leads_nowhere(start: StartSession, blank_image: Path) -> None:
    """QEMU connects for the guest, from there: what is not reached from it, no guest reaches."""
    session = start("--image", str(blank_image), "--network", "user")
    session.wait_phase("booting")
    smbd = str(session.pid_of("smbd"))

    def inside(*words: str) -> str:
        call = ["nsenter", "-t", smbd, "-U", "-n", "--preserve-credentials", *words]
        return subprocess.run(call, capture_output=True, text=True, check=True).stdout

    assert [link["ifname"] for link in json.loads(inside("ip", "-json", "link"))] == ["lo"]
    for family in ("-4", "-6"):
        assert not [route for route in json.loads(inside("ip", "-json", family, "route")) if route.get("dev") != "lo"]
    assert inside("ss", "-Hltun")
    assert not [line for line in inside("ss", "-Hltun").splitlines() if line.split()[4].endswith(":53")], "no names"
    for target in ("192.0.2.1/80", "169.254.169.254/80"):
        reached = inside("bash", "-c", f"if (echo >/dev/tcp/{target}) 2>/dev/null; then echo yes; else echo no; fi")
        assert reached == "no\n", target
    assert boots(session)["network"] == "user"


def test_contain_hides_the_devices_and_says_how_to_show_them(
    start: StartSession, blank_image: Path, base: Path
) -> None:
    """--contain is a habit at many sites; --containall hides /proc's processes, too."""
    session = start("--image", str(blank_image), options=["--containall", "--bind", f"{blank_image},{base}"])
    assert session.wait_phase("booting")["network"] == "user"
    assert "--bind /dev/net/tun" in "\n".join(session.events[0]["warnings"])
    # In there our PIDs are others: the control socket is how a session is reached.
    assert harness.run("stop", "--session-dir", str(base)).returncode == 0
    assert session.wait_end() == 0


def test_root_is_refused(refuse: Refuse, blank_image: Path) -> None:
    says = ["never as root", "without --fakeroot"]
    refuse("--image", str(blank_image), code=NODE, says=says, options=["--fakeroot"])


@pytest.mark.parametrize(
    ("environment", "whose"),
    [
        ({}, "free on this node"),
        ({"SLURM_MEM_PER_NODE": "1024"}, "SLURM_MEM_PER_NODE"),
        ({"SLURM_MEM_PER_CPU": "512", "SLURM_CPUS_ON_NODE": "2"}, "SLURM_MEM_PER_CPU"),
    ],
)
def test_more_memory_than_there_is_is_refused_with_what_fits(
    refuse: Refuse, blank_image: Path, environment: dict[str, str], whose: str
) -> None:
    wanted = "1G" if environment else "9T"
    asked = ("--image", str(blank_image), "--memory", wanted)
    told = refuse(*asked, code=RESOURCES, says=["for the guest", whose, "--memory"], env=environment)
    if environment:
        assert "--memory 512M fits" in told


def test_the_allocation_is_ignored_when_it_is_garbage_or_all_of_the_node(
    start: StartSession, blank_image: Path
) -> None:
    boots(start("--image", str(blank_image), env={"SLURM_MEM_PER_NODE": "0", "SLURM_MEM_PER_CPU": "\u00b2"}))


def test_more_memory_than_the_control_group_has_is_refused(refuse: Refuse, blank_image: Path, work: Path) -> None:
    """An ordinary user cannot make a control group here, so the node shows one of ours."""
    fake = work / "cgroup"
    (fake / "memory").mkdir(parents=True)
    (fake / "memory.max").write_text("max\n")
    (fake / "memory" / "memory.limit_in_bytes").write_text(f"{768 << 20}\n")
    hybrid = "version 1" if any(":memory:" in line for line in cgroups()) else "version 2"
    if hybrid == "version 2":
        (fake / "memory.max").write_text(f"{768 << 20}\n")
    asked = ("--image", str(blank_image), "--memory", "512M")
    options = ["--bind", f"{fake}:/sys/fs/cgroup"]
    refuse(
        *asked, code=RESOURCES, says=["control group", str(Path("/sys/fs/cgroup")), "--memory 256M"], options=options
    )


def cgroups() -> list[str]:
    return Path("/proc/self/cgroup").read_text().splitlines()


@pytest.mark.parametrize("cpus", ["9999", "-1"])
def test_more_cpus_than_the_job_has_are_refused(refuse: Refuse, blank_image: Path, cpus: str) -> None:
    usable = str(len(os.sched_getaffinity(0)))
    asked = ("--image", str(blank_image), f"--cpus={cpus}")
    refuse(*asked, code=RESOURCES, says=[cpus, f"may use {usable}", f"--cpus {usable}"])


def test_the_cpus_of_the_job_count_not_those_of_the_node(refuse: Refuse, blank_image: Path) -> None:
    one = ["taskset", "--cpu-list", str(min(os.sched_getaffinity(0)))]
    refuse("--image", str(blank_image), "--cpus", "2", code=RESOURCES, says=["may use 1"], prefix=one)


def test_less_memory_than_the_image_boots_with_is_refused(refuse: Refuse, blank_image: Path) -> None:
    refuse("--image", str(blank_image), "--memory", "1M", code=USAGE, says=["too few", "--memory 128M"])
    refuse("--image", str(harness.DEMO), "--memory", "64M", code=USAGE, says=["256.0 MiB", "least_memory"])


def test_a_cpu_model_that_qemu_does_not_know_fails_with_qemus_words(blank_image: Path, base: Path) -> None:
    asked = ("--image", str(blank_image), "--session-dir", str(base), "--cpu-model", "pentium9000")
    done = harness.run("run", *asked)
    assert done.returncode == BROKE
    assert "pentium9000" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def small(base: Path, size: str, options: str = "") -> list[str]:
    """A prefix: `base` lies on a file system of this size."""
    return node(f"mount -t tmpfs -o size={size},mode=0700{options} none {base}")


def test_too_little_room_for_the_overlay_is_refused(refuse: Refuse, blank_image: Path, base: Path) -> None:
    says = [str(base), "are free for what the guest writes", "--session-dir", "--min-space"]
    refuse("--image", str(blank_image), code=RESOURCES, says=says, prefix=small(base, "64m"))


@pytest.mark.parametrize("room", ["size", "inodes", "files"])
def test_a_full_session_folder_is_refused_at_every_step(
    refuse: Refuse, blank_image: Path, base: Path, room: str
) -> None:
    """Even when the user has said that no room is needed."""
    changes = {
        "size": f"mount -t tmpfs -o size=8k,mode=0700 none {base}",
        "inodes": f"mount -t tmpfs -o size=1g,nr_inodes=1,mode=0700 none {base}",
        "files": f"mount -t tmpfs -o size=1g,nr_inodes=5,mode=0700 none {base}",
    }
    asked = ("--image", str(blank_image), "--min-space", "0")
    refuse(*asked, code=RESOURCES, says=[str(base), "No space left"], prefix=node(changes[room]))


def test_a_read_only_place_for_sessions_is_refused(refuse: Refuse, blank_image: Path, base: Path) -> None:
    asked = ("--image", str(blank_image))
    says = [str(base), "--session-dir"]
    refuse(*asked, code=RESOURCES, says=says, prefix=node(f"mount -t tmpfs -o ro,mode=0700 none {base}"))


def test_output_that_nobody_reads_ends_no_session(start: StartSession, blank_image: Path, base: Path) -> None:
    """A pipe whose reader has gone, or a job's log on a full disk: the desktop and its exit code are the same."""
    asked = harness.command("run", "--image", str(blank_image), "--session-dir", str(base), "--for", "3s")
    for shell in ('"$@" 2>&1 | true; exit ${PIPESTATUS[0]}', '"$@" >&- 2>&- <&-'):
        done = subprocess.run(["bash", "-c", shell, "bash", *asked], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), shell
    done = subprocess.run(
        ["bash", "-c", '"$@" >/dev/full', "bash", *asked], capture_output=True, text=True, check=False
    )
    assert refusal(done, RESOURCES, ["No space left on device"])


@pytest.mark.parametrize("verb", ["config", "doctor", "version --all", "run --help"])
def test_a_reader_that_has_gone_is_no_error(verb: str) -> None:
    asked = harness.command(*verb.split())
    shell = 'exec 3>&1; ("$@" 2>&3; echo code=$? >&3) | head -c 0'
    done = subprocess.run(["bash", "-c", shell, "bash", *asked], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stdout
    assert "Exception ignored" not in done.stdout
    assert "code=0" in done.stdout or verb == "doctor"
