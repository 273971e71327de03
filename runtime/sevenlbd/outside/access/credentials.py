"""Who may come in: the session's password and the tokens of its page. Kept in a file that goes with the session."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import string
from dataclasses import asdict, dataclass
from pathlib import Path

from ...base import atomic, foreign_files
from ..folders.session_folders import CREDENTIALS

_MAX_FILE = 64 << 10  # bytes; a guess: a password and a token for each role have a few hundred
_PASSWORD_LENGTH = 24  # of 62 characters: 142 bits
ROLES = ("desktop", "console", "status")
"""What a token opens: all; the machine's screen and the status; the status alone."""


@dataclass(frozen=True)
class Credentials:
    """Secrets of one session. `tokens` has 256 random bits for each role."""

    account: str
    password: str
    share_user: str
    tokens: dict[str, str]

    def renewed(self) -> Credentials:
        """The same with new tokens: the guest's password stays."""
        return Credentials(self.account, self.password, self.share_user, new_tokens())

    def digests(self) -> dict[str, str]:
        """What the gateway needs to know a token when it comes: SHA-256, in hex."""
        return {role: hashlib.sha256(token.encode()).hexdigest() for role, token in self.tokens.items()}

    def write(self, folder: Path) -> None:
        """Into the session's folder, mode 0600, in one step. Raises OSError."""
        atomic.replace(folder / CREDENTIALS, json.dumps(asdict(self)).encode())


def new_tokens() -> dict[str, str]:
    """A fresh token for each role: `k` and base32 (RFC 4648) in lower case, which shells and YAML leave alone."""
    return {role: _token() for role in ROLES}


def _token() -> str:
    return "k" + base64.b32encode(secrets.token_bytes(32)).decode().rstrip("=").lower()


def new_password() -> str:
    """24 random letters and digits, with one of each kind that Windows' complexity rule asks for."""
    letters = string.ascii_letters + string.digits
    while True:
        password = "".join(secrets.choice(letters) for _ in range(_PASSWORD_LENGTH))
        if all(set(password) & set(kind) for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits)):
            return password


def new_disk_key() -> str:
    """256 random bits, as text: what QEMU opens a disk with has to be UTF-8."""
    return secrets.token_hex(32)


def account_name(user: str) -> str:
    """A user's name as SMB and Windows take it: `DOM\\user.name@x` becomes `user.name`."""
    plain = user.rsplit("\\", 1)[-1].split("@", 1)[0]
    return re.sub(r"[^A-Za-z0-9._-]", "_", plain).strip(".-")[:20] or "user"


def read(folder: Path) -> Credentials:
    """The secrets of a session. Raises OSError or ValueError when it has ended or is only just beginning."""
    try:
        return Credentials(**json.loads(foreign_files.read(folder, CREDENTIALS, _MAX_FILE)))
    except (TypeError, RecursionError) as error:
        raise ValueError(f"{folder / CREDENTIALS}: {error}") from error
