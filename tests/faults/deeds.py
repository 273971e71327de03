"""How a fault is done to a real session. Whoever is gone already cannot be met, and that is no failure."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import harness
from harness import Session

from .draws import Fault

_WORDS = {
    "apptainer": "Apptainer runtime parent", "supervisor": "/usr/bin/7lbd", "keeper": "-m sevenlbd.inside ",
    "gateway": "sevenlbd.inside.gateway", "smbd": "sbin/smbd", "dnsmasq": "dnsmasq", "qemu": "qemu-system",
}  # fmt: skip


class Victim:
    """A session, and what belongs to it alone in this round."""

    def __init__(self, session: Session, sif: Path, image: Path) -> None:
        self.session, self._sif, self._image = session, sif, image

    def suffer(self, fault: Fault) -> None:
        """Do it, and undo it when it has an end."""
        deeds: dict[str, Callable[[Fault], None]] = {
            "kill": self._kill, "stop": self._stop, "full-disk": self._fill, "no-folder": self._no_folder,
            "no-sif": lambda _: self._sif.unlink(missing_ok=True),
            "no-image": lambda _: shutil.rmtree(self._image, ignore_errors=True),
            "nothing": lambda _: None,
        }  # fmt: skip
        deeds[fault.deed](fault)

    def _pid(self, role: str) -> int | None:
        """The process that has this role now; the keeper is the one behind the wall, the last that was forked."""
        found = [pid for pid, line in harness.descendants(self.session.process.pid).items() if _WORDS[role] in line]
        return (max(found) if role == "keeper" else min(found)) if found else None

    def _kill(self, fault: Fault) -> None:
        if (pid := self._pid(fault.role)) and self.session.process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def _stop(self, fault: Fault) -> None:
        if (pid := self._pid(fault.role)) and self.session.process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                time.sleep(fault.seconds)
                os.kill(pid, signal.SIGCONT)

    def _fill(self, fault: Fault) -> None:
        """The file system of the session's folder, as its own mount namespace shows it."""
        root = Path(f"/proc/{self.session.process.pid}/root{self.session.base}")
        filler = root / "filler"
        with suppress(OSError):
            with filler.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, max(1, shutil.disk_usage(root).free - 4096))
            time.sleep(fault.seconds)
        with suppress(OSError):
            filler.unlink()

    def _no_folder(self, _: Fault) -> None:
        for folder in Path(f"/proc/{self.session.process.pid}/root{self.session.base}").glob("*"):
            shutil.rmtree(folder, ignore_errors=True)
