"""Runs inside the SIF: python -m tests.soak.gateway_alone VISITORS SEED [https].

Hours of visitors to one gateway, in minutes. The process is that of a session; the supervisor, the guest's RDP server
and the machine's screen are stand-ins. Prints a line of JSON whenever a part of the visitors has gone, and what they
left had its time to go.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import gateway_world
from sevenlbd.inside.gateway.app import WEB
from sevenlbd.wire import tls
from sevenlbd.wire.inner_files import PRIVATE

from tests.bench import gateway_stand

from . import crowd

AT_ONCE = 20
"""More than a session's user has tabs, and fewer than there are slots."""
_SAMPLES = 40  # enough for a trend's test
_REST_SECONDS = 8.0  # connections linger for 2 s, and garbage is looked for each 5


@asynccontextmanager
async def alone(seed: int, *, https: bool = False) -> AsyncIterator[tuple[int, crowd.Place]]:
    """A gateway's process id, and how to visit it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rdp, screen = gateway_world.Rdp(), gateway_world.Vnc()
        rdp.behave, screen.flood = "flood", True
        qemu = await asyncio.start_unix_server(screen.serve, str(folder / "peer.sock"))
        with gateway_stand.started(folder, await rdp.start(), https=https) as stand:
            request = gateway_world.request_message()
            place = crowd.Place(stand.port, folder, stand.token, _pages(), request, tls=https)
            place.drawn = random.Random(seed)
            await _let_in(place)
            yield stand.pid, place
        rdp.stop()
        qemu.close()


async def _let_in(place: crowd.Place) -> None:
    """As soon as it serves."""
    while not place.cookie:
        try:
            await crowd.log_in(place)
        except (OSError, AssertionError):
            await asyncio.sleep(0.1)


def _pages() -> tuple[str, ...]:
    assets = (str(file.relative_to(WEB)) for file in sorted((WEB / "assets").rglob("*")) if file.is_file())
    return ("", "desktop", "console", "native", *assets)


def memory(pid: int) -> dict[str, float]:
    """MiB that are the process's own: of all, and of the C library's heap."""
    found, mapping = {"memory": 0.0, "heap memory": 0.0}, ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        name, *values = line.split()
        if not name.endswith(":"):
            mapping = values[-1]
        elif name == "Private_Dirty:":
            found["memory"] += int(values[0]) / 1024
            found["heap memory"] += int(values[0]) / 1024 * (mapping == "[heap]")
    return found


@contextmanager
def _certified(https: bool) -> Iterator[None]:
    if https:
        PRIVATE.mkdir(exist_ok=True)
        (PRIVATE / tls.WEB).write_bytes(gateway_world._certificate()[1])
    yield


async def _run(visitors: int, seed: int, https: bool) -> None:
    turns = -(-visitors // AT_ONCE)
    between = -(-turns // _SAMPLES)
    async with alone(seed, https=https) as (pid, place):
        for turn in range(turns):
            if turn % between == 0:
                await asyncio.sleep(_REST_SECONDS)
                found = memory(pid) | {"descriptors": len(list(Path(f"/proc/{pid}/fd").iterdir()))}
                print(json.dumps({"visitors": turn * AT_ONCE, "date": time.strftime("%Y-%m-%d"), **found}), flush=True)
            await crowd.turn(place, AT_ONCE)


def main() -> None:
    """Visit, and tell."""
    visitors, seed, https = int(sys.argv[1]), int(sys.argv[2]), "https" in sys.argv[3:]
    with _certified(https):
        asyncio.run(_run(visitors, seed, https))


if __name__ == "__main__":
    main()
