"""What all ways out of a session may take together: connections at a time, new ones a second, bytes a second."""

from __future__ import annotations

import asyncio
import resource
from collections import deque
from collections.abc import Callable

# Two sockets and two pipes, when both directions wait for their readers.
_DESCRIPTORS_EACH = 6
_OTHER_DESCRIPTORS = 64  # a guess: wires, lists, spare pipes and the interpreter's own
_MOST_DESCRIPTORS = 65536  # a guess: some ten thousand connections
# What is given out at once, so that neither a small rate comes in crumbs nor a large one in gusts.
_BURST_SECONDS, _LEAST_BURST = 0.1, 64 * 1024
_QUANTUM_SECONDS, _LEAST_QUANTUM = 0.01, 1024  # and of that in one turn; bytes


class ConnectionSlots:
    """Connections at a time."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.taken = 0

    def take(self) -> bool:
        """Take one; False when there is none."""
        if self.taken >= self._most:
            return False
        self.taken += 1
        return True

    def give_back(self) -> None:
        """One is free again."""
        self.taken -= 1


class Bucket:
    """A token bucket: `rate` tokens a second, 0 is no limit. Who finds it empty waits in a line."""

    def __init__(self, rate: int, burst: int = 0, quantum: int = 0) -> None:
        self._rate = rate
        self._burst = float(burst or max(rate * _BURST_SECONDS, _LEAST_BURST))
        self._quantum = quantum or int(max(rate * _QUANTUM_SECONDS, _LEAST_QUANTUM))
        self._tokens = self._burst
        self._filled = 0.0
        self._line: deque[Callable[[], None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def take(self, most: int) -> int:
        """Take up to `most`; 0 when it is worth waiting first."""
        if not self._rate:
            return most
        if self._line and self._timer:
            return 0  # those who wait come first
        return self._take(most)

    def spend(self, amount: int) -> bool:
        """Take all of `amount`, or nothing; nothing, too, while somebody waits, who comes first."""
        if not self._rate:
            return True
        if self._line:
            return False
        self._fill()
        if self._tokens < amount:
            return False
        self._tokens -= amount
        return True

    def share(self) -> int:
        """What a turn comes to, for who has waited: no more than another gets, however much it wants."""
        return self._take(self._quantum)

    def give_back(self, amount: int) -> None:
        """What was taken and not used."""
        self._tokens += amount

    def wait(self, callback: Callable[[], None]) -> None:
        """Call back when there is something again, to take it in the callback; it may have to wait once more."""
        self._line.append(callback)
        if not self._timer:
            self._arm()

    async def taken(self, most: int) -> int:
        """Take up to `most`, at least one, as soon as there is something."""
        if got := self.take(most):
            return got
        given: asyncio.Future[int] = asyncio.get_running_loop().create_future()

        def turn() -> None:
            if given.done():
                return  # who waited has gone
            if got := self._take(most):
                given.set_result(got)
            else:
                self.wait(turn)

        self.wait(turn)
        return await given

    def _take(self, most: int) -> int:
        self._fill()
        if self._tokens < min(most, self._quantum):
            return 0
        got = min(most, int(self._tokens))
        self._tokens -= got
        return got

    def _fill(self) -> None:
        now = asyncio.get_running_loop().time()
        self._tokens = min(self._burst, self._tokens + (now - self._filled) * self._rate)
        self._filled = now

    def _arm(self) -> None:
        missing = max(self._quantum - self._tokens, 1.0)
        self._timer = asyncio.get_running_loop().call_later(missing / self._rate, self._wake)

    def _wake(self) -> None:
        """Let those go who were in the line, one after the other, while there is something for them."""
        self._timer = None
        self._fill()
        for _ in range(len(self._line)):
            if self._tokens < self._quantum:
                break
            self._line.popleft()()
        if self._line and not self._timer:
            self._arm()


def connections(requested: int, forwards: int) -> int:
    """As many of the wanted connections as this process may have descriptors for; takes all that the node allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _MOST_DESCRIPTORS)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    return max(1, min(requested, (max(soft, most) - forwards - _OTHER_DESCRIPTORS) // _DESCRIPTORS_EACH))
