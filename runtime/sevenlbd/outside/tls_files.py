"""The session's certificates: made and checked by a child process, so that its library's memory goes with it.

No private key passes through here; the child writes them into the session's folder itself.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import ExitCode, Refusal
from ..messages import NativeTls
from ..process import finish, python

LONGEST = 7 * 86400.0
"""Seconds that a session's certificates last at most; a longer session has to renew them."""
_BEYOND = 3600.0
# The clock of the user's computer may be behind the node's by this much.
_BEFORE = 3600.0


@dataclass(frozen=True)
class Made:
    """What the caller may show of the page's certificate. `web` is its SHA-256 fingerprint, empty when there is none."""

    web: str
    expires: float
    """When the first certificate that was made or checked runs out, in seconds since the epoch."""


async def make(
    folder: Path,
    *,
    session: str,
    account: str,
    names: Sequence[str],
    seconds: float,
    web: bool,
    native: NativeTls | None,
) -> Made:
    """Make the session's own certificates in `folder`/tls: for the page, and for RDP over mutual TLS with its bundle.

    `names` are host names and addresses of this node; `seconds` is what the session has left, 0 when nobody knows.
    What was there of the same kind is replaced, and worth nothing from then on. Raises RuntimeError.
    """
    now = time.time()
    order = {
        "folder": str(folder),
        "session": session,
        "account": account,
        "names": list(names),
        "begins": now - _BEFORE,
        "ends": now + min(seconds + _BEYOND if seconds else LONGEST, LONGEST),
        "web": web,
        "native": asdict(native) if native else None,
    }
    return await _ask("make", order)


async def check(certificate: Path, key: Path) -> Made:
    """Check a certificate chain and its key (PEM) that somebody else has made for the page. Raises Refusal."""
    return await _ask("check", {"certificate": str(certificate), "key": str(key)})


async def adopt(certificate: Path, key: Path, folder: Path) -> Made:
    """Check them and copy them to `folder`/tls/web.pem, where the gateway looks. Raises Refusal."""
    return await _ask("adopt", {"certificate": str(certificate), "key": str(key), "folder": str(folder)})


async def _ask(verb: str, order: dict[str, object]) -> Made:
    printed = await finish(python("sevenlbd.outside.certificates", verb), stdin=json.dumps(order).encode())
    answer = json.loads(printed.splitlines()[-1])
    if "refused" in answer:
        raise Refusal(ExitCode.USAGE, answer["refused"], hint=answer["hint"])
    return Made(**answer)
