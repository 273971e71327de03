"""Whether an RDP server answers, and the certificate that it shows: a connection's first bytes, and no more."""

from __future__ import annotations

import asyncio
import ssl

# MS-RDPBCGR 2.2.1.1: TPKT, X.224 Connection Request, RDP_NEG_REQ for TLS, CredSSP and CredSSP-EX.
_X224_REQUEST = bytes.fromhex("03000013 0e e0 0000 0000 00 01 00 0800 0b000000")
_TPKT_VERSION, _X224_CONFIRM = 3, 0xD0


async def certificate(address: str, port: int, seconds: float = 10.0) -> bytes:
    """The certificate (DER) that the RDP server shows once a connection is upgraded to TLS.

    It is what a client will see; nobody vouches for it but that we asked in here, where only the guest answers.
    Raises OSError (TimeoutError, ssl.SSLError among them) or EOFError. Source: MS-RDPBCGR 5.4.5, external security.
    """
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(_X224_REQUEST)
            header = await reader.readexactly(4)
            confirm = await reader.readexactly(max(0, int.from_bytes(header[2:]) - len(header)))
            if header[0] != _TPKT_VERSION or confirm[1:2] != bytes([_X224_CONFIRM]):
                raise ConnectionRefusedError("that is no RDP server")
            await writer.start_tls(_anybody())
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
    return bytes(shown)


def _anybody() -> ssl.SSLContext:
    """Guests sign their certificates themselves."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    # An older Windows' self-made certificate is what is asked about, not judged.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


async def answers(address: str, port: int, seconds: float = 5.0) -> bool:
    """Whether an RDP server confirms a connection: an open port alone says nothing (Windows opens it early)."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(_X224_REQUEST)
                confirm = await reader.readexactly(6)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return confirm[0] == _TPKT_VERSION and confirm[5] == _X224_CONFIRM
