"""What strangers cost: a neighbour who waits under the node's name, floods of the page, and a guest's flood of smbd."""

from __future__ import annotations

import json
import re
import select
import signal
import socket
import ssl
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import harness
import neighbour
import pytest
import web
from harness import HOST, Session

HANDSHAKES = 5_000
SMB_CONNECTIONS = 600
# smb.conf allows 32 for clients; smbd has a few of its own.
SMBD_PROCESSES = 40
# Seconds. Who is locked out waits for as long as the flood lasts; how fast it is on a quiet node: docs/connectors.md.
LET_IN = 10.0

_SMB = """
import socket, sys, time
held = []
for _ in range(int(sys.argv[2])):
    held.append(socket.create_connection((sys.argv[1], 445), 60))
print("opened", flush=True)
sys.stdin.read()
"""

_FORKS = """
import os, signal
count = 0
try:
    while count < 3000:
        if not os.fork():
            signal.pause()
        count += 1
except OSError:
    pass
print(count, flush=True)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
os.killpg(0, signal.SIGTERM)
"""


@pytest.fixture(scope="module")
def squatted() -> Iterator[int]:
    """A port that a neighbour holds in IPv6 only."""
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("::", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.fixture(scope="module")
def session(work: Path, blank_image: Path, squatted: int) -> Iterator[Session]:
    """A session whose page listens on all addresses of the node, by HTTPS, in a range that begins with that port."""
    where = f"0.0.0.0:{squatted}-{squatted + 99}"
    made = harness.start("--image", str(blank_image), "--web", where, base=work / "node-wide")
    try:
        made.wait_phase("booting")
        yield made
        made.send(signal.SIGTERM)
        made.wait_end()
    finally:
        made.kill()


def port_of(session: Session) -> int:
    return urlsplit(web.url(session)).port or 0


def test_a_neighbour_who_waits_on_ipv6_is_not_taken_for_the_session(session: Session, squatted: int) -> None:
    port = port_of(session)
    assert squatted < port <= squatted + 99
    shown = {ssl.get_server_certificate((address, port), timeout=30) for address in ("127.0.0.1", "::1")}
    assert len(shown) == 1, "two servers at one name"
    for family, address in ((socket.AF_INET6, "::"), (socket.AF_INET6, "::1"), (socket.AF_INET, "127.0.0.1")):
        with pytest.raises(OSError, match="in use"):
            squat(family, address, port)


def squat(family: socket.AddressFamily, address: str, port: int) -> None:
    """What a neighbour may try. Raises OSError."""
    with socket.socket(family) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind((address, port))
        other.listen()


def log_in_time(session: Session) -> float:
    """Seconds from nothing to the cookie, by a TLS of its own."""
    begun = time.monotonic()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    body = f"token={web.token(session)}".encode()
    head = "POST /login HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nConnection: close\r\n"
    with (
        socket.create_connection(("127.0.0.1", port_of(session)), 60) as plain,
        context.wrap_socket(plain) as wire,
    ):
        wire.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        assert wire.recv(100).startswith(b"HTTP/1.1 303")
    return time.monotonic() - begun


def resident(pid: int) -> int:
    """Memory in kB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


def test_a_neighbours_unfinished_handshakes_cost_no_memory_and_no_log_in(session: Session) -> None:
    gateway = session.pid_by_name("sevenlbd.inside.gateway")
    log_in_time(session)
    before = resident(gateway)
    times: list[float] = []
    with neighbour.greeting(port_of(session), HANDSHAKES) as flood:
        assert flood.stdout
        while len(times) < 3 or not select.select([flood.stdout], [], [], 0.1)[0]:
            times.append(log_in_time(session))
        assert flood.stdout.readline() == b"greeted\n"
    assert statistics.median(times) < LET_IN, times
    # Of a hundred thousand it may be twenty megabytes: what is held at a time is bounded, not in proportion.
    assert resident(gateway) < before + 20_000
    assert session.pid_by_name("sevenlbd.inside.gateway") == gateway


def smbd_processes(session: Session) -> int:
    """The session's, by the name that even the child of a child has."""
    count = 0
    for pid in harness.descendants(session.process.pid):
        with suppress(OSError):
            count += Path(f"/proc/{pid}/comm").read_text().startswith("smbd")
    return count


def lists_the_home(session: Session) -> bool:
    secret = json.loads((session.folder / "credentials.json").read_text())
    login = ["-U", f"{secret['share_user']}%{secret['password']}"]
    return session.inside("smbclient", *login, f"//{HOST}/home", "-c", "ls").returncode == 0


@contextmanager
def smb_flood(session: Session) -> Iterator[None]:
    """As many connections as a hostile guest may open, none of which says a word."""
    enter = ["nsenter", "-t", str(session.pid_of("dnsmasq")), "-U", "-n", "--preserve-credentials"]
    flood = subprocess.Popen(
        [*enter, sys.executable, "-c", _SMB, HOST, str(SMB_CONNECTIONS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert flood.stdout
        assert flood.stdout.readline() == "opened\n"
        yield
    finally:
        flood.kill()
        flood.wait()


def test_a_guest_that_floods_smbd_gets_a_few_processes_and_the_user_her_files_afterwards(session: Session) -> None:
    assert lists_the_home(session)
    with smb_flood(session):
        # The kernel has opened them; smbd comes to them one by one.
        deadline = time.monotonic() + harness.PATIENCE
        while (processes := smbd_processes(session)) <= 10:
            assert time.monotonic() < deadline, f"{processes} processes"
            time.sleep(0.2)
        for _ in range(10):
            assert smbd_processes(session) <= SMBD_PROCESSES
            time.sleep(0.2)
    begun = time.monotonic()
    while not lists_the_home(session):
        assert time.monotonic() - begun < harness.PATIENCE, "the user's files do not come back"
        time.sleep(0.5)


def test_a_server_that_was_taken_over_cannot_use_up_the_nodes_processes(session: Session) -> None:
    limits = Path(f"/proc/{session.pid_of('sbin/smbd')}/limits").read_text()
    assert re.search(r"Max processes +1024 +1024 ", limits), limits
    done = session.inside("setsid", "prlimit", "--nproc=1024:1024", sys.executable, "-c", _FORKS)
    assert 500 < int(done.stdout) < 1024, done
