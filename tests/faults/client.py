"""The guest's stand-in: a real SMB client in the session's namespaces, that remembers what it was told."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from harness import HOST, Session

_DONE = re.compile(r"putting file \S+ as \\(\S+) \([\d.]+ kb/s\)")
_SECONDS = 60


class Client:
    """Writes files of known content, one after the other. `acknowledged` are those of which the server said so."""

    def __init__(self, session: Session, sources: Path, sizes: Sequence[int], seed: int) -> None:
        self._session = session
        self._names: dict[str, str] = {}
        self._commands: list[str] = []
        drawn = random.Random(seed)
        for number, size in enumerate(sizes):
            content = drawn.randbytes(size)
            name = f"f{seed}-{number}"
            (sources / name).write_bytes(content)
            self._names[name] = hashlib.sha256(content).hexdigest()
            self._commands.append(f"put {sources / name} {name}")
        self.acknowledged: set[str] = set()
        self.undisturbed = False
        """Whether it came to its end without a fault: set by whoever knows."""
        self.said = ""
        self._thread = threading.Thread(target=self._write, daemon=True)

    def begin(self) -> None:
        """Write, beside whatever happens meanwhile."""
        self._thread.start()

    def wait(self) -> None:
        """Until it is done, or has nobody to talk to any more."""
        self._thread.join(_SECONDS + 10)
        assert not self._thread.is_alive(), "the client hangs"

    def _write(self) -> None:
        with suppress(OSError, ValueError, AssertionError, subprocess.TimeoutExpired):
            login = ["-U", f"{self._session.account()}%{self._session.password()}"]
            call = ["smbclient", *login, f"//{HOST}/data", "-c", "; ".join(self._commands)]
            deadline = time.monotonic() + _SECONDS
            while time.monotonic() < deadline and self._session.process.poll() is None:
                done = self._session.inside(*call, timeout=_SECONDS)
                self.said = done.stdout + done.stderr
                self.acknowledged |= set(_DONE.findall(self.said)) & set(self._names)
                if not re.search("CONNECTION_REFUSED|HOST_UNREACHABLE", self.said):
                    break  # it was there, whatever became of it
                time.sleep(0.1)

    def check(self, share: Path) -> None:
        """Every acknowledged file is on the node, byte by byte; and all were, where nothing was in the way."""
        if self.undisturbed:
            missing = sorted(set(self._names) - self.acknowledged)
            assert not missing, f"nothing was done to the session, and {missing} were not acknowledged: {self.said}"
        for name in sorted(self.acknowledged):
            assert os.path.lexists(share / name), f"{name} was acknowledged, and is not there"
            digest = hashlib.sha256((share / name).read_bytes()).hexdigest()
            assert digest == self._names[name], f"{name} was acknowledged, and has other bytes"
