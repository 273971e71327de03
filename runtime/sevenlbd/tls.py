"""What both sides know of TLS: the files in the session's folder, and how a certificate is shown to people."""

from __future__ import annotations

import hashlib
from pathlib import Path

FOLDER = Path("tls")
"""Below the session's folder, mode 0700, its files 0600."""
WEB = FOLDER / "web.pem"
"""The page's private key and its certificate with those that lead to its authority."""
SERVER = FOLDER / "server.pem"
"""The same for native RDP."""
AUTHORITY = FOLDER / "ca.pem"
"""Who signed the certificates of native RDP, of the server as of its only client."""
BUNDLE = FOLDER / "client.zip"
"""All that the client needs, its key too. Whoever takes it removes it."""
README = "README.txt"
"""In the bundle: how it is used."""


def server_name(session: str) -> str:
    """The name in the server's certificate that holds whatever way the client takes to it."""
    return f"7lbd-{session}"


def fingerprint(der: bytes) -> str:
    """SHA-256 of a certificate as RDP clients and browsers show it: `AA:BB:...`."""
    return hashlib.sha256(der).digest().hex(":").upper()
