"""The keys of a project's network: read for the session that they are for, and held by it alone.

A server throws a client off when another comes with the same certificate: so a file is one session's at a time on a
machine, by flock(2), which goes with its process.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import ExitCode, Refusal

_MOST = 64 << 10  # bytes; a guess: a chain of certificates and a key have some KiB
# RFC 7468, 3: nothing between the lines of a block is an option of OpenVPN's.
_BLOCK = re.compile(r"-----BEGIN (?P<label>[A-Z0-9 ]+)-----\r?\n(?P<body>[A-Za-z0-9+/=\r\n]+)-----END (?P=label)-----")
# openvpn --genkey: hexadecimal.
_STATIC = re.compile(
    r"-----BEGIN OpenVPN Static key V1-----\r?\n(?P<body>[0-9a-fA-F\r\n]+)-----END OpenVPN Static key V1-----"
)
_HINT = "cat NAME.crt NAME.key > FILE; chmod 0640 FILE; docs/project-network.md"


@dataclass(frozen=True)
class KeyFiles:
    """Where the credentials are: files of certificate and key, the authority's certificate, the wrapping key or ''."""

    keys: tuple[str, ...]
    ca: str
    tls_crypt: str


def credentials(key_file: str, files: KeyFiles) -> str:
    """OpenVPN's inline blocks from these files, and nothing else that stands in them. Raises Refusal."""
    text = _text(key_file)
    certificates = [block for label, block in _blocks(text) if label == "CERTIFICATE"]
    private = [block for label, block in _blocks(text) if label.endswith("PRIVATE KEY")]
    if not certificates or len(private) != 1 or "ENCRYPTED" in private[0]:
        what = f"{key_file}: is not a client's certificate with its one private key, without a passphrase (PEM)"
        raise Refusal(ExitCode.USAGE, what, hint=_HINT)
    authorities = [block for label, block in _blocks(_text(files.ca)) if label == "CERTIFICATE"]
    if not authorities:
        raise Refusal(
            ExitCode.USAGE, f"{files.ca}: has no certificate (PEM)", hint="name the authority's own: ca = ..."
        )
    inline = {"ca": authorities, "cert": certificates, "key": private}
    if files.tls_crypt:
        static = _STATIC.search(_text(files.tls_crypt))
        if not static:
            what = f"{files.tls_crypt}: is not OpenVPN's static key"
            raise Refusal(ExitCode.USAGE, what, hint="it is what the server has: openvpn --genkey tls-crypt FILE")
        inline["tls-crypt"] = [static[0]]
    return "".join(f"<{name}>\n" + "\n".join(blocks) + f"\n</{name}>\n" for name, blocks in inline.items())


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    for match in _BLOCK.finditer(text):
        yield match["label"], match[0].replace("\r", "")


def _text(path: str) -> str:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        hint = "ask the site, whose it is; the container has to show it, as the 7lbd command does below /etc/7lbd"
        raise Refusal(ExitCode.USAGE, f"{path}: cannot be read: {error.strerror}", hint=hint) from None
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Refusal(ExitCode.USAGE, f"{path}: is not a file", hint=_HINT)
        return file.read(_MOST).decode("ascii", "replace")


def check_private(path: str, shared: Sequence[str]) -> None:
    """That nobody else can read the private key: no other user, and no guest by a share. Raises Refusal."""
    real = Path(os.path.realpath(path))
    for folder in shared:
        if real.is_relative_to(folder):
            what = f"{path}: the guest could read this private key: it lies in the shared folder {folder}"
            raise Refusal(ExitCode.SHARE, what, hint="keep it elsewhere, for instance below /etc/7lbd")
    if real.stat().st_mode & stat.S_IROTH:
        what = f"{path}: everybody can read this private key"
        raise Refusal(
            ExitCode.USAGE, what, hint=f"as the site: chmod 0640 {path}, with the group of those who may join"
        )


@contextmanager
def held(files: KeyFiles) -> Iterator[str]:
    """The credentials of the first key that no other session on this machine has, which is held. Raises Refusal."""
    for path in files.keys:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        try:
            if _is_ours(descriptor):
                yield credentials(path, files)
                return
        finally:
            os.close(descriptor)
    what = f"each key of the project's network is in use by another session on this machine: {', '.join(files.keys)}"
    raise Refusal(ExitCode.RESOURCES, what, hint="end that session (7lbd status), or ask the site for one key more")


def _is_ours(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks: the server throws one of the two off, and says so
    return True
