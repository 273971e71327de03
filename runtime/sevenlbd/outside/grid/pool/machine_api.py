"""What machines ask: the routes of the protocol. Nothing here knows of sockets, nor of a request beyond its records."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from ....base.errors import Refusal
from ....wire.codec import Codec, Malformed
from .. import protocol
from ..protocol import Enrolled, Heard, Images, MachineKey, Pace, Problem, Waiting, WorkerPass
from . import codes, machine_keys, members
from .fleet import Fleet
from .machine_keys import MachineKeys
from .members import TICKET_SECONDS, Barred, Members, PoolMember
from .offers import Offers
from .queue_demand import QueueDemand
from .service_answers import Declined
from .throttle import Throttle
from .vm_claims import Claims
from .worker_tokens import WorkerTokens

log = logging.getLogger(__name__)

_LONGEST_BACKOFF = (
    900.0  # seconds that a machine waits at most while the service is away; a guess: a quarter of an hour
)
_AFTER_QUEUE = 60  # seconds; a guess: a schedd is restarted in less


@dataclass
class PoolParts:
    """All that the service has."""

    place: Path
    members: Members
    keys: MachineKeys
    offers: Offers
    demand: QueueDemand
    workers: WorkerTokens
    fleet: Fleet
    throttle: Throttle
    poll: float
    admin: bytes
    """What opens the overview."""
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How often, by route and HTTP status."""
    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """That answers took, by route."""
    claims: Claims = field(init=False)

    def __post_init__(self) -> None:
        self.claims = Claims(self.poll, known=bool(self.members.all()))

    @property
    def pace(self) -> Pace:
        return Pace(self.poll, max(_LONGEST_BACKOFF, self.poll))


async def enrol(parts: PoolParts, address: str, body: bytes) -> Enrolled:
    """Take a machine in, for a code. Raises Barred, Declined and OSError."""
    wanted = _read(protocol.ENROLLING, body)
    if not await asyncio.to_thread(codes.take, parts.place, wanted.code):
        mend = "ask the pool's administrator for another: 7lbd grid pool code"
        raise Barred("this code opens nothing: it was used, or has expired, or never was", mend=mend, status=403)
    name, token = parts.members.enrol(wanted.machine, address)
    log.info("enrolled %s from %s", name, address)
    return Enrolled(name, token)


async def waiting(parts: PoolParts, member: PoolMember, _: bytes) -> Waiting:
    """What is wanted, of this machine."""
    inventory = await asyncio.to_thread(parts.offers.look)
    try:
        demands = await parts.demand.demands(inventory.names)
    except Refusal as refusal:
        log.warning("the queue: %s", refusal.what)
        problem = Problem("the pool's queue does not answer", refusal.what, "it is asked again by itself")
        raise Declined(503, problem, {"Retry-After": str(_AFTER_QUEUE)}) from None
    left = parts.claims.left(demands, member.name)
    return Waiting(parts.workers.address, left, inventory.digest, parts.pace)


async def images(parts: PoolParts, member: PoolMember, _: bytes) -> Images:
    """What is offered."""
    inventory = await asyncio.to_thread(parts.offers.look)
    return Images(inventory.images, parts.members.ticket(member), TICKET_SECONDS)


async def state(parts: PoolParts, member: PoolMember, body: bytes) -> Heard:
    """What a machine does."""
    report = _read(protocol.REPORT, body)
    parts.fleet.note(member.name, report)
    parts.claims.note(member.name, report)
    return Heard(parts.pace)


async def worker(parts: PoolParts, member: PoolMember, body: bytes) -> WorkerPass:
    """A token for one VM of an image that is offered, if there are not enough of them."""
    order = _read(protocol.WORKER_ORDER, body)
    inventory = await asyncio.to_thread(parts.offers.look)
    if order.vm_name not in inventory.names:
        problem = Problem(f"this pool offers no image `{order.vm_name}`", mend="ask for the images again")
        raise Declined(404, problem)
    if not parts.claims.take(parts.demand.last, member.name, order):
        why = "it hears first what there is" if parts.claims.hears else "other machines have begun as many as jobs wait"
        raise Declined(409, Problem(f"no VM of {order.vm_name} is to begin here now", why, "it is asked again"))
    try:
        given = await parts.workers.give(member)
    except Refusal as refusal:
        log.warning("no token: %s", refusal.what)
        raise Declined(503, Problem("the pool makes no tokens now", refusal.what, refusal.hint)) from None
    log.info("%s got a token for a VM of %s", member.name, order.vm_name)
    return given


async def key(parts: PoolParts, member: PoolMember, body: bytes) -> MachineKey:
    """What opens the machine's disk: kept if it brings one, and given. Raises Barred, Declined and OSError."""
    order = _read(protocol.KEY_ORDER, body)
    if not parts.keys.is_near(member.address):
        log.warning("%s asks for its key from %s, where none is given", member.name, member.address)
        mend = "it asks from a network of the table [pool]'s `key_networks`"
        raise Declined(409, Problem(f"no key is given to {member.address or 'nowhere'}", mend=mend))
    return await asyncio.to_thread(_key, parts, member, order.keep)


def _key(parts: PoolParts, member: PoolMember, kept: str) -> MachineKey:
    if kept:
        parts.keys.keep(member.enrolment, kept)
    given = parts.keys.give(member.enrolment)
    # Again, and last: it may have been revoked since it was let in, by a verb that knows nothing of us.
    if why := members.why_revoked(parts.place, member):
        machine_keys.forget(parts.place, member.enrolment)
        raise Barred(f"the machine `{member.name}` is revoked", why, members.ANEW)
    if not given:
        raise Declined(404, Problem("the pool keeps no key of this machine"))
    log.info("%s at %s %s", member.name, member.address, "has its key kept" if kept else "got its key")
    return MachineKey(given)


def _read[T](kind: Codec[T], body: bytes) -> T:
    try:
        return kind.unpack(body)
    except Malformed as error:
        problem = Problem("the request makes no sense", str(error), "bring machine and service to one version of 7lbd")
        raise Declined(400, problem) from None
