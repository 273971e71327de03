"""Ways out that a site of the tests allows, and a guest's side of them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from harness import HOST, Console
from siteserver import DOWN, LICENSE, LICENSE_V6, LMGRD, OTHER, PORTAL, RESOLVER, SERIAL, VENDOR

ALLOW = [
    f"tcp://license.example.edu:{LMGRD}-{DOWN}",
    f"tcp://license6.example.edu:{LMGRD}-{VENDOR}",
    f"tcp://short:{LMGRD}",
    f"udp://license.example.edu:{SERIAL}",
    f"udp://[{LICENSE_V6}]:{SERIAL}",
    "https://portal.example.edu",
    "http://*.example.edu",
    "https://*.example.edu:8000-8999",
    # What cannot be, in each of its ways.
    "tcp://gone.example.edu:1",
    *(f"tcp://{name}.example.edu:1" for name in ("loop", "meta", "node", "link")),
    "https://node.example.edu",
]
DOORS = {("tcp", LICENSE, port) for port in range(LMGRD, DOWN + 1)} | {("udp", LICENSE, SERIAL)}
DOORS |= {("tcp", LICENSE_V6, port) for port in (LMGRD, VENDOR)} | {("udp", LICENSE_V6, SERIAL)}
PROXIED = {("tcp", PORTAL, 80), ("tcp", PORTAL, 443), ("tcp", PORTAL, 8443), ("tcp", OTHER, 80), ("tcp", OTHER, 8443)}
SEEN = DOORS | PROXIED | {("udp", RESOLVER, 53)}
"""All that may ever arrive at the site's side: the node itself asks its name server."""
PROXY = f"http://{HOST}:3128"
MEGABITS = 40
ALONE = {"SEVENLBD_STATE_DIR": "off"}


def site_file(folder: Path, **settings: object) -> list[str]:
    """Options of Apptainer that give a session this site's settings."""
    path = folder / f"site-{time.monotonic_ns()}.toml"
    path.write_text("".join(f"{name} = {json.dumps(value)}\n" for name, value in settings.items()))
    return ["--bind", f"{path}:/etc/7lbd/7lbd.toml"]


@contextmanager
def folder_of_the_home(certificate: Path) -> Iterator[Path]:
    """A folder of the home that the guest sees, with the probe and the portal's certificate."""
    folder = Path.home() / f"7lbd-egress-{os.getpid()}"
    folder.mkdir()
    shutil.copy(Path(__file__).with_name("probe.py"), folder)
    shutil.copy(certificate, folder)
    yield folder
    shutil.rmtree(folder)


class Guest:
    """A guest in whose home that folder is: runs the probe."""

    def __init__(self, console: Console, folder: Path) -> None:
        self.console = console
        self.folder = f"/home/user1/Home/{folder.name}"

    def probe(self, *words: str | int, root: bool = False, timeout: float = 120) -> Any:
        """What the probe found."""
        line = shlex.join([*(["sudo"] if root else []), "python3", f"{self.folder}/probe.py", *map(str, words)])
        return json.loads(self.console.run(line, timeout=timeout))
