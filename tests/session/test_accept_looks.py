"""What `image accept` sees of a guest from inside the wall: its open ports, and what it sends to where nothing is."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import harness
from harness import Console, Session


def look(session: Session, call: str) -> Any:
    """What a function of the look gives, called where the look itself goes; this Python has no call for that."""
    pid, where = session.pid_of("dnsmasq"), harness.REPO / "runtime"
    enter = f"""
import asyncio, ctypes, json, sys
for kind in ("user", "net"):
    with open(f"/proc/{pid}/ns/{{kind}}") as namespace:
        assert ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), 0) == 0, ctypes.get_errno()
sys.path.insert(0, {str(where)!r})
from sevenlbd.outside.acceptance.inside_look import open_ports, packets
print(json.dumps({call}))
"""
    command = [sys.executable, "-B", "-c", enter]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_guests_open_ports_are_those_that_it_has(demo: Session, guest: Console) -> None:
    assert look(demo, "asyncio.run(open_ports('21-25,3380-3400'))") == [3389]
    guest.run("(timeout 300 python3 -m http.server 8123 >/dev/null 2>&1 &)")
    guest.run("for turn in $(seq 60); do ss -ltn | grep -q :8123 && break; sleep 1; done")
    assert look(demo, "asyncio.run(open_ports('8120-8125,3389'))") == [8123, 3389]


def test_a_guest_that_looks_for_the_world_is_seen_with_where(demo: Session, guest: Console) -> None:
    seen: dict[str, int] = {}
    looking = threading.Thread(target=lambda: seen.update(look(demo, "packets(40)")))
    looking.start()
    sending = "for turn in 1 2 3 4 5; do echo hello >/dev/udp/169.254.100.77/9; sleep 2; done"
    told = guest.attempt(f"sleep 8; bash -c '{sending}'")
    looking.join()
    assert seen.get("arp 169.254.100.77", 0) >= 1, (seen, told)
    assert "arp 169.254.100.15" not in seen, "what comes from the node's side is not the guest's"
