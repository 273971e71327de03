"""What both sides know of TLS: the files, and how a certificate is shown to people.

They are made outside, in the session's folder. What is served with inside crosses as text, into the private tmpfs.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

FOLDER = Path("tls")
"""Below the session's folder outside, below the private tmpfs inside; mode 0700, its files 0600."""
WEB = FOLDER / "web.pem"
"""The page's private key and its certificate with those that lead to its authority."""
SERVER = FOLDER / "server.pem"
"""The same for native RDP."""
AUTHORITY = FOLDER / "ca.pem"
"""Who signed the certificates of native RDP, of the server as of its only client."""
BUNDLE = FOLDER / "client.zip"
"""All that the client needs, its key too. Whoever takes it removes it."""
SERVED = (WEB, SERVER, AUTHORITY)
"""Those that cross."""
MOST = 48 << 10
"""Bytes that one of them may have: the plan that they cross with is one message. Our own have a twentieth of it."""
README = "README.txt"
"""In the bundle: how it is used."""


def is_fingerprint(text: str) -> bool:
    """Whether it is one as `fingerprint` makes it: it is put into lines that people paste into a shell."""
    return re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", text) is not None


def server_name(session: str) -> str:
    """The name in the server's certificate that holds whatever way the client takes to it."""
    return f"7lbd-{session}"


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate as RDP clients and browsers show it: `AA:BB:...`."""
    return hashlib.sha256(der).digest().hex(":").upper()
