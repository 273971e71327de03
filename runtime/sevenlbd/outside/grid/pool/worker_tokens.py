"""Tokens by which a VM joins the pool: made by HTCondor's own condor_token_create, least of rights, short of life.

A worker's token lets its bearer advertise a startd and its master, and read; not submit, not administer. Its identity
is of the machine, so that a pool's administrator sees whose workers there are, and can bar one machine's
(SEC_TOKEN_REVOCATION_EXPR). It is never written down or logged here. Source: condor_token_create(1).
"""

from __future__ import annotations

import asyncio
import re
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from ....base.errors import ExitCode, Refusal
from ...node.node_programs import NodePrograms
from ..protocol import PoolAddress, WorkerPass
from .members import Barred, PoolMember

_RIGHTS = ("ADVERTISE_STARTD", "ADVERTISE_MASTER", "READ")
_AT_ONCE = 4  # a guess: each is a process for 50 ms
_MOST, _WITHIN = 40, 600.0  # tokens of one machine in so many seconds; a guess: machines have a handful of slots
_SECONDS = 20.0  # for condor_token_create, which asks nobody
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")  # RFC 7515, 3.1
_COLLECTOR_PORT = 9618  # HTCondor's own (IANA)
Make = Callable[[str, float], str]
"""A token of this identity for so many seconds. Raises Refusal."""


def by_condor(programs: NodePrograms, key: str = "") -> Make:
    """HTCondor's own, signed by the key of this name, or the pool's usual one."""

    def make(identity: str, seconds: float) -> str:
        rights = [word for right in _RIGHTS for word in ("-authz", right)]
        named = ["-key", key] if key else []
        words = ["-identity", identity, *rights, "-lifetime", str(int(seconds)), *named]
        done = programs.run("condor_token_create", *words, seconds=_SECONDS)
        token = done.printed.strip()
        if done.code or not _TOKEN.fullmatch(token):
            what = (
                f"condor_token_create gives no token: {done.said.splitlines()[0] if done.said else 'it says nothing'}"
            )
            hint = "the service's user must be able to read the pool's signing key (SEC_PASSWORD_DIRECTORY)"
            raise Refusal(ExitCode.NODE, what, hint=hint)
        return token

    return make


def pool_address(programs: NodePrograms, collector: str, trust_domain: str) -> PoolAddress:
    """Where the pool is: as the site says, else as HTCondor's configuration on this machine does. Raises Refusal."""
    host = collector or _configured(programs, "COLLECTOR_HOST").split(",")[0].partition("?")[0].strip()
    if not re.search(r":\d+$", host):
        host = f"{host}:{_COLLECTOR_PORT}"
    domain = trust_domain or _configured(programs, "TRUST_DOMAIN")
    try:
        return PoolAddress(host, domain)
    except ValueError as error:
        what = f"`{host}`, `{domain}`: {error}"
        raise Refusal(ExitCode.USAGE, what, hint="`collector` and `trust_domain` of the table [pool] say it") from None


def _configured(programs: NodePrograms, name: str) -> str:
    done = programs.run("condor_config_val", name, seconds=_SECONDS)
    if done.code or not done.printed.strip():
        what = f"HTCondor's configuration on this machine does not say {name}"
        raise Refusal(ExitCode.NODE, what, hint="say it in the table [pool]: collector, trust_domain")
    return done.printed.strip()


@dataclass(frozen=True)
class TokenTerms:
    """What every token is."""

    address: PoolAddress
    identity: str
    """`{machine}` stands for the machine's name, `{trust_domain}` for the pool's."""
    lifetime: float


class WorkerTokens:
    """Gives them out, so many to each machine at most."""

    def __init__(self, make: Make, terms: TokenTerms, clock: Callable[[], float] = time.monotonic) -> None:
        self._make, self._terms, self._clock = make, terms, clock
        self._turns = asyncio.Semaphore(_AT_ONCE)
        self._given: dict[str, deque[float]] = {}
        self.made = 0

    @property
    def address(self) -> PoolAddress:
        return self._terms.address

    async def give(self, member: PoolMember) -> WorkerPass:
        """One for this machine. Raises Barred when it has had too many, and Refusal."""
        self._count(member.name)
        address = self._terms.address
        identity = self._terms.identity.format(machine=member.name, trust_domain=address.trust_domain)
        async with self._turns:
            token = await asyncio.to_thread(self._make, identity, self._terms.lifetime)
        self.made += 1
        return WorkerPass(address, token, self._terms.lifetime)

    def _count(self, machine: str) -> None:
        now = self._clock()
        given = self._given.setdefault(machine, deque(maxlen=_MOST))
        if len(given) == _MOST and now - given[0] < _WITHIN:
            why = f"a machine gets {_MOST} in {_WITHIN / 60:.0f} minutes at most"
            raise Barred("this machine asks for too many tokens", why, "its VMs end too soon: see its log", status=429)
        given.append(now)
