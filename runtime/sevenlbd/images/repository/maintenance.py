"""The maintenance of an image: a writable disk on top of a version, in a hidden folder beside it.

    NAME/.maintain/     disk.qcow2  variables.fd  child.json
    NAME/.maintaining   who is at it now (a heartbeat, see `base.heartbeat`)

It outlives the session that works on it, and whatever ended that. The version below it must stay as long as it does.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ...base import atomic, heartbeat
from ...base.errors import ExitCode, Refusal
from .. import layout, names
from . import exclusive

_SCHEMA = 1  # the record's format
_MAX_RECORD = 4096  # bytes; a guess: a record has a few hundred
# Long enough to take away the heartbeat of one who is gone; nobody waits for one who is not.
_PATIENCE = 0.5


@dataclass(frozen=True)
class MaintenanceRecord:
    """What is known of a maintenance: the version below it, since when there is one, and how its last session ended."""

    base: str
    since: float
    clean: bool
    """Whether the guest shut itself down: else its file systems are as after a power cut."""


class Maintenance:
    """The maintenance of the image whose folder is `home`. Methods raise Refusal."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = home / layout.MAINTENANCE
        self.disk = self.folder / layout.DISK
        self.variables = self.folder / layout.VARIABLES

    @contextmanager
    def held(self) -> Iterator[None]:
        """Be the only one at it, on all nodes."""
        name = self.home.name
        try:
            lasting = exclusive.by_heartbeat(self.home / layout.MAINTENANCE_MARK, _PATIENCE)
            lasting.__enter__()
        except Refusal:
            beat = heartbeat.read(self.home / layout.MAINTENANCE_MARK)
            what = f"image `{name}` is being maintained already" + (f": {beat}" if beat else "")
            raise Refusal(ExitCode.IMAGE, what, hint="wait until that has ended") from None
        except OSError as error:
            what = f"{self.home}: cannot be written to, so nothing can be maintained there: {error.strerror}"
            raise Refusal(ExitCode.RESOURCES, what, hint="do it where the repository is yours and has room") from None
        try:
            yield
        finally:
            lasting.__exit__(None, None, None)

    def record(self) -> MaintenanceRecord | None:
        """What is known of the maintenance that is there; None when there is none."""
        if not self.folder.is_dir():
            return None
        try:
            with (self.folder / layout.MAINTENANCE_RECORD).open("rb") as file:
                said = json.loads(file.read(_MAX_RECORD))
            base, since, clean = said["base"], float(said["since"]), said["clean"] is True
            names.check_version(base)
        except (OSError, ValueError, KeyError, TypeError, Refusal):
            what = f"{self.folder}: what is kept there is not whole"
            raise Refusal(ExitCode.IMAGE, what, hint=f"7lbd image maintain {self.home.name} --discard") from None
        return MaintenanceRecord(base, since, clean)

    def begin(self, base: str) -> None:
        """Make the folder for a new maintenance. Raises OSError."""
        self.folder.mkdir(mode=0o700)
        self.note(MaintenanceRecord(base, time.time(), clean=True))

    def note(self, record: MaintenanceRecord) -> None:
        """Write down what is known, in one step. Raises OSError."""
        content = json.dumps({"schema": _SCHEMA, **asdict(record)}).encode()
        atomic.replace(self.folder / layout.MAINTENANCE_RECORD, content, lasting=True)

    def discard(self) -> None:
        """Remove the maintenance: first out of sight, so that half of one is never taken for one."""
        aside = self.home / f"{layout.MAINTENANCE}-gone-{os.getpid()}"
        with suppress(FileNotFoundError):
            self.folder.rename(aside)
        for left in self.home.glob(f"{layout.MAINTENANCE}-gone-*"):
            shutil.rmtree(left, ignore_errors=True)


def base_of(home: Path) -> str:
    """The version that a maintenance lies on; empty when there is none, or none that says so."""
    with suppress(Refusal):
        record = Maintenance(home).record()
        return record.base if record else ""
    return ""
