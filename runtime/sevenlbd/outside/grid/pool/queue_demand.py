"""What waits in the pool's queue, by the names of images: asked of HTCondor by its own condor_q, now and then.

A queue is written by strangers. Only jobs that name an image which is offered are told at all, and only as a name of
ours and three numbers that HTCondor has made whole: no text of a job's comes here. However many jobs there are, the
answer has an end; where that is reached, those of other images are asked for once more.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from ....base.errors import ExitCode, Refusal
from ....images import names
from ...node.node_programs import NodePrograms
from ..protocol import Demand
from ..record_limits import MOST_DEMANDS

_FRESH = 10.0  # seconds; a guess: a job waits longer for its negotiation (NEGOTIATOR_INTERVAL, 60 s)
_STALE = 300.0  # seconds that an answer is given on while the queue does not answer; a guess
_SECONDS = 40.0  # for condor_q: less than the machines wait for us
_MOST_JOBS = 20_000  # a guess: told of one question, at 60 bytes each
_ROUNDS = 4  # questions, each without the images of those before
_SIZES = 8  # different needs of one image's jobs, and one of all others together; a guess
_FIELDS = 4  # of a line: _SHOWN
_IDLE, _VANILLA = 1, 5  # JobStatus and JobUniverse (HTCondor's manual, "Job ClassAd Attributes")
_MEBI, _KIBI = 20, 10  # bits: RequestMemory is in MiB, RequestDisk in KiB
_MOST = 1 << 50  # bytes; a guess: no machine has more of anything
_SHOWN = ("toLower(vm_name)", "int(RequestCpus)", "int(RequestMemory)", "int(RequestDisk)")
Ask = Callable[[Sequence[str], int], str]
"""What condor_q prints of jobs that name one of these images, of so many at most. Raises Refusal."""


@dataclass(frozen=True)
class _Line:
    name: str
    cpus: int
    memory: int
    disk: int


def by_condor_q(programs: NodePrograms) -> Ask:
    """HTCondor's own question, of all users' jobs in the queue of this machine."""

    def ask(wanted: Sequence[str], most: int) -> str:
        done = programs.run(
            *("condor_q", "-allusers", "-constraint", constraint(wanted)),
            *("-limit", str(most), "-autoformat", *_SHOWN),
            seconds=_SECONDS,
        )
        if done.code:
            what = f"condor_q: {done.said.splitlines()[0] if done.said else 'no answer'}"
            raise Refusal(ExitCode.NODE, what, hint="ask it yourself: condor_q -allusers")
        return done.printed

    return ask


def constraint(wanted: Sequence[str]) -> str:
    """An expression of ClassAds, true for idle jobs that name one of these images, whose names need no quotes."""
    assert all(map(names.is_name, wanted))
    listed = f'stringListIMember(vm_name, "{",".join(wanted)}")'
    return f"JobStatus == {_IDLE} && JobUniverse == {_VANILLA} && ({listed} =?= true)"


class QueueDemand:
    """What is wanted, as of some seconds ago."""

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask, self._clock = ask, clock
        self._asking = asyncio.Lock()
        self._asked = self._answered = -_STALE
        self._demands: tuple[Demand, ...] = ()
        self._trouble: Refusal | None = None
        self.questions = 0
        """How often the queue was asked."""

    @property
    def last(self) -> tuple[Demand, ...]:
        """As it was answered last."""
        return self._demands

    @property
    def trouble(self) -> str:
        """Why there was no newer answer; empty when there was."""
        return self._trouble.what if self._trouble else ""

    async def demands(self, wanted: Sequence[str]) -> tuple[Demand, ...]:
        """For images of these names. One question at a time, whoever asks. Raises Refusal when the queue is silent."""
        async with self._asking:
            if self._clock() - self._asked >= _FRESH:
                await self._refresh(wanted)
        if self._trouble and self._clock() - self._answered >= _STALE:
            raise self._trouble
        return self._demands

    async def _refresh(self, wanted: Sequence[str]) -> None:
        self.questions += 1
        try:
            self._demands = await asyncio.to_thread(collected, self._ask, wanted) if wanted else ()
            self._trouble, self._answered = None, self._clock()
        except Refusal as refusal:
            self._trouble = refusal
        self._asked = self._clock()


def collected(ask: Ask, wanted: Sequence[str]) -> tuple[Demand, ...]:
    """The oldest jobs first. Raises Refusal."""
    left, found = list(wanted), list[Demand]()
    for _ in range(_ROUNDS):
        if not left:
            break
        lines = list(_read(ask(left, _MOST_JOBS), frozenset(left)))
        found += _summed(lines)
        if len(lines) < _MOST_JOBS:
            break
        there = {line.name for line in lines}
        left = [name for name in left if name not in there]
    return tuple(found[:MOST_DEMANDS])


def _read(printed: str, wanted: frozenset[str]) -> Iterator[_Line]:
    """What is no line of ours, or of nothing that was asked for, is passed over."""
    for number, line in enumerate(printed.splitlines()):
        words = line.split()
        if number >= _MOST_JOBS:
            return
        if len(words) == _FIELDS and words[0] in wanted:
            cpus, memory, disk = (_number(word) for word in words[1:])
            yield _Line(words[0], max(cpus, 1), min(memory << _MEBI, _MOST), min(disk << _KIBI, _MOST))


def _number(word: str) -> int:
    """`undefined` and `error` are nothing: the image's own needs count then."""
    return int(word) if word.isascii() and word.isdigit() and len(word) < 16 else 0  # digits


def _summed(lines: Sequence[_Line]) -> Iterator[Demand]:
    sizes, rest = Counter[str](), dict[str, Counter[_Line]]()
    for line, jobs in Counter(lines).items():
        sizes[line.name] += 1
        if sizes[line.name] <= _SIZES:
            yield _demand(line, jobs)
        else:
            rest.setdefault(line.name, Counter())[line] = jobs
    for others in rest.values():  # none is hidden by those before it, which may fit nowhere
        yield _demand(min(others, key=lambda line: (line.memory, line.cpus, line.disk)), others.total())


def _demand(line: _Line, jobs: int) -> Demand:
    return Demand(line.name, jobs, line.cpus, line.memory, line.disk)
