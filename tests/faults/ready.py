"""Makes a session ready that has a machine without a system, by a guest that is none: stand_in.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

from harness import GUEST, Session

_STAND_IN = Path(__file__).with_name("stand_in.py")
_LEASES = "run/7lbd/dnsmasq.leases"  # inside/net/network.py
_LEASE = f"0 52:54:00:07:1b:01 {GUEST} * *\n"  # dnsmasq's manual, --dhcp-leasefile; 0: for ever


class Guest:
    """A guest that answers while this lasts."""

    def __init__(self, session: Session, pem: Path) -> None:
        self._session, self._pem = session, pem

    def __enter__(self) -> Guest:
        """Raises AssertionError or OSError when the session is not there any more."""
        dnsmasq = self._session.pid_of("dnsmasq")
        with Path(f"/proc/{dnsmasq}/root/{_LEASES}").open("a") as leases:
            leases.write(_LEASE)
        call = [sys.executable, "-I", str(_STAND_IN), str(dnsmasq), str(self._pem)]
        self._process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._process.stdout
        if not self._process.stdout.readline():
            self.__exit__(None, None, None)
            raise AssertionError("nobody stands in for the guest")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Answer no more."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()
