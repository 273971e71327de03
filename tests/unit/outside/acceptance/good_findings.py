"""What a good guest is found to do: visits, files, disk and network, for evidence of which a test breaks one thing."""

from __future__ import annotations

from typing import Any

from sevenlbd.outside.acceptance.criteria.evidence import GuestFacts, SessionRecord
from sevenlbd.outside.acceptance.criteria.observations import NetworkSeen, SharedFiles, Visited

USABLE: dict[str, Any] = {
    "outcome": "usable",
    "network_level": True,
    "usable": 3.0,
    "codecs": {"RemoteFX": {"updates": 9, "bytes": 900}, "RDP 6 planar bitmaps": {"updates": 1, "bytes": 100}},
    "frames_per_second": 25.0,
    "marked_frames": True,
}
REFUSED = {"outcome": "refused", "kind": "log-in refused", "words": "STATUS_LOGON_FAILURE"}
FAILED = {"outcome": "failed", "kind": "general", "words": "the connection broke"}

SHARED = SharedFiles(1 << 30, "aa", "aa", 0o644, 0o755)
SEEN = {
    "drive": "/home/user1/Home",
    "dialect": "311",
    "signed": "yes",
    "read.milliseconds": "2000",
    "read.digest": "aa",
    "write.milliseconds": "4000",
    "program": "started",
}
WINDOWS_USER = SEEN | {"drive": "H:", "shell": "yes", "zone": "Intranet", "secret": "kept"}

MB = 1_000_000
DISK = {"overlay.boot": 100 * MB, "overlay.log-on": 150 * MB, "overlay.idle": 160 * MB}
TRIM = {"trim.before": 160 * MB, "trim.full": 300 * MB, "trim.after": 165 * MB}

SENT = {"tcp 169.254.100.2:445": 500, "udp 224.0.0.251:5353": 90, "arp 169.254.100.2": 9, "udp [ff02::fb]:5353": 99}


def facts_of(said: dict[str, str]) -> GuestFacts:
    return GuestFacts({name: (value,) for name, value in said.items()})


def complete(record: SessionRecord) -> None:
    """Adds all of it, of a Windows guest, to a session's record."""
    right = {"first": USABLE, "second": USABLE, "wrong": REFUSED, "after": USABLE}
    record.more |= {f"desktop.{which}": Visited(told) for which, told in right.items()}
    record.more |= {"files": SHARED, "network": NetworkSeen("1-65535", (3389,), 60.0, SENT), **DISK, **TRIM}
    record.facts["files"] = facts_of({"files.asked": "1", "dialect": "3.1.1", "signed": "yes"})
    record.facts["files_user"] = facts_of(WINDOWS_USER)
    record.facts["trim"] = facts_of({"trim.done": "free"})
