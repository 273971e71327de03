"""One ready demo desktop, looked at from all sides: files, network, clients, secrets."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path

import harness
import probe
import pytest
from harness import GUEST, HOST, Console, Session

HOME = Path.home()
APPLIANCE = {".singularity.d", "bin", "etc", "lib", "lib64", "opt", "sbin", "usr", "var"}


@pytest.fixture
def scratch() -> Iterator[Path]:
    """A folder in the home that the guest mounts."""
    folder = HOME / f"7lbd test ä {os.getpid()}"
    folder.mkdir(exist_ok=True)
    yield folder
    subprocess.run(["rm", "-rf", str(folder)], check=True)


def in_guest(path: Path) -> str:
    """A path of the home as the guest sees it, for its shell."""
    return f"'/home/user1/Home/{path.relative_to(HOME)}'"


def smbclient(demo: Session, user: str, password: str, command: str, *options: str) -> subprocess.CompletedProcess[str]:
    login = ["-U", f"{user}%{password}"] if user else ["-N"]
    return demo.inside("smbclient", *login, *options, f"//{HOST}/home", "-c", command)


def test_files_go_both_ways_whole(guest: Console, scratch: Path) -> None:
    ours = os.urandom(3_000_000)
    (scratch / "from node.bin").write_bytes(ours)
    there = in_guest(scratch)
    assert guest.run(f"sha256sum < {there}/'from node.bin'").split()[0] == hashlib.sha256(ours).hexdigest()
    guest.run(f"head -c 3000000 /dev/urandom > {there}/'from guest.bin' && sync")
    theirs = guest.run(f"sha256sum < {there}/'from guest.bin'").split()[0]
    assert hashlib.sha256((scratch / "from guest.bin").read_bytes()).hexdigest() == theirs


def test_what_the_guest_writes_is_the_users_own(guest: Console, scratch: Path) -> None:
    umask = os.umask(0o022)
    os.umask(umask)
    guest.run(f"cd {in_guest(scratch)} && touch file && mkdir folder && cd")
    assert (scratch / "file").stat().st_uid == os.getuid()
    assert (scratch / "file").stat().st_gid == os.getgid()
    assert (scratch / "file").stat().st_mode & 0o777 == 0o666 & ~umask
    assert (scratch / "folder").stat().st_mode & 0o777 == 0o777 & ~umask


@pytest.mark.parametrize("name", ["two words", "Übergröße ñ 日本", "x" * 255, "semi;quote'$HOME", "-dash"])
def test_odd_names_survive(guest: Console, scratch: Path, name: str) -> None:
    (scratch / name).write_text("node")
    assert guest.run(f"cd {in_guest(scratch)} && cat ./* && mv ./* x && mv x y && cd") == "node"
    assert [path.name for path in scratch.iterdir()] == ["y"]


def test_files_over_4_gib_work(guest: Console, scratch: Path) -> None:
    at = (4 << 30) + 12345
    with (scratch / "big").open("wb") as file:
        file.seek(at)
        file.write(b"end of a big file")
    there = in_guest(scratch)
    assert guest.run(f"stat -c %s {there}/big") == str(at + 17)
    assert guest.run(f"tail -c 17 {there}/big") == "end of a big file"
    guest.run(f"printf back | dd of={there}/big bs=1 seek={at + 100} conv=notrunc status=none && sync")
    with (scratch / "big").open("rb") as file:
        file.seek(at + 100)
        assert file.read() == b"back"


def seen(guest: Console, command: str, wanted: list[str], seconds: float = 10) -> None:
    """A command in the guest prints these words, soon. What the guest kept, it kept for half a minute and more."""
    deadline = time.monotonic() + seconds
    while (found := guest.run(command).split()) != wanted:
        assert time.monotonic() < deadline, f"{found} after {seconds} s, not {wanted}"


def test_what_a_job_writes_meanwhile_is_seen(guest: Console, scratch: Path) -> None:
    there = in_guest(scratch)
    (scratch / "job.log").write_text("one\n")
    (scratch / "old").touch()
    assert guest.run(f"ls {there}").split() == ["job.log", "old"]
    guest.run(f"(timeout 60 tail -f {there}/job.log >/tmp/tailed 2>&1 &)")
    seen(guest, "cat /tmp/tailed", ["one"])
    for line in ("two", "three"):
        with (scratch / "job.log").open("a") as log:
            log.write(f"{line}\n")
    (scratch / "new").touch()
    (scratch / "old").unlink()
    seen(guest, f"ls {there}", ["job.log", "new"])
    seen(guest, "cat /tmp/tailed", ["one", "two", "three"])
    (scratch / "job.log").write_text("afresh\n")
    seen(guest, f"cat {there}/job.log", ["afresh"])


def test_two_who_write_the_same_file_by_turns_lose_nothing(guest: Console, scratch: Path) -> None:
    there, file = in_guest(scratch), scratch / "both"
    for turn in range(3):
        guest.run(f"echo guest {turn} >>{there}/both")
        with file.open("a") as ours:
            ours.write(f"node {turn}\n")
    lines = [f"{who} {turn}" for turn in range(3) for who in ("guest", "node")]
    assert file.read_text().splitlines() == lines
    seen(guest, f"tr -d ' ' <{there}/both", [line.replace(" ", "") for line in lines])


def test_a_lock_of_the_guest_holds_on_the_node_and_the_other_way_round(guest: Console, scratch: Path) -> None:
    there = in_guest(scratch)
    with (scratch / "locked").open("w") as file:
        fcntl.lockf(file, fcntl.LOCK_EX)
        assert guest.attempt(f"flock --nonblock {there}/locked true")[1] != 0
        fcntl.lockf(file, fcntl.LOCK_UN)
        guest.run(f"exec 8>>{there}/locked && flock --nonblock 8")
        with pytest.raises(BlockingIOError):
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        guest.run("exec 8>&-")
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_links_work_inside_a_share_and_do_not_lead_out(demo: Session, scratch: Path) -> None:
    (scratch / "real").mkdir()
    (scratch / "real" / "file").write_text("x")
    (scratch / "relative").symlink_to("real")
    (scratch / "absolute").symlink_to(scratch / "real")
    (scratch / "out").symlink_to("/etc")
    (scratch / "up").symlink_to("../../../../etc/passwd")
    for name in ("relative", "absolute"):
        found = smbclient(demo, demo.account(), demo.password(), f'cd "{scratch.name}/{name}"; ls')
        assert "file" in found.stdout, found.stdout
    for name in ("out", "up"):
        refused = smbclient(demo, demo.account(), demo.password(), f'ls "{scratch.name}/{name}/*"')
        assert "NT_STATUS" in refused.stdout
        assert "hostname" not in refused.stdout


def test_a_read_only_share_is_one(demo: Session) -> None:
    login = ["-U", f"{demo.account()}%{demo.password()}"]
    done = demo.inside("smbclient", *login, f"//{HOST}/data", "-c", "ls deep/*; put /etc/hostname new")
    assert "read-me.txt" in done.stdout
    assert "NT_STATUS_ACCESS_DENIED" in done.stdout + done.stderr


@pytest.mark.parametrize("case", ["wrong password", "no password", "empty user", "another user"])
def test_wrong_credentials_are_refused(demo: Session, case: str) -> None:
    password = demo.password()
    user, word = {
        "wrong password": (demo.account(), password[:-1]),
        "no password": (demo.account(), ""),
        "empty user": ("", ""),
        "another user": ("root", password),
    }[case]
    done = smbclient(demo, user, word, "ls")
    assert done.returncode != 0
    assert "NT_STATUS_LOGON_FAILURE" in done.stdout or "NT_STATUS_ACCESS_DENIED" in done.stdout


@pytest.mark.parametrize("dialect", ["SMB3_02", "SMB2_10"])
def test_older_smb_is_refused(demo: Session, dialect: str) -> None:
    done = smbclient(demo, demo.account(), demo.password(), "ls", f"--option=client max protocol={dialect}")
    assert done.returncode != 0, done.stdout


# MS-SMB2 2.2.3 and 2.2.4: a negotiation of SMB 3.1.1 by a client that does not ask for signing.
NEGOTIATE = r"""
import socket, struct
header = b"\xfeSMB" + struct.pack("<HHIHHIIQIIQ16x", 64, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
context = struct.pack("<HHI HHH32x", 1, 38, 0, 1, 32, 1)
request = struct.pack("<HHHHI16xIHH H2x", 36, 1, 0, 0, 0, 104, 1, 0, 0x311) + context
wire = socket.create_connection(("169.254.100.2", 445), 10)
wire.sendall(struct.pack(">I", len(header + request)) + header + request)
answer = wire.recv(4096)[4:]
status, = struct.unpack_from("<I", answer, 8)
_, mode, dialect = struct.unpack_from("<HHH", answer, 64)
print(status, "required" if mode & 2 else "optional", hex(dialect))
"""


def test_the_server_requires_signing_of_who_does_not_ask_for_it(demo: Session) -> None:
    done = demo.inside("/usr/bin/python3", "-c", NEGOTIATE)
    assert done.stdout.split() == ["0", "required", "0x311"], done.stderr


UDP_SCAN = r"""
import socket
found = []
for port in [7,9,11,13,17,19,37,42,49,53,67,68,69,80,88,111,123,135,137,138,161,162,177,389,427,443,445,464,500,514,
             520,623,631,749,750,1194,1433,1434,1701,1812,1900,2049,3389,3478,4500,4789,5060,5353,5355,5683,11211,54321]:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(0.7); s.connect(('169.254.100.2', port))
    # The host answers for closed ports at most about once a second (icmp_ratelimit): ask for long enough.
    for _ in range(10):
        try: s.send(b'\x00' * 20); s.recv(1500); found.append(port); break
        except ConnectionRefusedError: break
        except OSError: continue
    else: found.append(port)
print(found)
"""


def test_a_scan_of_all_ports_finds_exactly_the_three(guest: Console, scratch: Path) -> None:
    (scratch / "udp.py").write_text(UDP_SCAN)
    shutil.copy(Path(probe.__file__), scratch)
    there = in_guest(scratch)
    # Side by side, as the one waits most of the time.
    tcp = f"sudo python3 {there}/probe.py every_port {HOST} >/tmp/tcp"
    said = guest.run(f"({tcp} & python3 {there}/udp.py; wait; cat /tmp/tcp)", timeout=900).splitlines()
    # The kernel's own words come on the same line.
    assert [line for line in said if not line.startswith("[ ")] == ["[67]", "[[445, 54321], []]"]


def test_nothing_of_the_node_can_be_reached(guest: Console, scratch: Path) -> None:
    """A guest that is root, and routes whatever it likes to the host, still finds nobody."""
    listener = socket.create_server(("0.0.0.0", 0))
    port = listener.getsockname()[1]
    came: list[object] = []
    threading.Thread(target=lambda: came.append(listener.accept()), daemon=True).start()
    addresses = subprocess.run(["hostname", "-I"], capture_output=True, text=True, check=True).stdout.split()
    targets = ["127.0.0.1", "169.254.100.1", "192.0.2.1", "198.51.100.1", *[a for a in addresses if ":" not in a]]
    guest.run("sudo ip route replace default via 169.254.100.2 && sudo sysctl -qw net.ipv4.conf.all.route_localnet=1")
    try:
        for target in targets:
            for number in (port, 22, 445):
                call = f"timeout 3 bash -c 'echo > /dev/tcp/{target}/{number}'"
                call = f"sudo ip route get {target} | grep -q ' lo ' || {call} 2>/dev/null"
                if target != "127.0.0.1":
                    assert guest.attempt(call)[1] != 0, f"{target}:{number} is reachable"
        # The node's loopback by way of the link: led past the guest's own lo.
        link = "dev $(ip -o -4 addr | awk '/169.254/{print $2}')"
        guest.run(f"sudo ip route add table 99 127.0.0.0/8 via 169.254.100.2 {link}")
        guest.run("sudo ip rule add pref 5 to 127.0.0.0/8 table 99 && sudo ip rule add pref 10 table local")
        guest.run("sudo ip rule del pref 0 && ip route get 127.0.0.1 | grep -q 'via 169.254.100.2'")
        assert guest.attempt(f"timeout 3 bash -c 'echo > /dev/tcp/127.0.0.1/{port}' 2>/dev/null")[1] != 0
    finally:
        guest.attempt("sudo ip rule add pref 0 table local; sudo ip rule del pref 5; sudo ip rule del pref 10")
        guest.attempt("sudo ip route flush table 99; sudo ip route del default")
        guest.attempt("sudo sysctl -qw net.ipv4.conf.all.route_localnet=0")
    assert not came
    listener.close()


def test_the_inner_network_has_no_route_and_no_other_link(demo: Session) -> None:
    links = json.loads(demo.inside("ip", "-j", "link").stdout)
    assert sorted(link["ifname"] for link in links) == ["lo", "tap0"]
    routes = json.loads(demo.inside("ip", "-j", "route").stdout)
    assert [route["dst"] for route in routes] == ["169.254.100.0/24"]
    assert demo.inside("ip", "-6", "addr", "show", "dev", "tap0").stdout == ""


def test_the_insides_processes_see_only_their_own_files(demo: Session) -> None:
    root = Path(f"/proc/{demo.pid_of('qemu-system-x86_64')}/root")
    assert sorted(path.name for path in (root / "dev").iterdir()) == ["net", "null", "random", "urandom", "zero"]
    # Of /tmp only what leads to the share that lies in there.
    assert [path.name for path in (root / "tmp").iterdir()] == [demo.folder.parents[1].name]
    assert [path.name for path in (root / "tmp").glob("*/*")] == ["data"]
    assert {path.name for path in root.iterdir()} <= {*APPLIANCE, "home", "tmp", "proc", "dev", "run", HOME.parts[1]}
    own = {"logs", "console.png", "state", "checkpoint.qcow2", "variables.fd"}
    assert {path.name for path in (root / "run/7lbd/session").iterdir()} == own


def test_qemu_has_no_privilege_and_a_filter(demo: Session) -> None:
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{demo.pid_of('qemu-system-x86_64')}/status").read_text().splitlines()
    )
    assert (status["CapPrm"], status["CapEff"], status["CapAmb"]) == ("0" * 16,) * 3
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")


def test_only_the_password_of_this_session_opens_the_account(guest: Console, demo: Session) -> None:
    """The agent set it: it is not the guest's own, and its hash is of the session's word."""
    word = demo.password()
    check = "sudo python3 -c \"import subprocess;print(subprocess.run(['su','user1','-c','true']).returncode)\""
    assert guest.run(check).splitlines()[-1] == "0"
    assert guest.run(f"echo {word} | su user1 -c 'echo in' 2>/dev/null").splitlines()[-1] == "in"
    assert guest.attempt(f"echo {word}x | su user1 -c 'echo in' 2>/dev/null")[1] != 0


def test_the_password_stands_nowhere_on_the_node(demo: Session) -> None:
    word = demo.password().encode()
    for pid in demo.processes():
        for name in ("cmdline", "environ"):
            try:
                assert word not in Path(f"/proc/{pid}/{name}").read_bytes(), (pid, name)
            except PermissionError:
                continue
    for path in (*demo.folder.glob("logs/*"), demo.folder / "session.json"):
        assert word not in path.read_bytes(), path
    assert demo.password() not in demo.story()


def test_every_phase_and_milestone_is_timed(demo: Session) -> None:
    state = json.loads((demo.folder / "session.json").read_text())
    assert list(state["phases"]) == ["booting", "guest-up", "ready"]
    assert {"thawed", "agent", "clock", "password", "session", "rdp"} == set(state["milestones"]) - {"zone"}
    times = [state["phases"][phase] for phase in ("booting", "guest-up", "ready")]
    assert times == sorted(times)
    assert state["milestones"]["rdp"] <= state["phases"]["ready"]


def test_connect_says_how(demo: Session, tmp_path: Path) -> None:
    where = ("--session-dir", str(demo.folder.parent))
    done = harness.run("connect", *where, "--rdp", str(tmp_path / "my.rdp"), options=["--bind", str(tmp_path)])
    assert done.returncode == 0, done.stderr
    port = 13389 + zlib.crc32(demo.id.encode()) % 1000
    assert f"ssh -L {port}:{demo.folder}/rdp.sock" in done.stdout
    assert demo.password() not in done.stdout
    written = (tmp_path / "my.rdp").read_bytes().decode()
    assert f"full address:s:127.0.0.1:{port}\r\n" in written
    assert "username:s:user1\r\n" in written
    assert "password" not in written
    assert harness.run("connect", *where, "--password").stdout == demo.password() + "\n"


def test_smbd_may_die_and_the_guest_goes_on(guest: Console, demo: Session, scratch: Path) -> None:
    main = min(pid for pid, line in demo.processes().items() if "sbin/smbd" in line)
    os.kill(main, 9)
    (scratch / "after").write_text("still here")
    assert guest.run(f"cat {in_guest(scratch / 'after')}", timeout=180) == "still here"


def test_the_guest_is_where_the_contract_says(guest: Console) -> None:
    assert f"{GUEST}/24" in guest.run("ip -color=never -4 -br addr")
    assert "default" not in guest.run("ip route")
    assert "fw_platform_size" in guest.run("ls /sys/firmware/efi")
