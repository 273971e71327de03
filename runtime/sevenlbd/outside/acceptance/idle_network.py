"""The guest on the network while nobody uses it: its open ports, and what it sends, seen from inside the wall."""

from __future__ import annotations

import json

from ...base import process
from ...base.errors import visible
from .criteria.evidence import SessionRecord
from .criteria.observations import NetworkSeen
from .examined_session import ExaminedSession

# An idle hour, as the disk's growth is told by; a look at what comes at once.
_SECONDS, _QUICK_SECONDS = 3600.0, 20.0
_ALL_PORTS = "1-65535"
# Those that systems open by themselves, and ways in.
_USUAL_PORTS = ",".join(
    (
        *("21-25", "53", "80", "111", "135-139", "443", "445", "631", "2049", "2179", "3389-3390", "5040", "5353-5358"),
        *("5900-5910", "5985-5986", "6000", "7680", "8080", "49664-49675"),
    )
)
_SCAN_SECONDS = 900.0  # all ports of a guest that answers to none: 65535 times two seconds, 256 at once, and some


class IdleNetwork:
    """Ports first; then nothing is done for a while."""

    name = "an idle time on the network"
    quick = True

    def gather(self, session: ExaminedSession, record: SessionRecord) -> None:
        """Into `more`: `network`."""
        scanned = _USUAL_PORTS if session.quick else _ALL_PORTS
        seconds = _QUICK_SECONDS if session.quick else _SECONDS
        try:
            ports = _looked(session, "ports", scanned, _SCAN_SECONDS)
            sent = _looked(session, "packets", f"{seconds:.0f}", seconds + _SCAN_SECONDS)
        except (OSError, ValueError) as error:
            record.more["network"] = NetworkSeen(failure=visible(str(error)))
            return
        assert isinstance(ports, list)
        assert isinstance(sent, dict)
        record.more["network"] = NetworkSeen(scanned, tuple(ports), seconds, sent)


def _looked(session: ExaminedSession, what: str, value: str, seconds: float) -> object:
    """What a look from inside tells. Raises OSError or ValueError."""
    inside = session.helper("dnsmasq")
    if inside is None:
        raise ValueError("the session's network cannot be found")
    look = process.python("sevenlbd.outside.acceptance.inside_look", str(inside), what, value)
    done = process.run(look, seconds=seconds)
    if done.code:
        raise ValueError(f"the wall cannot be entered: {done.said.splitlines()[-1] if done.said else done.code}")
    return json.loads(done.printed)
