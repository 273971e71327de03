"""A guest agent that a hostile guest has replaced: whatever it says, the keeper's own work goes on."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sevenlbd.inside.services import trimming
from sevenlbd.inside.vm import adoption
from sevenlbd.inside.vm.agent import Agent, AgentError, AgentRefusal

DEEP_LIST = b"[" * 60_000 + b"\n"
DEEP_DICT = b'{"a":' * 10_000 + b"\n"
NESTED = b'{"error": ' + b"[" * 4_000 + b"]" * 4_000 + b"}\n"


async def told(
    script: Callable[[dict[str, object]], bytes | None], ask: Callable[[Agent], Awaitable[object]]
) -> object:
    """What `ask` gets of an agent that answers each message as `script` says; None is silence."""
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    agent = Agent(ours)

    async def answer() -> None:
        reader, writer = await asyncio.open_unix_connection(sock=theirs)
        while line := await reader.readline():
            if said := script(json.loads(line)):
                writer.write(said)

    answering = asyncio.create_task(answer())
    try:
        return await ask(agent)
    finally:
        answering.cancel()
        await agent.close()


def honest(message: dict[str, object]) -> bytes:
    """An agent's answer to anything."""
    arguments = message.get("arguments") or {}
    assert isinstance(arguments, dict)
    return json.dumps({"return": arguments.get("id", {})}).encode() + b"\n"


def after_sync(said: bytes) -> Callable[[dict[str, object]], bytes]:
    return lambda message: honest(message) if message["execute"] == "guest-sync" else said


@pytest.mark.parametrize("said", [DEEP_LIST, DEEP_DICT, NESTED, b"\xff\xfe\n", b"null\n", b'{"return": NaN}\n'])
def test_what_is_no_answer_is_an_error_like_any_other(said: bytes) -> None:
    with pytest.raises(AgentError):
        asyncio.run(told(after_sync(said), lambda agent: agent.run(["/hook"], "", 0.2)))


def test_an_agent_that_talks_nonsense_is_not_there() -> None:
    assert asyncio.run(told(lambda _: DEEP_LIST, lambda agent: asyncio.wait_for(agent.answers(), 5))) is False


@pytest.mark.parametrize("said", [{"pid": [[]]}, {"pid": "7"}, {}, [[[]]], None])
def test_a_program_without_a_number_is_an_error(said: object) -> None:
    answer = json.dumps({"return": said}).encode() + b"\n"
    with pytest.raises(AgentError):
        asyncio.run(told(after_sync(answer), lambda agent: agent.run(["/hook"], "", 0.2)))


def test_a_refusal_is_told_in_its_words_without_its_control_characters() -> None:
    said = json.dumps({"error": {"class": "X", "desc": "no \x1b[2J account\nforged"}}).encode() + b"\n"
    with pytest.raises(AgentError, match="no .* account") as caught:
        asyncio.run(told(after_sync(said), lambda agent: agent.set_password("user1", "secret")))
    assert str(caught.value).isprintable()


class Busy:
    """An agent's side of `set_password` that fails a number of times first."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error = failures, error
        self.tried = 0

    async def set_password(self, user: str, password: str) -> None:
        self.tried += 1
        if self.tried <= self.left:
            raise self.error


def set_by(agent: Busy, *, needed: bool) -> tuple[bool, list[str]]:
    warned: list[str] = []
    trying = adoption.set_password("user1", "secret", agent, warned.append, needed=needed)  # type: ignore[arg-type]  # the part of an agent that it asks
    return asyncio.run(asyncio.wait_for(trying, 20)), warned


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(adoption, "_PASSWORD_PAUSE", 0.0)


@pytest.mark.parametrize("needed", [True, False])
def test_the_password_is_tried_for_as_long_as_a_busy_guest_is_silent(needed: bool) -> None:
    agent = Busy(50, AgentError("the guest agent does not answer"))
    assert set_by(agent, needed=needed) == (True, [])
    assert agent.tried == 51


def test_a_refusal_is_warned_of_once_and_tried_again_where_there_is_no_other_way_in() -> None:
    done, warned = set_by(Busy(50, AgentRefusal("not now")), needed=True)
    assert done
    assert len(warned) == 1


def test_an_image_with_another_way_does_not_wait_for_an_agent_that_refuses() -> None:
    agent = Busy(50, AgentRefusal("disabled"))
    done, warned = set_by(agent, needed=False)
    assert not done
    assert len(warned) == 1
    assert agent.tried == 5


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "_MOST", 100)
    monkeypatch.setattr(trimming, "_CHECK_SECONDS", 0.01)


@pytest.mark.usefixtures("small")
def test_logs_are_cut_whatever_else_lies_beside_them(tmp_path: Path) -> None:
    logs, elsewhere = tmp_path / "logs", tmp_path / "precious"
    logs.mkdir()
    elsewhere.write_bytes(b"x" * 1000)
    (logs / "a-link").symlink_to(elsewhere)
    (logs / "b-gone").symlink_to(tmp_path / "nowhere")
    os.mkfifo(logs / "c-pipe")
    (logs / "d-folder").mkdir()
    (logs / "e.log").write_bytes(b"x" * 1000)
    (logs / "f.log").write_bytes(b"x" * 50)
    trimming.trim(logs)
    assert (logs / "e.log").stat().st_size == 0
    assert (logs / "f.log").stat().st_size == 50
    assert elsewhere.stat().st_size == 1000


@pytest.mark.usefixtures("small")
def test_a_log_that_vanishes_does_not_end_the_trimming(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    logs = tmp_path / "logs"
    cut = trimming._cut

    def vanished(path: str) -> None:
        Path(path).unlink()
        cut(path)

    async def watched() -> None:
        trimming_on = asyncio.create_task(trimming.keep_small(logs))
        await asyncio.sleep(0.05)  # the folder itself is not there yet
        logs.mkdir()
        (logs / "a.log").write_bytes(b"x" * 1000)
        monkeypatch.setattr(trimming, "_cut", vanished)
        await asyncio.sleep(0.1)
        monkeypatch.setattr(trimming, "_cut", cut)
        (logs / "b.log").write_bytes(b"x" * 1000)
        await asyncio.sleep(0.1)
        assert not trimming_on.done()
        trimming_on.cancel()

    asyncio.run(watched())
    assert (logs / "b.log").stat().st_size == 0
