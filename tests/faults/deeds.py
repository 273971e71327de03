"""How a fault is done to a real session, and a record of what was really done: whoever is gone cannot be met."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import harness
from harness import Session

from .draws import KILL_ALL, NOTHING, READY, SAVING, TO_ONE, Fault
from .ground import Ground

WRITER = "writer"
"""Of a desktop that is saved. Who kills all of a session then waits for its file, a second after the order."""
_WORDS = {
    "apptainer": "Apptainer runtime parent", "squashfuse": "squashfuse", "supervisor": "/usr/bin/7lbd",
    "keeper": "start.py sevenlbd.inside ", "gateway": "sevenlbd.inside.gateway",
    "smbd": "sbin/smbd", "dnsmasq": "dnsmasq",
    "qemu": "qemu-system", "swtpm": "bin/swtpm", "relay": "sevenlbd.outside.egress.relay ",
    "broker": "sevenlbd.outside.egress.relay.broker", WRITER: "sevenlbd.outside.saved.writer",
}  # fmt: skip
_COMING = {
    "preparing": ("none", "preparing"),
    "booting": ("booting", "guest-up"),
    **dict.fromkeys(READY, ("guest-up", "ready")),  # this guest is ready before all of its services are
}
"""What a session says of itself while processes begin that may be met in a phase of ours."""
SAVES = ("guest-up", "ready", "suspending")
"""The same while its desktop's writer may begin."""
COMES_SECONDS = 8.0  # on a busy machine; who is not there by then does not come
_LOOK_SECONDS = 0.02  # to meet a process soon after its begin, at little cost
_LONG = 12  # times what is drawn: up to 12 s, longer than a session's processes wait for each other (5 to 10 s)
_DAY, _HALF = 86_400.0, 0.5  # seconds; the middle of what is drawn
_CHUNK = 4096  # bytes; a page, which is what a tmpfs counts in


@dataclass(frozen=True)
class Done:
    """A fault that was to be done: `missed` is why it was not, else nothing."""

    fault: Fault
    seconds: float
    """After the session's begin."""
    phase: str
    """In which the session was by its own word."""
    missed: str


class Missed(Exception):
    """There was nobody, or nothing, to do it to."""


class Victim:
    """A session, and what belongs to it alone in this round."""

    def __init__(self, session: Session, ground: Ground, sif: Path, image: Path) -> None:
        self.session, self._ground, self._sif, self._image = session, ground, sif, image
        self.record: list[Done] = []
        self._began = time.monotonic()
        self._hurts = 0

    @property
    def is_hurt(self) -> bool:
        """Whether anything was done to it, or is being done."""
        return self._hurts > 0

    def suffer(self, fault: Fault) -> None:
        """Do it when its time has come, undo it when it has an end, and write down whether it was done.

        Raises OSError for one that broke.
        """
        deeds: dict[str, Callable[[Fault], None]] = {
            "kill": self._kill, "stop": self._stop, "hang": self._hang, "stop-all": self._stop_all,
            KILL_ALL: self._kill_all,
            "sleep": self._sleep, "stamps": self._stamps, "full-disk": self._fill, "no-folder": self._no_folder,
            "no-sif": lambda _: self._remove(self._sif), "no-image": lambda _: self._remove(self._image),
            NOTHING: lambda _: None,
        }  # fmt: skip
        if fault.deed in TO_ONE:
            self._wait_for(_COMING.get(fault.phase, ()), lambda: self.pid(fault.role) is not None)
        elif fault.deed == KILL_ALL and fault.phase in SAVING:
            self._wait_for(SAVES, self._is_written)
        time.sleep(fault.after)
        when, phase, missed = time.monotonic() - self._began, self._phase(), ""
        self._hurts += fault.deed != NOTHING
        try:
            deeds[fault.deed](fault)
        except Missed as error:
            missed = str(error)
            self._hurts -= 1
        self.record.append(Done(fault, round(when, 3), phase, missed))

    def pid(self, role: str) -> int | None:
        """The process that has this role now; the keeper is the one behind the wall, the last that was forked."""
        found = [pid for pid, line in harness.descendants(self.session.process.pid).items() if _WORDS[role] in line]
        return (max(found) if role == "keeper" else min(found)) if found else None

    def _phase(self) -> str:
        phases = [str(event["phase"]) for event in list(self.session.events) if event.get("event") == "phase"]
        return phases[-1] if phases else "none"

    def _is_written(self) -> bool:
        """Whether its desktop's writer has the file open that becomes the saved desktop."""
        with suppress(OSError):
            files = Path(f"/proc/{self.pid(WRITER)}/fd").iterdir()
            return any(file.readlink().suffix == ".new" for file in files)
        return False

    def _wait_for(self, coming: Sequence[str], is_there: Callable[[], bool]) -> None:
        """Until it is there, while the session is where such a one is still to come."""
        deadline = time.monotonic() + COMES_SECONDS
        while (
            time.monotonic() < deadline
            and self._phase() in coming
            and self.session.process.poll() is None
            and not is_there()
        ):
            time.sleep(_LOOK_SECONDS)

    def _alive(self, role: str) -> int:
        pid = self.pid(role) if self.session.process.poll() is None else None
        if pid is None:
            raise Missed(f"there is no {role}")
        return pid

    def _kill(self, fault: Fault) -> None:
        _send(self._alive(fault.role), signal.SIGKILL)

    def _kill_all(self, _: Fault) -> None:
        """Every process of the session, but for who keeps its disk: that is no part of it."""
        if self.session.process.poll() is not None:
            raise Missed("the session has ended")
        for pid in harness.descendants(self.session.process.pid):
            if not self._ground.is_held_by(pid):
                with suppress(Missed):
                    _send(pid, signal.SIGKILL)

    def _stop(self, fault: Fault) -> None:
        self._hold(fault.role, fault.seconds)

    def _hang(self, fault: Fault) -> None:
        """The same for so long that it is given up."""
        self._hold(fault.role, fault.seconds * _LONG)

    def _hold(self, role: str, seconds: float) -> None:
        pid = self._alive(role)
        _send(pid, signal.SIGSTOP)
        until = time.monotonic() + seconds
        while time.monotonic() < until and Path(f"/proc/{pid}").exists():
            time.sleep(_LOOK_SECONDS)
        with suppress(Missed):  # it may have been killed meanwhile, which is the session's right
            _send(pid, signal.SIGCONT)

    def _stop_all(self, fault: Fault) -> None:
        """All of it stands still: to the session the clocks jump, as on a machine that was asleep."""
        self._stand_still(fault.seconds)

    def _sleep(self, fault: Fault) -> None:
        """The same for longer than its watchdogs and its peers wait."""
        self._stand_still(fault.seconds * _LONG)

    def _stand_still(self, seconds: float) -> None:
        if self.session.process.poll() is not None:
            raise Missed("the session has ended")
        stopped = set(harness.descendants(self.session.process.pid))
        try:
            for pid in stopped:
                with suppress(Missed):
                    _send(pid, signal.SIGSTOP)
            time.sleep(seconds)
        finally:
            for pid in stopped:
                with suppress(Missed):
                    _send(pid, signal.SIGCONT)

    def _stamps(self, fault: Fault) -> None:
        """Its files are of yesterday or of tomorrow, as when somebody sets the node's clock."""
        paths = [path for folder in self._ground.seen.glob("*") for path in (folder, *folder.rglob("*"))]
        if not paths:
            raise Missed("there is no folder")
        jumped = time.time() + (_DAY if fault.seconds > _HALF else -_DAY)
        for path in paths:
            with suppress(OSError):
                os.utime(path, (jumped, jumped), follow_symlinks=False)

    def _fill(self, fault: Fault) -> None:
        """The file system of the session's folders, to the last page."""
        disk = self._ground.disk
        if disk is None:
            raise Missed("the small disk is not there yet, or no more")
        filler = disk / "filler"
        try:
            _fill_up(filler)
            time.sleep(fault.seconds)
        finally:
            filler.unlink(missing_ok=True)

    def _no_folder(self, _: Fault) -> None:
        folders = list(self._ground.seen.glob("*"))
        if not folders:
            raise Missed("there is no folder")
        for folder in folders:
            shutil.rmtree(folder, ignore_errors=True)

    @staticmethod
    def _remove(path: Path) -> None:
        """Gone, while somebody may be making and removing in it."""
        if not path.exists():
            raise Missed(f"{path.name} is gone already")
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        raise Missed("it had just gone") from None


def _fill_up(filler: Path) -> None:
    """Write until there is no room. Raises Missed where there is no place, and OSError for all but a full disk."""
    try:
        with filler.open("wb", buffering=0) as file:
            free = max(_CHUNK, shutil.disk_usage(filler.parent).free - _CHUNK)
            with full_disk_passes():
                os.posix_fallocate(file.fileno(), 0, free)  # at once what would take long to write
            file.seek(0, os.SEEK_END)
            with full_disk_passes():
                while True:
                    file.write(bytes(_CHUNK))
    except FileNotFoundError:
        raise Missed("there is no folder to fill") from None


@contextmanager
def full_disk_passes() -> Iterator[None]:
    """Let a full disk pass, and nothing else."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
