"""What the page shows: every machine, every image, every kind of job, as one table of plain values.

All texts in it were shortened and freed of what a terminal or a page obeys when they came; the page shows them as text.
"""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from ..machine_report import Owner, Report, VmPhase
from ..record_limits import MOST_IMAGES
from . import codes, members
from .machine_api import PoolParts

_MOST_MACHINES = 5000  # rows of the page; a guess: nobody looks at more, and the metrics have them all


def table(parts: PoolParts) -> dict[str, Any]:
    """It reads files of the service's own."""
    rows = machines(parts)
    totals = parts.fleet.totals()
    return {
        "pool": {
            "collector": parts.workers.address.collector,
            "trust_domain": parts.workers.address.trust_domain,
            "trouble": parts.demand.trouble,
            "poll": parts.poll,
            "codes": codes.waiting(parts.place),
        },
        "totals": {
            "enrolled": len(rows),
            "here": totals.machines,
            "lending": totals.lending,
            "owners": {owner.value: totals.owners.get(owner, 0) for owner in Owner},
            "slots": totals.slots,
            "vms": {phase.value: totals.vms.get(phase, 0) for phase in VmPhase},
            "revoked": sum(bool(row["revoked"]) for row in rows),
            "evictions": sum(row["evictions"] for row in rows),
            "fetched": sum(row["fetched"] for row in rows),
            "sent": parts.throttle.sent,
            "sending": parts.throttle.streams,
        },
        "machines": rows[:_MOST_MACHINES],
        "images": _images(parts),
        "jobs": _jobs(parts),
    }


def machines(parts: PoolParts) -> list[dict[str, Any]]:
    """A row for each that is enrolled, by name. What those say who were sent away is forgotten."""
    heard = {name: (report, age, here) for name, report, age, here in parts.fleet.reports()}
    rows = []
    for member in parts.members.all():
        revoked = members.why_revoked(parts.place, member)
        if revoked:
            parts.fleet.forget(member.name)
            heard.pop(member.name, None)
        report, age, here = heard.get(member.name, (None, 0.0, False))
        rows.append(
            {
                "name": member.name,
                "address": member.address,
                "revoked": revoked,
                "seen": round(max(0.0, time.time() - member.seen), 1),
                "here": here,
                "age": round(age, 1),
                **_told(report),
            }
        )
    return rows


def _told(report: Report | None) -> dict[str, Any]:
    """What a machine said; of one that has said nothing since the service began, nothing."""
    if report is None:
        return {"owner": "", "lends": False, "slots": 0, "reason": "", "vms": [], "images": [], "evictions": 0,
                "fetched": 0, "started": 0, "failures": 0, "appliance": ""}  # fmt: skip
    return {
        "owner": report.owner.value,
        "lends": report.lends,
        "slots": report.slots,
        "reason": report.reason,
        "vms": [
            {"slot": vm.slot, "image": vm.image, "version": vm.version, "phase": vm.phase.value, "since": vm.since}
            for vm in report.vms
        ],
        "images": [{"name": one.name, "version": one.version, "whole": one.whole} for one in report.images],
        "evictions": report.evictions,
        "fetched": report.fetched,
        "started": report.started,
        "failures": report.failures,
        "appliance": report.appliance,
    }


def _images(parts: PoolParts) -> list[dict[str, Any]]:
    """What is offered, and how far it has spread; then what machines hold beside that."""
    totals, inventory = parts.fleet.totals(), parts.offers.inventory
    offered = {(image.name, image.version): image.size for image in inventory.images}
    rows = [
        {
            "name": name,
            "version": version,
            "size": size,
            "current": True,
            "copies": totals.copies.get((name, version), 0),
        }
        for (name, version), size in offered.items()
    ]
    rows += [
        {"name": name, "version": version, "size": 0, "current": False, "copies": copies}
        for (name, version), copies in sorted(totals.copies.items())
        if (name, version) not in offered
    ]
    return [*rows[:MOST_IMAGES], *({"refused": why} for why in inventory.refused)]


def _jobs(parts: PoolParts) -> list[dict[str, Any]]:
    """Idle jobs by the name of their image, and the VMs that there are for them."""
    idle = Counter[str]()
    for demand in parts.demand.last:
        idle[demand.vm_name] += demand.jobs
    vms = parts.fleet.totals().vms_of
    return [{"name": name, "idle": idle[name], "vms": vms.get(name, 0)} for name in sorted({*idle, *vms})[:MOST_IMAGES]]
