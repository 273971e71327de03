"""Runs inside the SIF: the gateway's WebSockets, which say back what they are told. python -m ... [unlimited]

`bridge.Socket` shakes hands with the gateway's own options, `server.serve` serves, and what goes out as binary is
framed by `bridge.Far`, as the guest's bytes are, up to the most that a guest sends at once. Only the guest is missing.
`unlimited` takes away the limit on a message's size, for the cases of the suite that are larger than that on purpose.
"""

from __future__ import annotations

import asyncio
import socket
import sys

from aiohttp import WSMsgType, web
from sevenlbd.inside.gateway import bridge, limits
from sevenlbd.inside.gateway.gate import Gate
from sevenlbd.inside.gateway.server import Listener, serve
from sevenlbd.inside.gateway.traffic import Traffic


async def echo(request: web.BaseRequest) -> web.StreamResponse:
    """Until the client has gone, or aiohttp has closed it for what it did."""
    protocol, near = request.protocol, request.transport
    assert isinstance(protocol, limits.Guarded)
    assert near
    protocol.begin()
    protocol.trust()
    try:
        accepted = await bridge.Socket.accept(request, lambda: None)
        far = bridge.Far()
        far.begin(near, Traffic())
        async for message in accepted.ws:
            if message.type is WSMsgType.TEXT:
                await accepted.ws.send_str(message.data)
            elif message.type is WSMsgType.BINARY and not await _as_the_guest(far, near, message.data):
                await accepted.ws.send_bytes(message.data)
        await accepted.close(1000, "")
        return accepted.ws
    finally:
        protocol.finish()


async def _as_the_guest(far: bridge.Far, near: asyncio.Transport, data: bytes) -> bool:
    """Send what the guest may send at once; False when it is more."""
    room = far.get_buffer(len(data))
    if len(data) > len(room):
        return False
    room[: len(data)] = data
    far.buffer_updated(len(data))
    while near.get_write_buffer_size():
        await asyncio.sleep(0.001)
    return True


async def main() -> None:
    """Serve on a port of the kernel's choice, and print it."""
    if sys.argv[1:] == ["unlimited"]:
        bridge.MAX_MESSAGE = 0
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)
        gate = Gate(lambda asked: None, ("127.0.0.1", 1))
        await serve(web.Server(echo), gate, [Listener(listener)])


if __name__ == "__main__":
    asyncio.run(main())
