"""What the guest's RDP server shows now, asked through the session's own socket as a client does."""

from __future__ import annotations

import socket
from pathlib import Path

from cryptography import x509

from ...wire import rdp_hello, tls
from .criteria.evidence import Certificate

_CONFIRM_BYTES = 19  # the confirm with its RDP_NEG_RSP (2.2.1.2); one without has no TLS to offer
_SECONDS = 20.0  # under emulation a handshake takes some of them


def shown(path: Path) -> Certificate:
    """The certificate that the server behind this socket shows. Raises OSError or ValueError."""
    with socket.socket(socket.AF_UNIX) as wire:
        wire.settimeout(_SECONDS)
        wire.connect(str(path))
        wire.sendall(rdp_hello.REQUEST)
        confirm = wire.recv(_CONFIRM_BYTES, socket.MSG_WAITALL)
        if len(confirm) < _CONFIRM_BYTES:
            raise ConnectionRefusedError("the RDP server offers no TLS")
        with rdp_hello.anybody().wrap_socket(wire) as secured:
            der = secured.getpeercert(binary_form=True)
    if not der:
        raise ConnectionRefusedError("the RDP server shows no certificate")
    parsed = x509.load_der_x509_certificate(der)
    begins, ends = parsed.not_valid_before_utc.timestamp(), parsed.not_valid_after_utc.timestamp()
    return Certificate(tls.fingerprint(der), begins, ends)
