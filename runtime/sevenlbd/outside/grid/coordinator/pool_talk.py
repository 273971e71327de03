"""What is asked of the pool's service, in a thread of its own: who waits for a network must not keep the owner waiting.

Also the files of images are had here. Whatever the service or the line does becomes one happening with one reason.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Protocol

from ....base.errors import Refusal
from ..client import MachineBarred, PoolDeclined, PoolGone, PoolNotNow
from ..machine_report import Report
from ..protocol import Images, OfferedImage, Waiting, WorkerOrder, WorkerPass
from .happenings import Happening, ImagesTold, KeyTold, NoPass, PoolSilent, PoolTold
from .unforeseen import instead

type Tell = Callable[[Happening], None]


class PoolService(Protocol):
    """What a coordinator needs of it: a `PoolClient`. Every method raises Refusal."""

    def waiting(self) -> Waiting:
        """What is wanted."""

    def images(self) -> Images:
        """What is offered."""

    def report(self, report: Report) -> object:
        """What we do."""

    def worker(self, order: WorkerOrder) -> WorkerPass:
        """A token for one VM."""

    def file(self, image: OfferedImage, name: str, begin: int, end: int, ticket: str) -> Iterator[bytes]:
        """Bytes of a file."""


class PoolTalk:
    """All that goes to the service and comes from it."""

    def __init__(self, service: PoolService, tell: Tell, unlock: Callable[[], None] | None = None) -> None:
        """With `unlock`, which raises Refusal, the key of the images comes from the pool: tried until it has come."""
        self._service, self._tell, self._unlock = service, tell, unlock
        self._jobs: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._listed = ""
        self._ticket = ""
        self._lock = threading.Lock()
        threading.Thread(target=self._work, daemon=True, name="pool").start()

    def ask(self, report: Report) -> None:
        """Say what we do and hear what is wanted: PoolTold and, when it has changed, ImagesTold before that."""
        self._jobs.put(lambda: self._tell(instead(lambda: self._asked(report), PoolSilent)))

    def pass_for(self, vm: str, order: WorkerOrder, done: Callable[[WorkerPass | NoPass], None]) -> None:
        """A token for a VM, or why there is none; in this thread."""
        self._jobs.put(lambda: done(instead(lambda: self._pass_for(vm, order), partial(NoPass, vm))))

    def get(self, image: OfferedImage, name: str, begin: int, end: int) -> Iterator[bytes]:
        """Bytes of a file, in the caller's thread. A ticket that is over is replaced once. Raises Refusal."""
        with self._lock:
            ticket = self._ticket
        try:
            yield from self._service.file(image, name, begin, end, ticket)
            return
        except (MachineBarred, PoolNotNow):  # an expired one is a conflict (members.py): it was good once
            fresh = self._new_ticket(ticket)
        yield from self._service.file(image, name, begin, end, fresh)

    def _new_ticket(self, old: str) -> str:
        with self._lock:
            if self._ticket == old:
                self._ticket = self._service.images().ticket
            return self._ticket

    def _work(self) -> None:
        while True:
            self._jobs.get()()

    def _have_key(self) -> None:
        """Before all else, as nothing else is of use without it. Raises PoolGone and MachineBarred."""
        if not self._unlock:
            return
        try:
            self._unlock()
        except PoolGone:
            raise
        except MachineBarred as barred:
            self._tell(KeyTold(barred.what))
            raise
        except Refusal as refusal:
            self._tell(KeyTold(refusal.what))
        else:
            self._unlock = None

    def _asked(self, report: Report) -> PoolTold | PoolSilent:
        try:
            self._have_key()
            waiting = self._service.waiting()
            if waiting.images != self._listed:
                images = self._service.images()
                with self._lock:
                    self._ticket = images.ticket
                self._tell(ImagesTold(images.images))
                self._listed = waiting.images
            self._report(report)
            return PoolTold(waiting)
        except MachineBarred as barred:
            return PoolSilent(barred.what, final=True)
        except PoolGone as gone:
            return PoolSilent(gone.what, after=gone.after)
        except Refusal as refusal:
            return PoolSilent(refusal.what)

    def _report(self, report: Report) -> None:
        """Nobody waits for it: one that is declined changes nothing."""
        with suppress(PoolDeclined):
            self._service.report(report)

    def _pass_for(self, vm: str, order: WorkerOrder) -> WorkerPass | NoPass:
        try:
            return self._service.worker(order)
        except Refusal as refusal:
            return NoPass(vm, refusal.what, enough=isinstance(refusal, PoolNotNow))
