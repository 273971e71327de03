"""Runs inside the SIF, by its Python: an egress relay without a session. python -m tests.bench.way_out PORT

Plays supervisor and keeper: starts the relay with orders that allow 127.0.0.1:PORT, opens a door, hands it over. Prints
the relay's pid and the door's port; ends with its standard input.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import tempfile
from pathlib import Path

from sevenlbd.outside.egress import relay_link
from sevenlbd.outside.egress.relay.allowed import Allowed
from sevenlbd.wire.forwards import FORWARDS, Forward

HOME = "127.0.0.1"


async def main(port: int) -> None:
    """Start, hand over, wait."""
    with tempfile.TemporaryDirectory() as folder, socket.create_server((HOME, 0), backlog=128) as door:
        async with relay_link.started(Allowed(tcp=((HOME, port),)), Path(folder) / "egress.log", "bench") as relay:
            socket.send_fds(relay.theirs, [FORWARDS.pack([Forward("tcp", HOME, port)])], [door.fileno()])
            relay.theirs.send(FORWARDS.pack([]))
            print(json.dumps({"pid": relay.pid, "port": door.getsockname()[1]}), flush=True)
            await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
