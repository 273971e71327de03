"""A session is suspended: its machine held, written to a file by a process of its own, and ended or let go on.

Nothing is lost on the way: what fails before the file is whole and on disk lets the guest go on.
"""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...wire import shared_files
from ...wire.keeper import Event, EventKind
from ...wire.plan import Plan
from ..saved import claims, estimate, places, saving
from ..saved.claims import Claim
from ..saved.facts import Lock, Secrets
from ..saved.messages import Write
from . import held_memory
from .held_memory import Held
from .keeper_link import KeeperLink
from .preflight.prepared import NO_FOLDER, NO_KEY, ON_NVME, Prepared

LOG = shared_files.LOGS / "saved.log"
"""What the processes that write and read say, if anything; never seen inside."""
_BLOCK = 512  # bytes; of st_blocks (stat(2))
_LOOK_SECONDS = 0.25  # as of the writer's own words (saved/worker.py)


Advance = Callable[[int, int, str], None]
"""Hears how far it is: so many bytes of so many, and of what, where that is not yet the file."""


@dataclass(frozen=True)
class SuspendOrder:
    """What somebody wants. `target` is empty for the usual place."""

    target: str = ""
    keep_running: bool = False
    recipients: tuple[str, ...] = ()
    lock: Lock | None = None
    """The passphrase that shall open it, and no key."""


class Suspending:
    """The means of one session to be suspended."""

    def __init__(self, prepared: Prepared, link: KeeperLink, place: Path, held: Held) -> None:
        self._prepared = prepared
        self._link = link
        self._place = place
        self._memory = held
        self._held: asyncio.Future[None] | None = None
        self.stood_still = 0.0
        """Seconds that the machine stood still while the last file was written, of one that cannot be saved live."""
        self.kept = ""
        """Where another session's file is now that lay where the last one was written; empty when none did."""
        self._known: dict[Path, str] = {}
        """What this session has read or written, by path: digests of headers."""
        if (order := prepared.resume) and not prepared.copied:
            self._known[Path(order.source)] = order.digest
        self._used = 0
        """Bytes of memory and disk that were no holes, the last time."""
        self._began = 0.0

    @property
    def is_held(self) -> bool:
        """Whether the machine has left all that it is in the session's files, and they are being written."""
        held = self._held
        return held is not None and held.done() and not held.cancelled() and held.exception() is None

    def check(self, order: SuspendOrder) -> Path:
        """The file that it will be. Raises Refusal when this session cannot be suspended."""
        savable, guest = self._prepared.savable, self._prepared.plan.guest
        if savable is None or self._prepared.plan.lasting or self._prepared.plan.freeze:
            raise Refusal(ExitCode.USAGE, "a session that makes an image cannot be suspended", hint="7lbd stop")
        if self._prepared.plan.batch:
            what = "a session for commands cannot be suspended: the one that it runs would be lost"
            raise Refusal(ExitCode.USAGE, what, hint="wait for its end; or 7lbd stop")
        if guest.disk_bus == "nvme":
            raise Refusal(ExitCode.IMAGE, ON_NVME, hint='`disk_bus = "virtio"` or "scsi", with the driver in the guest')
        if not (savable.folder or order.recipients or self._lock(order)):
            hint = "start the session with --state-dir DIR; or --to FILE and --passphrase"
            raise Refusal(ExitCode.USAGE, NO_KEY, hint=hint)
        if not savable.folder and not (order.target or savable.target):
            raise Refusal(ExitCode.USAGE, NO_FOLDER, hint="--to FILE")
        usual = savable.target or Path(savable.folder) / f"{self._prepared.plan.session}{places.SUFFIX}"
        target = Path(order.target or usual)
        claims.check_not_anothers(target)
        return target

    def _lock(self, order: SuspendOrder) -> Lock | None:
        """What was opened with a passphrase is closed with it again, unless somebody says how else."""
        usual = self._prepared.savable.lock if self._prepared.savable else None
        return order.lock or (None if order.recipients else usual)

    def claim(self, target: Path) -> Claim:
        """What this session says of a file that it was saved into, when it runs on."""
        prepared, savable = self._prepared, self._prepared.savable
        assert savable is not None, "check has seen to that"
        folder = Path(savable.folder) if savable.folder else None
        job = prepared.job.job if prepared.job else ""
        return Claim(target, prepared.plan.session, savable.facts.desktop, folder, job=job)

    async def write(self, order: SuspendOrder, target: Path, overlay: str, advance: Advance) -> int:
        """Hold the machine and write it; returns the file's size. It still stands when this is done.

        Raises Refusal when it could not be written; then it runs.
        """
        savable = self._prepared.savable
        assert savable is not None, "check has seen to that"
        # The memory of an encrypted one is read where the machine has it: it stands still until that is done.
        live = order.keep_running and not self._prepared.plan.encrypted
        wanted = Write(
            target=str(target),
            folder=str(self._place),
            overlay=str(self._place / shared_files.CHECKPOINT) if live else overlay,
            facts=savable.facts,
            secrets=_secrets(self._prepared.plan),
            layers=savable.layers,
            memory=savable.memory,
            keys=savable.folder,
            recipients=order.recipients,
            lock=self._lock(order),
            in_memory=held_memory.told(self._memory),
            known=self._known.get(target, ""),
        )
        if not order.target and savable.folder:
            places.made(Path(savable.folder))
        try:
            async with saving.writer(wanted, self._place / LOG) as worker:
                self._began = time.monotonic()
                with self._told_of_state(advance):
                    await self._hold(live=live)
                held = time.monotonic()
                try:
                    size = await saving.write(worker, self._measured(advance))
                    self._known[target], self.kept = worker.digest, worker.kept
                    if savable.folder and self._used:
                        estimate.remember(Path(savable.folder), self._used, time.monotonic() - self._began)
                    self.stood_still = 0.0 if live else time.monotonic() - held
                    return size
                except BaseException:
                    self._link.send_go_on()
                    raise
        except BaseException:
            # One that was killed could not tidy up.
            places.remove_interrupted(target.parent)
            raise
        finally:
            self._held = None

    def _measured(self, advance: Advance) -> saving.Advance:
        def told(done: int, total: int) -> None:
            self._used = total
            advance(done, total, "")

        return told

    @contextmanager
    def _told_of_state(self, advance: Advance) -> Iterator[None]:
        """While QEMU writes the machine's state, what is there of it is told: with much memory that takes minutes."""
        path, most = self._place / shared_files.STATE, self._prepared.plan.guest.memory

        async def look() -> None:
            while True:
                await asyncio.sleep(_LOOK_SECONDS)
                with suppress(OSError):  # of an encrypted one there is no such file, and little to wait for
                    advance(min(path.lstat().st_blocks * _BLOCK, most), most, "the guest's memory")

        looking = asyncio.create_task(look())
        try:
            yield
        finally:
            looking.cancel()

    async def _hold(self, *, live: bool) -> None:
        """Have the machine's state written. Raises Refusal when it is not."""
        self._held = asyncio.get_running_loop().create_future()
        self._link.send_hold(live=live)
        try:
            await self._held
        except asyncio.CancelledError:
            self._link.send_go_on()
            raise

    def on_flushed(self) -> None:
        """The guest has written what it holds, and ended its work: that takes its time whatever the disk is like."""
        self._began = time.monotonic()

    def on_event(self, event: Event) -> bool:
        """The keeper tells how it went. Whether anybody waits for that."""
        if self._held is None or self._held.done():
            return False
        if event.kind == EventKind.HELD:
            self._held.set_result(None)
        else:
            hint = "it goes on; the session's logs/qemu.log has more"
            if any(os.strerror(number) in event.text for number in (errno.ENOSPC, errno.EDQUOT)):
                hint = f"it goes on. What it uses of its memory has to find room in {self._place} for a moment"
            self._held.set_exception(Refusal(ExitCode.RESOURCES, event.text, hint=hint))
        return True


async def restored(prepared: Prepared, folder: Path, held: Held, advance: saving.Advance) -> None:
    """Fill the session's files from the saved desktop that it goes on from. Raises Refusal."""
    assert prepared.resume is not None, "only a session that goes on is restored"
    order = replace(prepared.resume, folder=str(folder), in_memory=held_memory.told(held))
    await saving.restore(order, folder / LOG, advance)


def _secrets(plan: Plan) -> Secrets:
    return Secrets(password=plan.password, share_user=plan.user, disk_key=plan.disk_key)
