"""A screen of a user's own computer: an X server without hardware, and the clients that show themselves on it."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import harness
from pictures import Colour, pixels_like
from PIL import Image

PICTURES = harness.REPO / "build" / "test-failures"


class Screen:
    """An Xvfb and what is shown on it."""

    def __init__(self, display: str, home: Path) -> None:
        self._environment = {"DISPLAY": display, "HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    @classmethod
    @contextmanager
    def made(cls, home: Path) -> Iterator[Screen]:
        """A new one, for clients whose home folder is `home`."""
        read, write = os.pipe()
        server = subprocess.Popen(
            # Without -noreset it begins anew when its last client goes, and the next one finds it closed meanwhile.
            ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp", "-noreset"],
            pass_fds=[write],
            stderr=subprocess.DEVNULL,
        )
        os.close(write)
        with os.fdopen(read) as pipe:
            display = f":{pipe.readline().strip()}"
        try:
            yield cls(display, home)
        finally:
            server.terminate()
            server.wait()

    @contextmanager
    def client(self, command: Sequence[str], stdin: str = "") -> Iterator[subprocess.Popen[str]]:
        """Run a client on this screen."""
        process = subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdin
        process.stdin.write(stdin)
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def shot(self, name: str) -> Image.Image:
        """What is on the screen, also kept in build/test-failures for people to look at."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        path = PICTURES / name
        subprocess.run(
            ["import", "-window", "root", str(path)], env=self._environment, check=True, timeout=harness.PATIENCE
        )
        return Image.open(path).convert("RGB")


def until_shown(screen: Screen, name: str, colour: Colour, at_least: int, seconds: float) -> Image.Image:
    """The screenshot, as soon as it shows enough of a colour, or the last one."""
    deadline = time.monotonic() + seconds
    while True:
        image = screen.shot(name)
        if pixels_like(image, colour) >= at_least or time.monotonic() > deadline:
            return image
        time.sleep(1)
