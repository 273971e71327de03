"""`grid pool` and the verbs below it: serve; make a code; show who is enrolled; send a machine away.

All of them work on the service's folder, on the pool's own host and as the service's user; it need not run.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from ....base import logs, steady_memory, units
from ....base.errors import ExitCode, Refusal
from ....wire.codec import Malformed
from ...cli.command import Command, CommandContext
from ...cli.parser import Parser, options
from ...console import terminal
from ...node.node_programs import NodePrograms
from ...site import site_tables
from ...site.pool_table import PoolTable
from .. import grid_folders, membership
from . import codes, machine_keys, members, pool_folder, serving
from .fleet import Fleet
from .front_line import listen
from .machine_api import PoolParts
from .machine_keys import MachineKeys
from .members import Members, PoolMember
from .offers import Offers
from .queue_demand import QueueDemand, by_condor_q
from .throttle import Throttle
from .worker_tokens import TokenTerms, WorkerTokens, by_condor, pool_address

_USED = 3600.0  # seconds that a code is good; a guess: somebody goes to a machine with it
_MOST_HOURS = 24 * 366  # a guess: a code that waits for longer was lost
_MOST_CODES = 1000  # a guess: a lab in one go


def serve(context: CommandContext) -> int:
    """Until it is told to end."""
    logs.begin(logging.INFO)
    steady_memory.begin()
    table = site_tables.read(context.here).pool
    place = pool_folder.prepared(_place(context, table))
    with pool_folder.served(place):
        # Before anybody can be served: what is wrong with the pool's HTCondor is said here.
        parts = _parts(context, table, place)
        tls, pin = serving.certificate(place, (table.certificate, table.private_key), _names(table))
        # A machine that was told of no image for a moment might throw its own away.
        parts.offers.look()
        with suppress(OSError):
            machine_keys.sweep(place)
        host, _, port = (context.options.listen or table.listen).rpartition(":")
        try:
            listener = listen(host.strip("[]"), int(port))
        except OSError as error:
            what = f"{host}:{port}: cannot be listened on: {error.strerror}"
            raise Refusal(
                ExitCode.NODE, what, hint="`listen` of the table [pool]: an address of this machine"
            ) from None
        asyncio.run(_served(parts, listener, tls, pin, table))
    return ExitCode.OK


async def _served(parts: PoolParts, listener: socket.socket, tls: serving.Tls, pin: str, table: PoolTable) -> None:
    """Until SIGTERM or SIGINT."""
    ready, ended, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    task = loop.create_task(serving.serve(parts, listener, tls, ready, ended))
    tidying = loop.create_task(steady_memory.keep())
    await asyncio.wait({task, loop.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    inventory = await asyncio.to_thread(parts.offers.look)
    terminal.say(
        f"7lbd: serving the pool {parts.workers.address.collector} at {_url(table, listener)}",
        f"  images: {', '.join(f'{image.name}@{image.version}' for image in inventory.images) or 'none'}",
        f"  overview: the same address in a browser; its token is in {parts.place / pool_folder.ADMIN}",
        f"  key: {pin}",
    )
    terminal.warn(*(f"not offered: {why}" for why in inventory.refused))
    await task
    tidying.cancel()


def _parts(context: CommandContext, table: PoolTable, place: Path) -> PoolParts:
    """Raises Refusal."""
    programs = NodePrograms(context.here.environment)
    try:
        known = Members(place, pool_folder.secret(place, pool_folder.KEY))
    except (OSError, Malformed) as error:
        raise _unreadable(place, error) from None
    address = pool_address(programs, table.collector, table.trust_domain)
    terms = TokenTerms(address, table.worker_identity, table.worker_lifetime)
    return PoolParts(
        place=place,
        members=known,
        keys=MachineKeys(place, table.key_networks),
        offers=Offers(context.repository_folders, table.images),
        demand=QueueDemand(by_condor_q(programs)),
        workers=WorkerTokens(by_condor(programs, table.signing_key), terms),
        fleet=Fleet(table.poll),
        throttle=Throttle(table.rate, table.machine_rate),
        poll=table.poll,
        admin=pool_folder.secret(place, pool_folder.ADMIN),
    )


def _unreadable(place: Path, error: Exception) -> Refusal:
    what = f"{place / pool_folder.MACHINES}: {getattr(error, 'strerror', '') or error}"
    return Refusal(ExitCode.USAGE, what, hint="bring it back from a backup; without it every machine has to enrol anew")


def _names(table: PoolTable) -> list[str]:
    return [*table.names, os.uname().nodename, "localhost", "127.0.0.1"]


def _url(table: PoolTable, listener: socket.socket | None = None) -> str:
    port = listener.getsockname()[1] if listener else int(table.listen.rpartition(":")[2])
    name = table.names[0] if table.names else os.uname().nodename
    return f"https://{f'[{name}]' if ':' in name else name}:{port}"


def _place(context: CommandContext, table: PoolTable) -> Path:
    if table.state:
        return Path(table.state)
    return membership.folder(context.settings.state_dir, context.here.environment).parent / grid_folders.POOL


def code(context: CommandContext) -> int:
    """Print codes, a line each: what is typed on the machine."""
    table = site_tables.read(context.here).pool
    place = pool_folder.prepared(_place(context, table))
    given = context.options
    if not 1 <= given.number <= _MOST_CODES:
        raise Refusal(ExitCode.USAGE, f"--number {given.number}: 1 to {_MOST_CODES}", hint="one code for each machine")
    if not 0 < given.hours <= _MOST_HOURS:  # also of what is no number
        raise Refusal(ExitCode.USAGE, f"--hours {given.hours:g}: above 0, and {_MOST_HOURS} at most", hint="--hours 24")
    _, pin = serving.certificate(place, (table.certificate, table.private_key), _names(table))
    try:
        made = [codes.make(place, given.hours * 3600) for _ in range(given.number)]
    except OSError as error:
        raise pool_folder.unusable(place, error) from None
    terminal.say(*(f"7lbd grid enrol {_url(table)} --code {secret}.{pin}" for secret in made))
    return ExitCode.OK


def list_all(context: CommandContext) -> int:
    """One line a machine: name, since when, last seen from where; or why it is revoked."""
    place = _place(context, site_tables.read(context.here).pool)
    known = _known(place)
    if context.options.json:
        rows = [
            vars(member)
            | {
                "revoked": members.why_revoked(place, member),
                "key": machine_keys.is_kept(place, member.enrolment),
            }
            for member in known.values()
        ]
        terminal.say_json(rows)
        return ExitCode.OK
    lines = [_line(place, member) for member in known.values()]
    terminal.say(*(lines or [f"no machine is enrolled in {place}"]))
    return ExitCode.OK


def _line(place: Path, member: PoolMember) -> str:
    why = members.why_revoked(place, member)
    kept = ", its disk's key is kept here" if machine_keys.is_kept(place, member.enrolment) else ""
    state = (
        f"REVOKED: {why}"
        if why
        else f"seen {units.duration(time.time() - member.seen)} ago from {member.address}{kept}"
    )
    since = time.strftime("%Y-%m-%d", time.localtime(member.enrolled))
    return f"{member.name}  enrolled {since}  {state}"


def revoke(context: CommandContext) -> int:
    """At once, also where the service runs."""
    place = _place(context, site_tables.read(context.here).pool)
    known, name = _known(place), context.options.machine
    if name not in known:
        what = f"no machine `{name[:80]}` is enrolled"
        raise Refusal(ExitCode.USAGE, what, hint="7lbd grid pool list")
    kept = machine_keys.is_kept(place, known[name].enrolment)
    try:
        members.revoke(place, known[name], context.options.why)
    except OSError as error:
        raise pool_folder.unusable(place, error) from None
    terminal.say(
        f"7lbd: `{name}` is revoked{', and nothing opens what is encrypted on its disk any more' if kept else ''}",
        "  tokens that its VMs have already last on; to bar them in the pool: docs/grid-pool.md",
    )
    return ExitCode.OK


def _known(place: Path) -> dict[str, PoolMember]:
    try:
        return members.load(place)
    except (OSError, Malformed) as error:
        raise _unreadable(place, error) from None


def _serve_options(parser: Parser) -> None:
    parser.add_argument("--listen", metavar="ADDRESS:PORT", default="", help="in place of the table's `listen`")
    options(parser, "image_dirs", "state_dir")


def _code_options(parser: Parser) -> None:
    parser.add_argument("--number", metavar="N", type=int, default=1, help="how many (default: 1)")
    lasts = _USED / 3600
    parser.add_argument("--hours", metavar="H", type=float, default=lasts, help=f"how long good (default: {lasts:.0f})")
    options(parser, "state_dir")


def _list_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")
    options(parser, "state_dir")


def _revoke_options(parser: Parser) -> None:
    parser.add_argument("machine", metavar="MACHINE", help="its name, as `grid pool list` shows it")
    parser.add_argument("--why", metavar="TEXT", default="its administrator said so", help="what it is told")
    options(parser, "state_dir")


COMMANDS = {
    "grid pool serve": Command(serve, _serve_options),
    "grid pool code": Command(code, _code_options),
    "grid pool list": Command(list_all, _list_options),
    "grid pool revoke": Command(revoke, _revoke_options),
}
