"""Whether an RDP server answers, and the certificate that it shows: a connection's first bytes, and no more."""

from __future__ import annotations

import asyncio

from ...wire import rdp_hello

_TPKT_VERSION, _X224_CONFIRM = 3, 0xD0  # RFC 1006, 6; X.224, 13.4


async def certificate(address: str, port: int, seconds: float = 10.0) -> bytes:
    """The certificate (DER) that the RDP server shows once a connection is upgraded to TLS.

    It is what a client will see; nobody vouches for it but that we asked in here, where only the guest answers.
    Raises OSError (TimeoutError, ssl.SSLError among them) or EOFError. Source: MS-RDPBCGR 5.4.5, external security.
    """
    async with asyncio.timeout(seconds):
        reader, writer = await asyncio.open_connection(address, port)
        try:
            writer.write(rdp_hello.REQUEST)
            header = await reader.readexactly(4)
            confirm = await reader.readexactly(max(0, int.from_bytes(header[2:]) - len(header)))
            if header[0] != _TPKT_VERSION or confirm[1:2] != bytes([_X224_CONFIRM]):
                raise ConnectionRefusedError("that is no RDP server")
            await writer.start_tls(rdp_hello.anybody())
            shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
    return bytes(shown)


async def answers(address: str, port: int, seconds: float = 5.0) -> bool:
    """Whether an RDP server confirms a connection: an open port alone says nothing (Windows opens it early)."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_connection(address, port)
            try:
                writer.write(rdp_hello.REQUEST)
                confirm = await reader.readexactly(6)
            finally:
                writer.close()
    except (OSError, TimeoutError, asyncio.IncompleteReadError):
        return False
    return confirm[0] == _TPKT_VERSION and confirm[5] == _X224_CONFIRM
