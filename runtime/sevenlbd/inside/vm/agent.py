"""The QEMU guest agent: sets the password, shuts the guest down. Source: QEMU, docs/interop/qemu-ga-ref.

A guest may answer late, wrongly or never: every call has a time limit, and no answer is believed
beyond what it was asked for.
"""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from ...base.errors import visible

_ANSWER_SECONDS = 10.0  # the agent answers in milliseconds, on a busy node or under emulation in a few seconds
_MAX_ANSWER = 64 * 1024  # bytes of a line; the guest decides how many it sends
_MAX_WORDS = 200  # characters; a sentence or two of what the guest says
_CLOCK_NS = 2_000_000_000  # a guess: on a busy node an order takes a second; nobody needs it more exact
_RIGHT_NS = 500_000_000  # a guess: half a second, which the clock of a machine that boots has, is not worth an order
_CLOCK_TRIES = 3  # a guess: an order is late once in a while, and not always
_EXEC_POLL = 0.05  # seconds; a desktop waits for the hook
_FOLLOW_POLL = 0.5  # seconds; nobody waits: a job's end is on the share


class AgentError(Exception):
    """The agent does not answer, or refused a command."""


class AgentRefusal(AgentError):
    """It has answered, and will not."""


@dataclass(frozen=True)
class Ended:
    """A program in the guest that has come to its end. `code` is -1 after a signal."""

    code: int
    out: bytes
    err: bytes


class ProgramFailed(AgentError):
    """A program in the guest has ended with `code`, which is not 0; it is negative after a signal."""

    def __init__(self, program: str, code: int, said: str) -> None:
        spelt = code if code > 0 else "a signal"
        super().__init__(f"{program} in the guest ended with {spelt}: {said}")
        self.code = code


class Agent:
    """A connection to the agent, which may not be there yet, and may restart."""

    def __init__(self, wire: socket.socket) -> None:
        self._socket = wire
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._turn = asyncio.Lock()
        self._in_step = False

    async def close(self) -> None:
        """Give up the connection."""
        if self._streams:
            self._streams[1].close()
        else:
            self._socket.close()

    async def answers(self) -> bool:
        """Whether the agent is there and in step with us."""
        try:
            async with self._turn:
                await self._synchronise(2.0)
        except (AgentError, OSError):
            return False
        return True

    async def set_password(self, user: str, password: str) -> None:
        """Set an account's password in the guest. Raises AgentError."""
        encoded = base64.b64encode(password.encode()).decode()
        words = {"username": user, "password": encoded, "crypted": False}
        await self._execute("guest-set-user-password", lambda: words)

    async def set_clock(self) -> None:
        """Set the guest's clock to the node's, unless it is right. Raises AgentError when it does not go right then.

        Linux' agent also sets the hardware clock, and fails if it lacks the tool: what counts is the clock. On a busy
        node an order may come late, and its time with it: then once more.
        """
        if await self._clock_is_within(_RIGHT_NS):
            return
        for _ in range(_CLOCK_TRIES):
            with suppress(AgentError):
                await self._execute("guest-set-time", lambda: {"time": time.time_ns()})
            if await self._clock_is_within(_CLOCK_NS):
                return
        raise AgentError("the guest's clock could not be set")

    async def _clock_is_within(self, most: int) -> bool:
        """Whether the guest's clock may be as near as `most`, in nanoseconds, to the node's."""
        asked_at = time.time_ns()
        guest_time = await self._execute("guest-get-time")
        return isinstance(guest_time, int) and asked_at - most < guest_time < time.time_ns() + most

    async def run(self, command: Sequence[str], given: str, seconds: float) -> None:
        """Run a program in the guest with `given` on its standard input. Raises AgentError when that fails."""
        done = await self.execute(command, given.encode(), seconds)
        if done.code:
            raise ProgramFailed(command[0], done.code, _last_line(done.err))

    async def execute(self, command: Sequence[str], given: bytes, seconds: float) -> Ended:
        """The same, and all that it printed: at most some 40 kB. Raises AgentError when it does not come to an end."""
        pid = await self._begin(command, given)
        deadline = asyncio.get_running_loop().time() + seconds
        while asyncio.get_running_loop().time() < deadline:
            if ended := await self._ended(pid):
                return ended
            await asyncio.sleep(_EXEC_POLL)
        raise AgentError(f"{command[0]} in the guest did not end within {seconds:.0f} s")

    async def follow(self, command: Sequence[str], given: bytes, silent: float) -> Ended:
        """The same of one that may take days, in a guest that may not answer for `silent` seconds meanwhile."""
        pid = await self._begin(command, given)
        loop = asyncio.get_running_loop()
        heard = loop.time()
        while True:
            try:
                if ended := await self._ended(pid):
                    return ended
                heard = loop.time()
            except AgentRefusal:
                raise
            except (AgentError, OSError):
                if loop.time() - heard > silent:
                    raise
            await asyncio.sleep(_FOLLOW_POLL)

    async def _begin(self, command: Sequence[str], given: bytes) -> int:
        encoded = base64.b64encode(given).decode()
        words = {"path": command[0], "arg": list(command[1:]), "input-data": encoded, "capture-output": True}
        started = await self._execute("guest-exec", lambda: words)
        pid = started.get("pid") if isinstance(started, dict) else None
        if not isinstance(pid, int):
            raise AgentError(f"{command[0]} in the guest has no number to ask for it by")
        return pid

    async def _ended(self, pid: int) -> Ended | None:
        status = await self._execute("guest-exec-status", lambda: {"pid": pid})
        if not (isinstance(status, dict) and status.get("exited")):
            return None
        code = status.get("exitcode")
        out, err = _decoded(status.get("out-data")), _decoded(status.get("err-data"))
        return Ended(code if isinstance(code, int) else -1, out, err)

    async def read(self, path: str, most: int) -> bytes:
        """How a file in the guest begins: at most `most` bytes. Raises AgentError."""
        handle = await self._execute("guest-file-open", lambda: {"path": path, "mode": "r"})
        if not isinstance(handle, int):
            raise AgentError(f"{path} in the guest has no number to read it by")
        try:
            piece = await self._execute("guest-file-read", lambda: {"handle": handle, "count": most})
        finally:
            await self._execute("guest-file-close", lambda: {"handle": handle})
        return _decoded(piece.get("buf-b64"))[:most] if isinstance(piece, dict) else b""

    async def shutdown(self, mode: str = "powerdown") -> None:
        """Ask for a power-off, or a `reboot`; the agent sends no answer when it obeys."""
        async with self._turn:
            await self._synchronise(2.0)
            await self._send({"execute": "guest-shutdown", "arguments": {"mode": mode}})

    async def _execute(self, command: str, arguments: Callable[[], dict[str, object]] = dict) -> object:
        """Send a command when it is its turn, with the arguments as they are then. Raises AgentError."""
        async with self._turn:
            if not self._in_step:
                await self._synchronise(_ANSWER_SECONDS)
            # Until the answer is here, whatever goes wrong may leave one on the way.
            self._in_step = False
            await self._send({"execute": command, "arguments": arguments()})
            answer = await self._receive(_ANSWER_SECONDS)
            self._in_step = bool(answer)
        if "error" in answer:
            raise AgentRefusal(f"{command}: {_reason(answer['error'])}")
        return answer.get("return")

    async def _synchronise(self, seconds: float) -> None:
        """guest-sync: skip whatever is still on the way from before."""
        self._in_step = False
        token = secrets.randbelow(1 << 31)
        await self._send({"execute": "guest-sync", "arguments": {"id": token}})
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            left = deadline - asyncio.get_running_loop().time()
            answer = await self._receive(max(left, 0.0))
            if answer.get("return") == token:
                self._in_step = True
                return

    async def _send(self, message: dict[str, object]) -> None:
        _, writer = await self._connection()
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()

    async def _receive(self, seconds: float) -> dict[str, object]:
        reader, _ = await self._connection()
        try:
            line = await asyncio.wait_for(reader.readline(), seconds)
        except TimeoutError:
            raise AgentError("the guest agent does not answer") from None
        except ValueError:
            raise AgentError("the guest agent's answer is too long") from None
        if not line:
            raise AgentError("the guest agent's channel is closed")
        # A thousand brackets are no answer either, and no reason for the caller to fail.
        with suppress(ValueError, RecursionError):
            answer = json.loads(line)
            if isinstance(answer, dict):
                return answer
        return {}

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            self._socket.setblocking(False)
            self._streams = await asyncio.open_unix_connection(sock=self._socket, limit=_MAX_ANSWER)
        return self._streams


def _reason(error: object) -> str:
    """What the agent says of its refusal; only for people to read. Whatever else it sent is not looked into."""
    said = error.get("desc") if isinstance(error, dict) else None
    return visible(said[:_MAX_WORDS]) if isinstance(said, str) else "it does not say why"


def _decoded(text: object) -> bytes:
    """What a program in the guest printed; nothing when it is not as the agent sends it."""
    with suppress(ValueError):
        return base64.b64decode(text) if isinstance(text, str) else b""
    return b""


def _last_line(printed: bytes) -> str:
    """Only for people to read."""
    lines = printed.decode(errors="replace").strip().splitlines()
    return visible(lines[-1][:_MAX_WORDS]) if lines else ""
