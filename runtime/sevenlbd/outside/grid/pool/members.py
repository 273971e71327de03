"""The machines of a pool, and their tokens: who is one, whose token was stolen, who was sent away.

A token is NAME~EPOCH~N~MAC: the Nth of one enrolment, made of the pool's key, so that nothing secret is kept of it.
Each answer gives the next one. The Nth is good until the next was used; who comes with an older one then is a thief,
or was robbed by one: two use the machine's token, and which is the right one cannot be told. So it is revoked.

A request that was on its way before the next token was used is no theft: it is declined. Which token is good is
written down some seconds late; after a crash one that is ahead of what is known is as good as the last.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from base64 import urlsafe_b64encode
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from ....base import atomic, foreign_files
from ....base.errors import visible
from ....wire.codec import Codec
from ..membership import ENROL
from ..protocol import Problem
from ..record_limits import is_machine
from . import machine_keys
from .pool_folder import MACHINES, REVOKED

TICKET_SECONDS = 3600.0
"""How long files may be fetched with one ticket; a guess: a piece takes minutes at most."""
_MOST = 20_000  # machines; a guess: twenty times what the service is measured for
_MOST_BYTES = 16 << 20  # of the file, with so many machines in it
_MOST_REASON = 4 << 10  # bytes
_PARTS = 4  # of a token
_TICKET = "t"
_DIGITS = 16  # of a number in a token


@dataclass(frozen=True)
class PoolMember:
    """One enrolled machine."""

    name: str
    epoch: str
    """Of this enrolment: a machine that is enrolled anew has another, and its old tokens are nobody's."""
    generation: int = 0
    enrolled: float = 0.0
    seen: float = 0.0
    address: str = ""

    @property
    def enrolment(self) -> str:
        """What files about it are called: a machine that is enrolled anew has others."""
        return f"{self.name}~{self.epoch}"


@dataclass(frozen=True)
class _Kept:
    machines: tuple[PoolMember, ...] = ()


@dataclass(frozen=True)
class Admitted:
    """A machine that has shown its token, and its next one."""

    member: PoolMember
    renewed: str = field(default="", repr=False)


class Barred(Exception):
    """Somebody who is not let in, with what is answered."""

    def __init__(self, what: str, why: str = "", mend: str = "", *, status: int = 401) -> None:
        super().__init__(what)
        self.status, self.problem = status, Problem(what, why, mend)


_FILE = Codec[_Kept](_Kept)
ANEW = f"ask the pool's administrator for a code, and: {ENROL} --again"


def load(place: Path) -> dict[str, PoolMember]:
    """Who is enrolled, by name, as far as it is written down. Raises OSError, and Malformed for another file."""
    try:
        kept = _FILE.unpack(foreign_files.read(place, MACHINES, _MOST_BYTES))
    except FileNotFoundError:
        return {}
    return {member.name: member for member in kept.machines if is_machine(member.name)}


def why_revoked(place: Path, member: PoolMember) -> str:
    """Why it is none of ours any more; empty when it is."""
    try:
        return visible(foreign_files.read(place / REVOKED, member.enrolment, _MOST_REASON).decode(errors="replace"))
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"its mark cannot be read: {error.strerror}"


def revoke(place: Path, member: PoolMember, why: str) -> None:
    """Send it away, at once, also where the service runs; and nobody opens its disk any more. Raises OSError."""
    atomic.replace(place / REVOKED / member.enrolment, why.encode()[:_MOST_REASON] or b"revoked", lasting=True)
    machine_keys.forget(place, member.enrolment)


class Members:
    """All of them, as the service knows them."""

    def __init__(self, place: Path, key: bytes, clock: Callable[[], float] = time.monotonic) -> None:
        """Raises OSError and Malformed."""
        self._place, self._key, self._clock = place, key, clock
        self._members = load(place)
        self._promoted: dict[str, float] = {}
        self._saving = threading.Lock()
        self.changed = False
        """Whether there is something to write down."""

    def all(self) -> list[PoolMember]:
        """By name."""
        return [self._members[name] for name in sorted(self._members)]

    def enrol(self, wanted: str, address: str) -> tuple[str, str]:
        """Take a machine in; returns its name and its first token. Raises Barred and OSError."""
        if len(self._members) >= _MOST:
            raise Barred("the pool has as many machines as it can have", mend="revoke some", status=503)
        name = self._free(wanted)
        member = PoolMember(name, secrets.token_hex(8), enrolled=time.time(), seen=time.time(), address=address)
        self._members[name] = member
        self.save()
        return name, self._token(member, 0)

    def _free(self, wanted: str) -> str:
        """A name that no machine has; one of a machine that was sent away may be had again."""
        for number in range(1, _MOST):
            name = wanted if number == 1 else f"{wanted[:56].rstrip('.-')}-{number}"
            member = self._members.get(name)
            if member is None or why_revoked(self._place, member):
                return name
        raise Barred("there are too many machines of this name", mend="--machine NAME", status=409)

    def admit(self, token: str, *, opened: float, address: str = "") -> Admitted:
        """The machine whose token this is. `opened` is when its line was. Raises Barred."""
        member, number = self._known(token)
        if number < member.generation:
            self._refuse_old(member, opened, address)
        if number > member.generation:
            self._promoted[member.name] = self._clock()
        member = replace(member, generation=number, seen=time.time(), address=address or member.address)
        self._members[member.name], self.changed = member, True
        return Admitted(member, self._token(member, number + 1))

    def _refuse_old(self, member: PoolMember, opened: float, address: str) -> None:
        """Raises Barred."""
        if opened <= self._promoted.get(member.name, 0.0):
            raise Barred("this token was renewed while the request was on its way", mend="ask again", status=409)
        why = f"its token was used twice, from {address or 'nowhere'} and from {member.address or 'nowhere'}"
        with suppress(OSError):
            revoke(self._place, member, why)
        raise Barred(f"the machine `{member.name}` is revoked", why, f"find out who has its token; then {ANEW}")

    def ticket(self, member: PoolMember) -> str:
        """What lets a machine fetch files for a while."""
        words = f"{member.name}~{member.epoch}~{_TICKET}{int(time.time() + TICKET_SECONDS)}"
        return f"{words}~{self._mac(words)}"

    def admit_ticket(self, text: str) -> PoolMember:
        """The machine whose ticket this is. Raises Barred."""
        member, word = self._proved(text)
        number = word.removeprefix(_TICKET)
        if word == number or not _is_number(number):
            raise Barred("this is no ticket for files")
        if int(number) < time.time():
            raise Barred("this ticket has expired", mend="ask for the images again", status=409)
        return member

    def save(self) -> None:
        """Write them down, whichever threads do: what was seen later is written later. Raises OSError."""
        with self._saving:
            self.changed = False
            atomic.replace(self._place / MACHINES, _FILE.pack(_Kept(tuple(self.all()))), lasting=True)

    def _known(self, token: str) -> tuple[PoolMember, int]:
        member, word = self._proved(token)
        if not _is_number(word):
            raise Barred("this is no machine's token")
        return member, int(word)

    def _proved(self, text: str) -> tuple[PoolMember, str]:
        """Whose secret of ours this is, and its third word. Raises Barred."""
        # A byte of a header that is no UTF-8 comes as half a surrogate, which cannot be encoded.
        words, _, mac = text.rpartition("~") if text.isascii() else ("", "", "")
        parts = words.split("~")
        if len(parts) != _PARTS - 1 or not hmac.compare_digest(mac.encode(), self._mac(words).encode()):
            raise Barred("this pool knows no such machine", mend=ANEW)
        member = self._members.get(parts[0])
        if member is None or member.epoch != parts[1]:
            raise Barred(f"the machine `{parts[0]}` is not enrolled any more", mend=ANEW)
        if why := why_revoked(self._place, member):
            raise Barred(f"the machine `{member.name}` is revoked", why, ANEW)
        return member, parts[2]

    def _token(self, member: PoolMember, number: int) -> str:
        words = f"{member.name}~{member.epoch}~{number}"
        return f"{words}~{self._mac(words)}"

    def _mac(self, words: str) -> str:
        digest = hmac.new(self._key, b"machine\0" + words.encode(), hashlib.sha256).digest()
        return urlsafe_b64encode(digest).decode().rstrip("=")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < _DIGITS
