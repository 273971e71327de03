"""The pool's service, asked by a machine that belongs to it. It is believed nothing but what its records can say.

Every question has an end in bytes and seconds, and every lie is one clear error. One question at a time carries the
machine's token, whoever of this user asks: each answer renews it. Files are fetched with a ticket beside that.
"""

from __future__ import annotations

import email.utils
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from ...base.errors import ExitCode, Refusal
from ...wire.codec import Codec, Malformed
from . import https_exchange, membership, protocol
from .https_exchange import Head, HttpAnswer, HttpQuestion, Server, Unreachable, Untrue
from .machine_report import Report
from .membership import Membership
from .protocol import Heard, Images, KeyOrder, MachineKey, OfferedImage, Problem, Waiting, WorkerOrder, WorkerPass

_SECONDS = 60.0  # for a question: more than the service takes to ask a queue of its own
_SLOWEST = 4 << 10  # bytes a second, of a file: a thousand machines behind 50 Mbit/s get more
_MOST_PIECE = 64 << 20  # bytes of a file in one question; a guess: what is lost when a line breaks
_MOST_WAIT = 3600.0  # seconds; a guess: a service that wants to be left alone for longer is not believed
_MOST_SKEW = 300.0  # seconds by which clocks may be apart; a guess: tokens of HTCondor's last for hours
_CLOCK = "set it right, as by NTP: timedatectl"


class PoolTrouble(Refusal):
    """The pool's service was of no help."""


class PoolGone(PoolTrouble):
    """It does not answer, or not now. `after` is how many seconds it wants to be left alone; 0: it did not say."""

    def __init__(self, what: str, *, hint: str = "", after: float = 0.0) -> None:
        super().__init__(ExitCode.NODE, what, hint=hint)
        self.after = after


class MachineBarred(PoolTrouble):
    """The machine does not belong to the pool any more. Asking again is of no use."""


class PoolLied(PoolTrouble):
    """Its answer is one that it must not give."""


class PoolDeclined(PoolTrouble):
    """It knows the machine, and does not do this: an image is not offered any more, say."""


class PoolNotNow(PoolDeclined):
    """What was asked for is over, or was somebody else's: what is wanted has to be asked again."""


class PoolClient:
    """What the machine whose folder this is can ask. Every method raises PoolTrouble and Refusal."""

    def __init__(self, place: Path, *, seconds: float = _SECONDS, clock: Callable[[], float] = time.time) -> None:
        self._place, self._seconds, self._clock = place, seconds, clock
        self.member: Membership = membership.read(place)
        self.skew = 0.0
        """By how many seconds this machine's clock is ahead of the service's, as of the last answer."""

    def waiting(self) -> Waiting:
        """What is wanted."""
        return self._ask("GET", protocol.WAITING, protocol.WAITING_ANSWER)

    def images(self) -> Images:
        """What is offered, and a ticket to fetch it with."""
        return self._ask("GET", protocol.IMAGES, protocol.IMAGES_ANSWER)

    def report(self, report: Report) -> Heard:
        """Tell what the machine does."""
        return self._ask("POST", protocol.STATE, protocol.HEARD, protocol.REPORT.pack(report))

    def worker(self, order: WorkerOrder) -> WorkerPass:
        """Get a token for one VM. It must not be written to a disk."""
        got = self._ask("POST", protocol.WORKER, protocol.WORKER_PASS, protocol.WORKER_ORDER.pack(order))
        if abs(self.skew) > _MOST_SKEW:
            way = "ahead of" if self.skew > 0 else "behind"
            what = f"this machine's clock is {abs(self.skew):.0f} s {way} the pool's: no token of HTCondor's would hold"
            raise PoolDeclined(ExitCode.NODE, what, hint=_CLOCK)
        return got

    def key(self, order: KeyOrder) -> MachineKey:
        """What the pool keeps for this machine. It must not be written to a disk."""
        got = self._ask("POST", protocol.KEY, protocol.MACHINE_KEY, protocol.KEY_ORDER.pack(order))
        if order.keep and got.key != order.keep:
            raise PoolLied(ExitCode.NODE, "the pool's service keeps another key than it was given")
        return got

    def file(self, image: OfferedImage, name: str, begin: int, end: int, ticket: str) -> Iterator[bytes]:
        """Bytes `begin` to `end` of a version's file, as they come: just so many, or an error at the end."""
        size = next((file.size for file in image.files if file.name == name), -1)
        if not 0 <= begin < end <= size or end - begin > _MOST_PIECE:
            raise ValueError(f"there are no bytes {begin} to {end} to be fetched of {name}")
        path = "/".join([protocol.IMAGES, *map(quote, (image.name, image.version, *name.split("/")))])
        question = HttpQuestion(
            "GET",
            path,
            most=max(end - begin, protocol.MOST_BYTES[protocol.WORKER]),
            seconds=self._seconds + (end - begin) / _SLOWEST,
            bearer=ticket,
            headers={"Range": f"bytes={begin}-{end - 1}"},
        )
        with _in_words(self.member.server), https_exchange.stream(self.member.server, question) as (head, pieces):
            if head.status != 206:  # Partial Content, RFC 9110, 15.3.7
                _raise_refused(HttpAnswer(head.status, head.headers, b"".join(pieces)))
            _check_range(head, begin, end, size)
            yield from _just(pieces, end - begin)

    def _ask[T](self, method: str, path: str, codec: Codec[T], body: bytes = b"") -> T:
        most = protocol.MOST_BYTES[path]
        with membership.held(self._place) as token:
            question = HttpQuestion(method, path, most, self._seconds, bearer=token.text, body=body)
            answer = ask(self.member.server, question)
            self._note_time(answer)
            read = unpacked(codec, answer)
            if renewed := answer.headers.get(protocol.RENEWED.lower(), ""):
                _keep(token, renewed)
        return read

    def _note_time(self, answer: Head) -> None:
        """Told by the answer's Date (RFC 9110, 6.6.1), to a second."""
        try:
            said = email.utils.parsedate_to_datetime(answer.headers.get("date", "")).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        self.skew = self._clock() - said


def _keep(token: membership.MachineToken, renewed: str) -> None:
    try:
        protocol.Enrolled("x", renewed)
    except Malformed:
        raise PoolLied(ExitCode.NODE, "the pool's service renews the machine's token by what is none") from None
    try:
        token.replace(renewed)
    except OSError as error:
        # Not a trouble: the present one stays good until the next was used, which so never is.
        hint = "the machine's token cannot be renewed until there is room"
        raise Refusal(
            ExitCode.RESOURCES, f"the pool's next token cannot be kept: {error.strerror}", hint=hint
        ) from None


def ask(server: Server, question: HttpQuestion) -> HttpAnswer:
    """A good answer. Raises PoolTrouble."""
    with _in_words(server):
        answer = https_exchange.ask(server, question)
    if answer.status != 200:  # RFC 9110, 15.3.1
        _raise_refused(answer)
    return answer


def unpacked[T](codec: Codec[T], answer: HttpAnswer) -> T:
    """What it says. Raises PoolLied."""
    try:
        return codec.unpack(answer.body)
    except Malformed as error:
        hint = "if the service is newer or older than this machine's 7lbd, bring both to one version"
        raise PoolLied(ExitCode.NODE, f"the pool's service answers what makes no sense: {error}", hint=hint) from None


@contextmanager
def _in_words(server: Server) -> Iterator[None]:
    """The line's troubles, for people. Raises PoolTrouble."""
    try:
        yield
    except Unreachable as error:
        hint = "running VMs go on; it is asked again by itself"
        raise PoolGone(f"the pool's service at {server.name}: {error}", hint=hint) from None
    except Untrue as error:
        hint = "ask the pool's administrators: it is another server, or somebody is in between"
        raise PoolLied(ExitCode.NODE, f"the pool's service at {server.name}: {error}", hint=hint) from None


def _raise_refused(answer: HttpAnswer) -> None:
    """Raises PoolTrouble."""
    try:
        problem = protocol.PROBLEM.unpack(answer.body[: protocol.MOST_BYTES[protocol.WORKER]])
    except Malformed:
        problem = Problem(f"status {answer.status}, without a word")
    what = f"the pool's service says: {problem.what}" + (f": {problem.why}" if problem.why else "")
    match answer.status:
        case 401 | 403:
            raise MachineBarred(ExitCode.NODE, what, hint=problem.mend)
        case 429 | 500 | 502 | 503 | 504:
            raise PoolGone(what, hint=problem.mend, after=_after(answer))
        case 409:  # Conflict, RFC 9110, 15.5.10
            raise PoolNotNow(ExitCode.NODE, what, hint=problem.mend)
        case 404 | 410:
            raise PoolDeclined(ExitCode.NODE, what, hint=problem.mend)
    raise PoolLied(ExitCode.NODE, what, hint=problem.mend)


def _after(answer: Head) -> float:
    """Retry-After in seconds (RFC 9110, 10.2.3), within reason."""
    said = answer.headers.get("retry-after", "")
    return min(float(said), _MOST_WAIT) if said.isascii() and said.isdigit() and len(said) < 10 else 0.0  # digits


def _check_range(head: Head, begin: int, end: int, size: int) -> None:
    if head.headers.get("content-range") != f"bytes {begin}-{end - 1}/{size}":
        raise PoolLied(ExitCode.NODE, "the pool's service sends other bytes of an image than were asked for")


def _just(pieces: Iterator[bytes], length: int) -> Iterator[bytes]:
    left = length
    for piece in pieces:
        left -= len(piece)
        if left < 0:
            break
        yield piece
    if left:
        raise PoolLied(ExitCode.NODE, f"the pool's service sends {length - left} bytes of an image instead of {length}")
