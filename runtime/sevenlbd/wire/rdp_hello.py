"""The first words of an RDP connection, by which both sides ask a guest's server for no more than its certificate."""

from __future__ import annotations

import ssl

# MS-RDPBCGR 2.2.1.1: TPKT, X.224 Connection Request, RDP_NEG_REQ for TLS, CredSSP and CredSSP-EX.
REQUEST = bytes.fromhex("03000013 0e e0 0000 0000 00 01 00 0800 0b000000")


def anybody() -> ssl.SSLContext:
    """TLS with whoever answers: guests sign their certificates themselves. What is shown is asked about, not judged."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # An older Windows' own, too.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context
