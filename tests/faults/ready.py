"""Makes a session ready that has a machine without a system, by a guest that is none: stand_in.py."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType

import harness
from harness import GUEST

_STAND_IN = Path(__file__).with_name("stand_in.py")
_LEASES = "run/7lbd/dnsmasq.leases"  # inside/net/network.py
_LEASE = f"0 52:54:00:07:1b:01 {GUEST} * *\n"  # dnsmasq's manual, --dhcp-leasefile; 0: for ever
_TAP = "tap0:"  # inside/net/network.py
_SECONDS = 60.0  # a session has its network within two, on a busy machine within ten


class Guest:
    """A guest of the session below `process`: it is there from the network's begin on, and answers while this lasts.

    A probe that comes before anybody is there hangs for seconds, so it comes early; it has no address until `answer`.
    """

    def __init__(self, process: subprocess.Popen[str], pem: Path) -> None:
        self._process, self._pem = process, pem
        self._is_there = False
        self._is_over = False
        self._coming = threading.Thread(target=self._come, daemon=True)

    def __enter__(self) -> Guest:
        call = [sys.executable, "-I", str(_STAND_IN), str(self._pem)]
        pipe = subprocess.PIPE
        self._stand_in = subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True)
        self._coming.start()
        return self

    def answer(self) -> None:
        """Have an address. Raises AssertionError or OSError when the session is not there any more."""
        self._coming.join()
        assert self._is_there, "nobody stands in for the guest"
        dnsmasq = self._find(lambda pid, line: line.split(" ")[0].endswith("dnsmasq"))
        with Path(f"/proc/{dnsmasq}/root/{_LEASES}").open("a") as leases:
            leases.write(_LEASE)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer no more."""
        self._is_over = True
        self._coming.join()
        self._stand_in.kill()
        self._stand_in.communicate()

    def _come(self) -> None:
        ours = Path("/proc/self/ns/net").readlink()

        def is_in_it(pid: int, _: str) -> bool:
            place = Path(f"/proc/{pid}")
            return (place / "ns/net").readlink() != ours and _TAP in (place / "net/dev").read_text()

        if pid := self._find(is_in_it):
            assert self._stand_in.stdin
            assert self._stand_in.stdout
            with suppress(OSError):
                self._stand_in.stdin.write(f"{pid}\n")
                self._stand_in.stdin.flush()
                self._is_there = bool(self._stand_in.stdout.readline())

    def _find(self, fits: Callable[[int, str], bool]) -> int:
        """PID of a process of the session's that fits; 0 when it ends without."""
        deadline = time.monotonic() + _SECONDS
        while time.monotonic() < deadline and self._process.poll() is None and not self._is_over:
            for pid, line in harness.descendants(self._process.pid).items():
                with suppress(OSError):
                    if fits(pid, line):
                        return pid
            time.sleep(0.05)
        return 0
