"""A coordinator as a process of its own, whose clock, owner and pool are a test's: coordinator_process.py FOLDER.

Its clock stands, but for what the files in FOLDER say: `step` is by how many seconds each look moves it, `jump` by how
many it is moved. So a day takes as many looks as in life, and none of them waits. `ahead` says how far it is, `people`
who is logged in. Its VMs are there at once, and have a job; they leave when they are told, unless `stays` is there.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from sevenlbd.config import sources
from sevenlbd.config.settings import Settings
from sevenlbd.outside.cli.command import CommandContext
from sevenlbd.outside.grid import membership
from sevenlbd.outside.grid.client import PoolClient
from sevenlbd.outside.grid.coordinator import service as services
from sevenlbd.outside.grid.coordinator.happenings import VmClaimed, VmGone, VmReady
from sevenlbd.outside.grid.coordinator.own_files import OwnFiles
from sevenlbd.outside.grid.coordinator.owner_look import OwnerLook
from sevenlbd.outside.grid.coordinator.service import Pool, Service
from sevenlbd.outside.grid.coordinator.vm_sessions import VmOrder, VmSessions
from sevenlbd.outside.owner.lending import Person, Seen

GIB = 1 << 30


class MovedClock:
    """The process's own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stepped = 0.0
        self._boot, self._wall = time.clock_gettime(time.CLOCK_BOOTTIME), time.time()
        time.clock_gettime = lambda _: self._boot + self.ahead
        time.time = lambda: self._wall + self.ahead

    def _said(self, name: str) -> float:
        with suppress(OSError, ValueError):
            return float((self._folder / name).read_text())
        return 0.0

    @property
    def ahead(self) -> float:
        return self._stepped + self._said("jump")

    def look(self) -> None:
        """Once for each of the coordinator's."""
        self._stepped += self._said("step")
        (self._folder / "ahead.new").write_text(str(self.ahead))
        (self._folder / "ahead.new").rename(self._folder / "ahead")


class PlayedSessions(VmSessions):
    """VMs without a machine."""

    folder: Path

    def start(self, order: VmOrder) -> None:
        for told in (VmReady(order.vm.id), VmClaimed(order.vm.id, claimed=True)):
            self._tell(told)

    def end(self, vm: str) -> None:
        if not (self.folder / "stays").exists():
            self.kill(vm)

    def kill(self, vm: str) -> None:
        self._tell(VmGone(vm, failed=False))


def main(folder: Path) -> None:
    moved = MovedClock(folder)

    def looked() -> tuple[Seen, datetime]:
        moved.look()
        people = [Person(name) for name in (folder / "people").read_text().split()]
        return Seen(people, memory=64 * GIB), datetime.fromtimestamp(time.time(), UTC)

    here = sources.Places(str(folder / "7lbd.sif"), (folder / "7lbd.toml",), None, {})
    context = SimpleNamespace(here=here, settings=Settings(state_dir=str(folder / "state")))
    place = membership.folder(str(folder / "state"), {})
    files, client = OwnFiles(place), PoolClient(place, seconds=20)
    services._LOOK_SECONDS = 0.005
    pool = Pool(client, client.member.machine, client.member.url)
    life = Service(cast(CommandContext, context), files, pool, OwnerLook(here, looked))
    sessions = PlayedSessions(files, life._queue.put, {})
    sessions.folder = folder
    life._sessions = sessions
    life.run()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
