"""A guest that joins a pool, asked through an agent that may be anybody's."""

from __future__ import annotations

import asyncio
import base64
import json
import socket
from contextlib import suppress

import pytest
from sevenlbd.inside import worker_report
from sevenlbd.inside.reports import Reports
from sevenlbd.inside.vm.agent import Agent
from sevenlbd.wire.keeper import EVENTS, EventKind
from sevenlbd.wire.worker_words import Join

JOIN = Join(("/join",), "token=t\n", "/run/status")


class Guest:
    """An agent that runs the hook to `code`, and whose file has these lines, one after the other."""

    def __init__(self, code: int, *lines: bytes) -> None:
        self._code = code
        self._lines = list(lines)
        self.given = b""

    def answer(self, message: dict[str, object]) -> bytes:
        said = message.get("arguments")
        arguments = said if isinstance(said, dict) else {}
        value: object = {}
        match message["execute"]:
            case "guest-sync":
                value = arguments["id"]
            case "guest-exec":
                self.given = base64.b64decode(arguments["input-data"])
                value = {"pid": 7}
            case "guest-exec-status":
                value = {"exited": True, "exitcode": self._code, "err-data": base64.b64encode(b"no way").decode()}
            case "guest-file-open":
                value = 1000
            case "guest-file-read":
                line = self._lines.pop(0) if len(self._lines) > 1 else self._lines[0]
                value = {"count": len(line), "buf-b64": base64.b64encode(line).decode()}
        return json.dumps({"return": value}).encode() + b"\n"


async def kept(guest: Guest, wanted: int) -> list[tuple[str, str]]:
    """The first events of one that joins."""
    ours, theirs = socket.socketpair()
    wire, end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    theirs.setblocking(False)
    end.setblocking(False)

    async def agent_of_guest() -> None:
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        while line := await reader.readline():
            writer.write(guest.answer(json.loads(line)))

    agent = Agent(ours)
    tasks = [asyncio.create_task(agent_of_guest()), asyncio.create_task(worker_report.kept(JOIN, agent, Reports(wire)))]
    heard: list[tuple[str, str]] = []
    with suppress(TimeoutError):
        async with asyncio.timeout(5):
            while len(heard) < wanted:
                event = EVENTS.unpack(await asyncio.get_running_loop().sock_recv(end, 1 << 16))
                heard.append((event.kind, event.text))
    for task in tasks:
        task.cancel()
    await agent.close()
    wire.close()
    end.close()
    return heard


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_report, "_LOOK_SECONDS", 0.01)


def test_the_record_goes_to_the_hook_and_each_change_of_the_guests_word_comes_out() -> None:
    guest = Guest(0, b"", b"joining\n", b"joining\n", b"idle\n", b"busy\nsecond line\n", b"left: no job for 9 s\n")
    assert asyncio.run(kept(guest, 5)) == [
        (EventKind.MILESTONE, "told-pool"),
        (EventKind.WORKER, "joining"),
        (EventKind.WORKER, "idle"),
        (EventKind.WORKER, "busy"),
        (EventKind.WORKER, "left: no job for 9 s"),
    ]
    assert guest.given == b"token=t\n"


def test_a_hook_that_fails_is_told_in_one_line_and_nothing_else_is_asked() -> None:
    heard = asyncio.run(kept(Guest(2, b"idle\n"), 1))
    assert heard == [(EventKind.WORKER, "refused the guest cannot join: /join in the guest ended with 2: no way")]


@pytest.mark.parametrize("lines", [b"\xff\xfe\x00\x1b[2J", b"x" * 4096])
def test_a_hostile_word_is_bounded_and_harmless(lines: bytes) -> None:
    heard = asyncio.run(kept(Guest(0, lines), 2))
    kind, text = heard[1]
    assert kind == EventKind.WORKER
    assert len(text) <= 512
    assert text.isprintable()
