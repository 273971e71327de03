"""The guest's stand-in: a real SMB client in the session's namespaces, that remembers what it was told."""

from __future__ import annotations

import hashlib
import os
import random
import re
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path

import harness
from harness import HOST, Session

_DONE = re.compile(r"putting file \S+ as \\(\S+) \([\d.]+ kb/s\)")
_SECONDS = 60
_HURT_SECONDS = 15  # a session that can still serve does so within five, on a busy machine
_LAST_WORDS_SECONDS = 0.5  # what came in before the end is read by then
_SMB, _LISTENS = 445, "0A"  # <net/tcp_states.h>, as proc(5) has it


class Client:
    """Writes files of known content, one after the other. `acknowledged` are those of which the server said so."""

    def __init__(
        self, session: Session, sources: Path, sizes: Sequence[int], seed: int, is_hurt: Callable[[], bool]
    ) -> None:
        """`is_hurt` tells whether something was done to the session, so that it may be without a server for good."""
        self._session, self._is_hurt = session, is_hurt
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

    def is_of(self, session: Session) -> bool:
        """Whether it writes to this session's share."""
        return self._session is session

    def begin(self) -> None:
        """Write, beside whatever happens meanwhile."""
        self._thread.start()

    def wait(self) -> None:
        """Until it is done, or has nobody to talk to any more."""
        self._thread.join(2 * _SECONDS + 10)
        assert not self._thread.is_alive(), "the client hangs"

    def _write(self) -> None:
        with suppress(OSError, ValueError, AssertionError, subprocess.TimeoutExpired):
            login = ["-U", f"{self._session.account()}%{self._session.password()}"]
            call = ["smbclient", *login, f"//{HOST}/data", "-c", "; ".join(self._commands)]
            began = time.monotonic()
            while self._session.process.poll() is None and time.monotonic() - began < self._patience():
                if not self._is_served():
                    time.sleep(0.05)
                    continue
                self.said = self._called(call)
                self.acknowledged |= set(_DONE.findall(self.said)) & set(self._names)
                if not re.search("CONNECTION_REFUSED|HOST_UNREACHABLE", self.said):
                    break  # it was there, whatever became of it
                time.sleep(0.1)

    def _patience(self) -> float:
        return _HURT_SECONDS if self._is_hurt() else _SECONDS

    def _called(self, call: Sequence[str]) -> str:
        """What the client says, as soon as it is done or its session has ended: with the session goes its address.

        Then not even a reset reaches it, and it would wait for 20 s. It tells each file when it has the answer.
        """
        process = subprocess.Popen(
            self._session.within(*call), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        with ThreadPoolExecutor(1) as reading:
            said = reading.submit(process.communicate)
            deadline = time.monotonic() + _SECONDS
            while not said.done() and self._session.process.poll() is None and time.monotonic() < deadline:
                wait([said], 0.1)
            with suppress(TimeoutError):
                said.result(_LAST_WORDS_SECONDS)
            process.kill()
            return said.result()[0]

    def _is_served(self) -> bool:
        """Whether somebody listens where the server is to be: to ask costs less than to start a client in vain."""
        for pid, line in harness.descendants(self._session.process.pid).items():
            if line.split(" ")[0].endswith("dnsmasq"):
                table = Path(f"/proc/{pid}/net/tcp").read_text()
                return any(re.search(rf":{_SMB:04X} \S+ {_LISTENS} ", row) for row in table.splitlines())
        return False

    def check(self, share: Path) -> None:
        """Every acknowledged file is on the node, byte by byte; and all were, where nothing was in the way."""
        if self.undisturbed:
            missing = sorted(set(self._names) - self.acknowledged)
            assert not missing, f"nothing was done to the session, and {missing} were not acknowledged: {self.said}"
        for name in sorted(self.acknowledged):
            assert os.path.lexists(share / name), f"{name} was acknowledged, and is not there"
            digest = hashlib.sha256((share / name).read_bytes()).hexdigest()
            assert digest == self._names[name], f"{name} was acknowledged, and has other bytes"
