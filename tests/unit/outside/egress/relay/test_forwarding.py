"""The relay's process: what it takes from inside, what it may do itself, and that it goes when it should."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from egress_world import HOME, echo, free_port, live, server, udp, until
from sevenlbd.outside.egress import relay_link, relay_watch
from sevenlbd.outside.egress.relay.allowed import ORDERS, Allowed, Pattern, ProjectServer
from sevenlbd.outside.egress.relay.lines import Summary
from sevenlbd.outside.egress.relay_link import EgressLink
from sevenlbd.wire.forwards import FORWARDS, Forward


@asynccontextmanager
async def started(allowed: Allowed, folder: Path) -> AsyncIterator[EgressLink]:
    async with relay_link.started(allowed, folder / "egress.log", "blue-fox") as relay:
        yield relay


@asynccontextmanager
async def kept(
    allowed: Allowed, folder: Path, warnings: list[str], shown: list[list[str]] | None = None
) -> AsyncIterator[EgressLink]:
    """As a session keeps it."""

    def show(wrong: Sequence[str]) -> None:
        if shown is not None:
            shown.append(list(wrong))

    log = folder / "egress.log"
    async with relay_link.kept(allowed, log, "blue-fox", warnings.append, lambda _: None, show) as relay:
        yield relay


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def give(relay: EgressLink, doors: list[tuple[Forward, socket.socket]]) -> None:
    numbers = [ours.fileno() for _, ours in doors]
    socket.send_fds(relay.theirs, [FORWARDS.pack([door for door, _ in doors])], numbers)


def end(relay: EgressLink) -> None:
    relay.theirs.send(FORWARDS.pack([]))
    relay.theirs.close()


async def echoed(place: tuple[str, int]) -> bool:
    reader, writer = await asyncio.open_connection(*place)
    writer.write(b"x")
    try:
        async with asyncio.timeout(5):
            return await reader.read(1) == b"x"
    except ConnectionError:
        return False
    finally:
        writer.close()


@live
async def test_it_carries_and_sums_up_and_both_lists_are_written(tmp_path: Path) -> None:
    async with server(echo) as port:
        allowed = Allowed(tcp=((HOME, port),), names=(("license.example.edu", (HOME,)),), log=str(tmp_path / "site"))
        async with started(allowed, tmp_path) as relay:
            with socket.create_server((HOME, 0)) as inside:
                give(relay, [(Forward("tcp", HOME, port), inside)])
                end(relay)
                assert await echoed(inside.getsockname())
            summary = await relay.leave()
    assert summary == Summary(connections=1, refused=0, up=1, down=1)
    assert summary.spelled() == "the guest's ways out: 1 connection, 1 B out, 1 B in"
    (site,) = tmp_path.glob("site-*.jsonl")
    ours = lines(tmp_path / "egress.log")
    assert ours == lines(site)
    assert ours[0].keys() == {
        "session", "start", "seconds", "kind", "host", "address", "port", "up", "down", "end", "refused",
    }  # fmt: skip
    assert (ours[0]["host"], ours[0]["port"]) == ("license.example.edu", port)
    assert (tmp_path / "egress.log").stat().st_mode & 0o777 == 0o600


@live
async def test_a_projects_server_has_a_door_that_no_guests_door_leads_to(
    tmp_path: Path,
) -> None:
    async with server(echo) as port:
        ordered = Allowed(project=ProjectServer("vpn.example.edu", HOME, port))
        assert not ordered.inside(HOME).doors
        async with started(ordered, tmp_path) as relay:
            with socket.create_server((HOME, 0)) as inside, socket.create_server((HOME, 0)) as guests:
                give(relay, [(Forward("tcp", HOME, port), guests)])
                give(relay, [(Forward("project", HOME, port), inside)])
                end(relay)
                assert await echoed(inside.getsockname())
            await relay.leave()
    assert "not in the orders" in (tmp_path / "egress.out").read_text()
    assert [one["host"] for one in lines(tmp_path / "egress.log")] == ["vpn.example.edu"]


@live
async def test_what_is_not_in_the_orders_or_no_such_socket_is_closed(tmp_path: Path) -> None:
    port, udp_port = free_port(), free_port()
    tcp_forward, udp_door = Forward("tcp", HOME, port), Forward("udp", HOME, udp_port)
    allowed = Allowed(tcp=((HOME, port),), udp=((HOME, udp_port),))
    async with started(allowed, tmp_path) as relay:
        listening, bound = socket.create_server((HOME, 0)), udp()
        unbound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        idle = socket.socket()
        connected = socket.create_connection(listening.getsockname())
        local = socket.socket(socket.AF_UNIX)
        local.bind(str(tmp_path / "s"))
        local.listen()
        wrong = [
            (Forward("tcp", "192.0.2.1", port), listening),  # nobody said so
            (Forward("tcp", HOME, 22), listening),
            (Forward("proxy", HOME, 3128), listening),
            (Forward("sctp", HOME, port), listening),
            (udp_door, listening),
            (udp_door, unbound),
            (tcp_forward, bound),
            (tcp_forward, idle),
            (tcp_forward, connected),
            (tcp_forward, local),
        ]
        for door, ours in wrong:
            give(relay, [(door, ours)])
        with (tmp_path / "file").open("w") as file:
            socket.send_fds(relay.theirs, [FORWARDS.pack([tcp_forward])], [file.fileno()])
        give(relay, [(udp_door, bound), (tcp_forward, listening)])
        give(relay, [(tcp_forward, listening)])  # once is enough
        end(relay)
        errors = tmp_path / "egress.out"
        await until(lambda: errors.read_text().count("from inside came") == len(wrong) + 2)
        for ours in (listening, bound, unbound, idle, connected, local):
            ours.close()
    assert "Traceback" not in errors.read_text()


@pytest.mark.parametrize("garbage", [b"x", b"[" * 100_000, b'[{"kind": "tcp"}]', b"null", b"\xff" * 50])
@live
async def test_garbage_from_inside_ends_the_wire_and_nothing_else(tmp_path: Path, garbage: bytes) -> None:
    async with server(echo) as port, started(Allowed(tcp=((HOME, port),)), tmp_path) as relay:
        with socket.create_server((HOME, 0)) as inside, udp() as other:
            give(relay, [(Forward("tcp", HOME, port), inside)])
            socket.send_fds(relay.theirs, [garbage], [other.fileno()])
            assert await echoed(inside.getsockname())
        assert await relay.leave() == Summary(1, 0, 1, 1)
    assert "Traceback" not in (tmp_path / "egress.out").read_text()


@live
async def test_hundreds_of_doors_come_in_many_messages(tmp_path: Path) -> None:
    ports = range(20000, 20500)
    async with server(echo) as last:
        allowed = Allowed(tcp=(*(("192.0.2.1", port) for port in ports), (HOME, last)))
        async with started(allowed, tmp_path) as relay:
            doors = [Forward("tcp", *place) for place in allowed.tcp]
            inside = [socket.create_server((HOME, 0), backlog=1) for _ in doors]
            for start in range(0, len(doors), 64):
                give(relay, list(zip(doors, inside, strict=True))[start : start + 64])
            end(relay)
            assert await echoed(inside[-1].getsockname())
            for ours in inside:
                ours.close()
    assert (tmp_path / "egress.out").read_text() == ""


@pytest.mark.parametrize("trouble", ["somebody took the name", "the folder is gone"])
@live
async def test_a_list_that_cannot_be_written_costs_the_list_and_nothing_else(tmp_path: Path, trouble: str) -> None:
    """In a folder where everybody may add, nobody can know the name, and its loss does not close the ways out."""
    folder = tmp_path / "lists"
    if trouble == "somebody took the name":
        folder.mkdir()
        folder.joinpath("node-1000-blue-fox.jsonl").symlink_to(tmp_path / "elsewhere")
    warnings: list[str] = []
    async with server(echo) as port:
        allowed = Allowed(tcp=((HOME, port),), log=str(folder / "node-1000-blue-fox"))
        async with kept(allowed, tmp_path, warnings) as relay:
            with socket.create_server((HOME, 0)) as inside:
                give(relay, [(Forward("tcp", HOME, port), inside)])
                assert await echoed(inside.getsockname())
            if trouble == "the folder is gone":
                await until(lambda: bool(warnings))
    assert not (tmp_path / "elsewhere").exists()
    if trouble == "somebody took the name":
        assert len(list(folder.glob("node-1000-blue-fox-????????????????.jsonl"))) == 1
        assert warnings == []
    else:
        assert "egress_log) cannot be written: No such file" in warnings[0]


@pytest.mark.parametrize("part", ["relay", "broker"])
@live
async def test_one_that_stands_still_is_told_and_ends_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(relay_watch, "_LOOK_SECONDS", 0.6)
    monkeypatch.setattr(relay_link, "_LEAVE_SECONDS", 0.5)
    shown: list[list[str]] = []
    async with kept(Allowed(), tmp_path, [], shown) as relay:
        pids = [relay.pid, relay.broker_pid]
        stopped = pids[part == "broker"]
        await until(lambda: relay.state.beats > 0)
        os.kill(stopped, signal.SIGSTOP)
        await until(lambda: bool(shown) and relay_watch.STILL in shown[-1][0])
        os.kill(stopped, signal.SIGCONT)
        await until(lambda: shown[-1] == [])
        os.kill(stopped, signal.SIGSTOP)
    assert not any(map(_runs, pids))


@live
async def test_without_its_broker_the_relay_ends_and_says_why(tmp_path: Path) -> None:
    warnings: list[str] = []
    async with kept(Allowed(), tmp_path, warnings) as relay:
        os.kill(relay.broker_pid, signal.SIGKILL)
        await until(lambda: bool(warnings))
    assert "the part that makes connections is gone" in warnings[0]


@live
async def test_a_relay_that_dies_is_told_once_and_what_it_held_is_closed(tmp_path: Path) -> None:
    warnings: list[str] = []
    async with server(echo) as port:
        allowed = Allowed(tcp=((HOME, port),))
        async with kept(allowed, tmp_path, warnings) as relay:
            with socket.create_server((HOME, 0)) as inside:
                give(relay, [(Forward("tcp", HOME, port), inside)])
                end(relay)
                assert await echoed(inside.getsockname())
                os.kill(relay.pid, signal.SIGKILL)
                await until(lambda: bool(warnings))
                assert await relay.leave() is None
    assert len(warnings) == 1
    assert "logs/egress.out" in warnings[0]


@live
async def test_one_that_is_told_to_go_is_not_missed(tmp_path: Path) -> None:
    warnings: list[str] = []
    notes: list[str] = []
    async with relay_link.kept(Allowed(), tmp_path / "egress.log", "blue-fox", warnings.append, notes.append, print):
        await asyncio.sleep(0.3)
    assert (warnings, notes) == ([], ["the guest used none of its ways out"])


_SUPERVISOR = """
import asyncio, sys
from pathlib import Path
from sevenlbd.outside.egress import relay_link as link, relay_watch as watch
from sevenlbd.outside.egress.relay.allowed import Allowed
async def main():
    async with link.started(Allowed(), Path(sys.argv[1]) / "egress.log", "blue-fox") as relay:
        print(relay.pid, relay.broker_pid, flush=True)
        await asyncio.sleep(60)
asyncio.run(main())
"""


def test_no_relay_outlives_its_supervisor(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _SUPERVISOR, tmp_path], stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout
        relay, broker = map(int, killed.stdout.readline().split())
        time.sleep(0.3)
        assert Path(f"/proc/{relay}/stat").exists()
        assert Path(f"/proc/{broker}/stat").exists()
        killed.send_signal(signal.SIGKILL)
        killed.wait()
    deadline = time.monotonic() + 60
    while _runs(relay) or _runs(broker):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_orders_come_out_as_they_went_in() -> None:
    allowed = Allowed(
        tcp=(("192.0.2.1", 27000), ("2001:db8::1", 27000)),
        udp=(("192.0.2.1", 53),),
        names=(("license.example.edu", ("192.0.2.1", "2001:db8::1")),),
        proxy=(Pattern("https", "*.example.edu", 443, 443),),
        pinned=(("portal.example.edu", "192.0.2.9"),),
        rate=1000,
        log="/x",
    )
    assert ORDERS.unpack(ORDERS.pack(allowed)) == allowed
