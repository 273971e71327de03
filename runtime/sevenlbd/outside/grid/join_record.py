"""What `run --join` is given: the pool that a session's guest joins, who it is there, and what lets it in.

It is read from a descriptor or a file of the user's own, checked, and goes through the wall to the guest. Nothing here
writes it to a disk, and no text that is shown has anything of the token in it.
"""

from __future__ import annotations

import json
import os
import re
import stat
from dataclasses import dataclass, field, fields

from ...base import hostnames
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...images import names
from ...wire.codec import Codec, Malformed

PREFIX = "SevenLbd"
"""How every attribute begins that a worker advertises: no name of HTCondor's configuration does."""
IDLE_SECONDS = 1200
"""A guess: how long a worker waits for a job before it makes room."""

_MOST_BYTES = 64 << 10  # of a record; a token is of some 500, and all attributes of 20,000
_MOST_TOKEN = 8 << 10  # letters, as the pool's service has it
_MOST_ATTRIBUTES = 64  # a guess: what is known of a machine is told in a few
_LONGEST_IDLE = 30 * 86400  # seconds; a guess: whoever waits longer never leaves, which is 0
_LAST_SLOT = 4096  # a guess: machines have hundreds of cores
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")  # RFC 7515, 3.1
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,252}")
_ATTRIBUTE = re.compile(rf"{PREFIX}[A-Za-z0-9_]{{1,55}}")
# What is plain text for ClassAds, for HTCondor's configuration and for a shell.
_VALUE = re.compile(r"[A-Za-z0-9 ._:@/+,=-]{0,256}")
_HINT = "see docs/worker.md; a machine of the grid makes it by itself"


def _need(good: object, what: str) -> None:
    if not good:
        raise Malformed(what)


@dataclass(frozen=True)
class JoinRecord:
    """One that exists is within its limits."""

    collector: str
    """The pool's `host:port`: the guest's one way out."""
    trust_domain: str
    token: str = field(repr=False)
    """An IDTOKEN of HTCondor's that lets its bearer advertise a startd."""
    vm_name: str
    """As jobs name it."""
    machine: str
    """The machine that the guest runs on, and which of its slots: the worker's name in the pool is made of both."""
    slot: int = 1
    idle_seconds: int = IDLE_SECONDS
    """How long without a job it stays; 0 is for good."""
    attributes: dict[str, str] = field(default_factory=dict)
    """What it advertises beside that."""

    def __post_init__(self) -> None:
        _need(self._has_address(), "collector: is not HOST:PORT")
        _need(_DOMAIN.fullmatch(self.trust_domain), "trust_domain: is none")
        _need(len(self.token) <= _MOST_TOKEN and _TOKEN.fullmatch(self.token), "token: is no IDTOKEN")
        name, at, version = self.vm_name.partition("@")
        _need(names.is_name(name) and (not at or names.is_version(version)), "vm_name: is no image's name")
        _need(len(self.machine) <= 63 and hostnames.is_node_name(self.machine), "machine: is no machine's name")
        _need(1 <= self.slot <= _LAST_SLOT, f"slot: is not within 1 to {_LAST_SLOT}")
        _need(0 <= self.idle_seconds <= _LONGEST_IDLE, f"idle_seconds: is not within 0 to {_LONGEST_IDLE}")
        _need(len(self.attributes) <= _MOST_ATTRIBUTES, f"attributes: there are more than {_MOST_ATTRIBUTES}")
        for attribute, value in self.attributes.items():
            _need(_ATTRIBUTE.fullmatch(attribute), f"attributes: a name does not begin with {PREFIX}, or is none")
            _need(_VALUE.fullmatch(value), f"attributes: {attribute}: has signs that are not let through")

    def _has_address(self) -> bool:
        bare = self.host.removeprefix("[").removesuffix("]") if self.host.startswith("[") else ""
        known = hostnames.is_name(self.host) or hostnames.is_address(bare or self.host)
        known = known and (f"[{bare}]" == self.host or ":" not in self.host)
        return bool(known and re.fullmatch(r"[0-9]{1,5}", self._written_port) and 0 < self.port < 1 << 16)

    @property
    def host(self) -> str:
        """The pool's, in lower case; an IPv6 address in brackets."""
        return self.collector.rpartition(":")[0].lower()

    @property
    def port(self) -> int:
        return int(self._written_port)

    @property
    def _written_port(self) -> str:
        return self.collector.rpartition(":")[2]

    def for_guest(self, address: str, more: dict[str, str]) -> str:
        """The lines that the guest gets. It knows no names: `address` is where the pool is."""
        lines = {
            "collector": f"{address}:{self.port}",
            "trust_domain": self.trust_domain,
            "token": self.token,
            "vm_name": self.vm_name,
            "machine": self.machine,
            "slot": str(self.slot),
            "idle_seconds": str(self.idle_seconds),
            **{f"attribute.{name}": value for name, value in {**self.attributes, **more}.items()},
        }
        return "".join(f"{name}={value}\n" for name, value in lines.items())


RECORD: Codec[JoinRecord] = Codec(JoinRecord)


def read(name: str) -> JoinRecord:
    """The record in a file, `/dev/fd/N` or `-`. Raises Refusal."""
    try:
        with os.fdopen(os.dup(0), "rb") if name == "-" else user_path(name).open("rb") as file:
            _check_private(name, os.fstat(file.fileno()))
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        what = f"--join {name}: cannot be read: {error.strerror}"
        raise Refusal(ExitCode.USAGE, what, hint=_HINT) from None
    try:
        return parsed(content)
    except Malformed as error:
        raise Refusal(ExitCode.USAGE, f"--join {name}: {error}", hint=_HINT) from None


def parsed(content: bytes) -> JoinRecord:
    """The record that was written. Raises Malformed."""
    _need(len(content) <= _MOST_BYTES, f"is longer than {_MOST_BYTES >> 10} KiB")
    try:
        said = json.loads(content)
    except (ValueError, RecursionError):
        raise Malformed("is not JSON") from None
    _need(isinstance(said, dict), "is no object")
    known = {one.name for one in fields(JoinRecord)}
    # A name that is not known here may be one that was meant otherwise.
    _need(said.keys() <= known, f"has names that are none of {', '.join(sorted(known))}")
    return RECORD.unpack(content)


def _check_private(name: str, status: os.stat_result) -> None:
    """Raises Refusal for a file that others can read; a pipe is whoever's who has it."""
    if stat.S_ISREG(status.st_mode) and (status.st_mode & 0o077 or status.st_uid != os.getuid()):
        what = f"--join {name}: others can read the token there, or have written it"
        raise Refusal(ExitCode.USAGE, what, hint=f"chmod 600 {name}, or better a pipe: --join /dev/fd/3")
