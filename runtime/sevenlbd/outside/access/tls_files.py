"""The session's certificates: made and checked by a child process, so that its library's memory goes with it.

The child writes them into the session's folder itself. Only what is served with inside passes through here.
"""

from __future__ import annotations

import errno
import io
import json
import os
import secrets
import shutil
import time
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ...base import foreign_files
from ...base.errors import ExitCode, Refusal
from ...base.process import finish, python
from ...wire import tls
from ...wire.gateway import NativeTls

LONGEST = 7 * 86400.0
"""Seconds that a session's certificates last at most; a longer session has to renew them."""
_BEYOND = 3600.0  # seconds; a session may end late, and the clock of the user's computer be ahead
_MAX_BUNDLE = 64 << 10  # bytes; a guess: a few certificates and keys in PEM, some KiB each
# The clock of the user's computer may be behind the node's by this much.
_BEFORE = 3600.0


@dataclass(frozen=True)
class Made:
    """What may be shown of what was made or checked."""

    web: str
    """SHA-256 fingerprint of the page's certificate, empty when none was asked for."""
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

    `names` are host names and addresses of this node; `seconds` is what the session has left, 0 when nobody knows;
    the first of `native.hosts` is the one that the client is told. What was there of the same kind is replaced, and
    worth nothing from then on. Raises OSError.
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
    """Check them and copy them to `folder`/tls/web.pem, where the gateway looks. Raises Refusal or OSError."""
    return await _ask("adopt", {"certificate": str(certificate), "key": str(key), "folder": str(folder)})


async def _ask(verb: str, order: dict[str, object]) -> Made:
    printed = await finish(python("sevenlbd.outside.access.certificates", verb), stdin=json.dumps(order).encode())
    answer = json.loads(printed.splitlines()[-1])
    if "errno" in answer:
        raise OSError(answer["errno"], answer["strerror"], answer["filename"])
    if "refused" in answer:
        raise Refusal(ExitCode.USAGE, answer["refused"], hint=answer["hint"])
    return Made(**answer)


def served(folder: Path) -> dict[str, str]:
    """What those inside serve with, as it is in the session's folder. Raises OSError."""
    certificates = {}
    for name in tls.SERVED:
        with suppress(FileNotFoundError):
            certificates[str(name)] = foreign_files.read(folder, name, tls.MOST).decode("ascii")
    return certificates


class Gone(Exception):
    """The client's bundle was taken before."""


@contextmanager
def taken(folder: Path) -> Iterator[bytes]:
    """Take the bundle of a session's folder: for good, if what is done with it goes well. Raises Gone or OSError.

    The file is renamed, which only one of many takers can do.
    """
    mine = folder / tls.FOLDER / f".taken-{secrets.token_hex(4)}"
    try:
        (folder / tls.BUNDLE).rename(mine)
    except FileNotFoundError:
        raise Gone from None
    try:
        yield foreign_files.read(mine.parent, mine.name, _MAX_BUNDLE)
    except BaseException:
        with suppress(OSError):
            mine.rename(folder / tls.BUNDLE)
        raise
    mine.unlink(missing_ok=True)


def unpack(packed: bytes, folder: Path) -> None:
    """Into a new folder, 0700, its files 0600. Raises OSError, and leaves nothing then."""
    folder.mkdir(mode=0o700)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            for name in archive.namelist():
                if Path(name).name != name:
                    raise OSError(errno.EINVAL, "the bundle has a file that belongs elsewhere", name)
                descriptor = os.open(folder / name, flags, 0o600)
                with os.fdopen(descriptor, "wb") as file:
                    file.write(archive.read(name))
    except OSError:
        shutil.rmtree(folder, ignore_errors=True)
        raise
