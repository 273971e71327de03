"""What the owner sees: what may run here and signed by whom, when, how much, what runs now, and the last changes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ....base import heartbeat, units
from ....config.settings import KeyPlace
from ...site.grid_table import GridTable
from ...site.owner_table import OwnerTable
from .change_log import Change
from .own_files import OwnFiles, change_of
from .state_machine import StateMachine

_HELD = {
    KeyPlace.FILE: "in a file beside them, which its user alone can read",
    KeyPlace.COMMAND: "with the site's own program",
    KeyPlace.TPM: "sealed by this machine's TPM",
    KeyPlace.POOL: "with the pool, and here in memory alone: the disk by itself is worth nothing",
    "given": "in memory alone: it was given at the start",
}


@dataclass(frozen=True)
class Lender:
    """What a coordinator was told by its site and its user. `keys` are those that it trusts."""

    owner: OwnerTable
    grid: GridTable
    keys: tuple[str, ...]
    key_from: str
    """Where the key of its images comes from: a KeyPlace, or empty where it is given."""
    pool: str


def of(machine: StateMachine, now: float, lender: Lender, files: OwnFiles) -> dict[str, Any]:
    """As plain values, for `--json` and for people alike. `now` is the state machine's."""
    owner, grid = lender.owner, lender.grid
    refused = machine.why_not(now)
    terms, waiting = machine.terms, machine.pace.waiting
    return {
        "user": heartbeat.user_name(),
        "pool": lender.pool,
        "collector": waiting.pool.collector if waiting else "",
        "lent": not refused,
        "why": refused or (machine.look.why if machine.look else ""),
        "paused": machine.is_paused(now),
        "when_empty": list(owner.when_empty),
        "when_used": list(owner.when_used),
        "grace": owner.grace,
        "slots": terms.slots,
        "slot_cpus": terms.slot_cpus,
        "slot_memory": terms.slot_memory,
        "memory_left": terms.memory_left,
        "rate": grid.rate,
        "quota": terms.quota,
        "lease": terms.lease,
        "trusted_keys": list(lender.keys),
        "image_key": lender.key_from or "given",
        "locked": machine.locked,
        "images": [
            {"image": str(one.image), "size": one.size, "stage": str(one.stage), "why": one.why}
            for one in machine.holdings.here
        ],
        "vms": [
            {"vm": vm.id, "slot": vm.slot, "image": str(vm.image), "stage": str(vm.stage), "seconds": now - vm.since}
            for vm in machine.vms.values()
        ],
        "counts": dict(machine.decisions.counts),
        "changes": files.last_changes(),
    }


def lines(said: Mapping[str, Any]) -> Iterator[str]:
    """The same for people. Of a stranger's coordinator whatever it says is shown, escaped."""
    try:
        yield from _lines(said)
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError, OSError, RecursionError) as error:
        yield f"another version of the coordinator answers what this one does not understand: {error!r}"


def _lines(said: Mapping[str, Any]) -> Iterator[str]:
    state = "lent" if said["lent"] else "NOT lent"
    yield f"this machine is {state}, by user {said['user']}, to the pool of {said['pool']}: {said['why']}"
    yield f"  while nobody is logged in: {', '.join(said['when_empty']) or 'never'}"
    grace = units.duration(said["grace"])
    yield f"  while somebody is:         {', '.join(said['when_used']) or 'never'}; gone within {grace}"
    size, left = units.size(said["slot_memory"]), units.size(said["memory_left"])
    yield f"  at most {said['slots']} VMs of {said['slot_cpus']} CPUs and {size}; {left} are the owner's at any time"
    rate = f"{units.size(said['rate'])} a second" if said["rate"] else "no limit"
    quota = units.size(said["quota"]) if said["quota"] else "no limit"
    yield f"  on the line: {rate}, each way; for images on the disk: {quota}"
    yield "  only images that one of these keys has signed:"
    yield from (f"    {key}" for key in said["trusted_keys"] or ["none: so nothing runs"])
    yield f"  they lie encrypted; their key is {_HELD.get(said['image_key'], said['image_key'])}"
    if said["locked"]:
        yield f"    NOT HERE: {said['locked']}; so no image is fetched, and no VM begins"
    yield from _things(said)
    yield "the last changes:" if said["changes"] else "nothing has changed yet"
    for one in said["changes"]:
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(float(one.get("at", 0))))
        yield f"  {at}  {_change(one)}"


def _things(said: Mapping[str, Any]) -> Iterator[str]:
    yield "images here:" if said["images"] else "no image is here"
    for one in said["images"]:
        why = f": {one['why']}" if one["why"] else ""
        yield f"  {one['image']}  {units.size(one['size'])}  {one['stage']}{why}"
    yield "VMs here:" if said["vms"] else "no VM is here"
    for one in said["vms"]:
        yield f"  {one['vm']}  {one['image']}  {one['stage']}  for {units.duration(one['seconds'])}"


def _change(said: dict[str, object]) -> Change:
    return change_of(said)
