"""VMs as sessions of our own: `7lbd run --join`, read as programs read it, ended and suspended by their own sockets.

A session dies with the coordinator (prctl(2), PR_SET_PDEATHSIG): no VM is ever on a machine with nobody to watch for
its owner. For that it is started by the thread that lives as long as the coordinator. The token that lets its guest
into the pool is handed over in memory (memfd_create(2)), and is on no disk.
"""

from __future__ import annotations

import hmac
import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from ....base import process
from ....base.errors import Refusal, visible
from ....config.settings import PREFIX
from ....wire.state import Phase
from ....wire.worker_words import WorkerPhase
from ...console import printed_events
from ...folders import session_folders
from ...saved import estimate, places
from ...session import control
from ...session.suspending import SuspendOrder
from . import dirtied
from .happenings import VmClaimed, VmGone, VmNotSaved, VmReady, VmSaved
from .own_files import OwnFiles
from .pool_talk import Tell
from .stages import Vm
from .unforeseen import instead

_LAST_WORDS = 5  # lines of a session that did not begin
_GONE_SECONDS = 20.0  # a guess: a machine that is switched off is gone in one or two; a later start removes the rest
_POLL = 0.1  # seconds, as who starts a service waits for it


@dataclass(frozen=True)
class VmOrder:
    """How a VM is run. `record` is what `--join` reads."""

    vm: Vm
    repository: Path
    keys: tuple[str, ...]
    cpus: int
    memory: int
    megabits: int
    memory_left: int
    record: Mapping[str, object]
    image_key: bytes = field(default=b"", repr=False)
    """What opens its image, which lies encrypted; empty where it does not. What it is suspended into is closed by what
    comes of it: a key beside that would lie on the same disk."""


@dataclass
class _Running:
    """One that runs."""

    vm: Vm
    process: process.Piped
    stack: ExitStack
    words: list[str] = field(default_factory=list)
    saved: bool = False
    failed: bool = True
    why: str = ""


class VmSessions:
    """All sessions of one coordinator. `tell` may be called from any thread; all else is the main thread's."""

    def __init__(self, files: OwnFiles, tell: Tell, environment: Mapping[str, str]) -> None:
        self._files, self._tell = files, tell
        self._environment = _environment(environment, files)
        self._running: dict[str, _Running] = {}

    def sweep(self) -> list[str]:
        """Begin with nothing: what an earlier life has left is ended, and its folders go. Returns what ran."""
        ran = []
        for folder in session_folders.alive(self._files.sessions):
            ran.append(folder.name)
            with suppress(OSError, ValueError):
                control.send_stop(folder, now=True)
        # What dies with the coordinator does so a moment after it.
        deadline = time.monotonic() + _GONE_SECONDS
        while session_folders.alive(self._files.sessions) and time.monotonic() < deadline:
            time.sleep(_POLL)
        session_folders.remove_leftovers(self._files.sessions, failed_too=True)
        return ran

    def start(self, order: VmOrder) -> None:
        """Begin it, or go on: VmReady, and in the end VmGone or VmSaved."""
        stack = ExitStack()
        try:
            with ExitStack() as handed:  # once it has its own, none of them is open here
                descriptor = handed.enter_context(_in_memory(json.dumps(order.record).encode()))
                words, descriptors = self.words(order, f"/dev/fd/{descriptor}"), [descriptor]
                if order.image_key:
                    closes = hmac.digest(order.image_key, b"saved desktops", "sha256").hex()  # RFC 2104
                    for option, secret in (("--passphrase-file", closes), ("--image-key", order.image_key.hex())):
                        descriptors.append(handed.enter_context(_in_memory(secret.encode())))
                        words += [option, f"/dev/fd/{descriptors[-1]}"]
                    words.append("--encrypt")
                command = [*process.python("sevenlbd"), *words]
                piped = process.piped(command, environment=self._environment, pass_fds=descriptors)
                running = stack.enter_context(piped)
        except OSError as error:
            stack.close()
            self._tell(VmGone(order.vm.id, failed=True, why=f"it could not be started: {error.strerror}"))
            return
        one = self._running[order.vm.id] = _Running(order.vm, running, stack)
        assert running.stdout
        threading.Thread(target=self._watch, args=(one, running.stdout), daemon=True, name=order.vm.id).start()

    def words(self, order: VmOrder, record: str) -> list[str]:
        """The command line of our own."""
        vm = order.vm
        if vm.saved:
            words = ["resume", str(self.saved_file(vm.id))]
        else:
            words = ["run", "--image", f"{vm.image.name}@{vm.image.version}"]
            words += ["--cpus", str(order.cpus), "--memory", str(order.memory)]
        words += ["--json", "--join", record, "--background", "--background-memory", str(order.memory_left // 2)]
        words += ["--image-dir", str(order.repository), "--image-cache="]
        words += [word for key in order.keys for word in ("--signed-by", key)]
        words += ["--session-dir", str(self._files.sessions), "--state-dir", str(self._files.state_dir)]
        words += ["--name", vm.id, "--no-home-share", "--at-end", "shutdown"]
        return [*words, *(("--network-rate", str(order.megabits)) if order.megabits else ())]

    def saved_file(self, vm: str) -> Path:
        """What it is suspended into."""
        return self._files.state_dir / places.SAVED / f"{vm}{places.SUFFIX}"

    def suspend(self, vm: str) -> None:
        """VmSaved when it is off the machine, or VmNotSaved."""
        self._in_thread(vm, self._suspend)

    def suspend_seconds(self, vm: str, memory: int) -> float:
        """How long writing it would take, by what it has dirtied; it has `memory` bytes, if nobody knows more."""
        one = self._running.get(vm)
        if one is None:
            return 0.0
        written = dirtied.of(one.process.pid, self._files.sessions / vm, memory)
        return estimate.seconds(written, self._files.state_dir / places.SAVED)

    def end(self, vm: str) -> None:
        """In order."""
        self._in_thread(vm, lambda one: self._stop(one, now=False))

    def kill(self, vm: str) -> None:
        """Whatever it does: with its supervisor all behind its wall dies."""
        if one := self._running.get(vm):
            one.process.send_signal(signal.SIGKILL)

    def drop(self, vm: str) -> None:
        """Remove what it was suspended into."""
        with suppress(OSError):
            self.saved_file(vm).unlink()

    def over(self, vm: str) -> None:
        """Its session was told of as gone or saved: nothing of it stays."""
        if self._running.pop(vm, None):
            session_folders.remove_leftovers(self._files.sessions, failed_too=True)

    def close(self) -> None:
        """End all at once."""
        for vm, one in list(self._running.items()):
            self.kill(vm)
            one.process.wait()
            self.over(vm)

    def _in_thread(self, vm: str, do: Callable[[_Running], None]) -> None:
        if one := self._running.get(vm):
            threading.Thread(target=do, args=(one,), daemon=True).start()

    def _suspend(self, one: _Running) -> None:
        if why_not := instead(lambda: self._why_not_suspended(one), str):
            self._tell(VmNotSaved(one.vm.id, why_not))

    def _why_not_suspended(self, one: _Running) -> str:
        try:
            control.send_suspend(self._files.sessions / one.vm.id, SuspendOrder(), lambda _done, _total, _what: None)
        except Refusal as refusal:
            return refusal.what
        except (OSError, ValueError) as error:
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        return ""

    def _stop(self, one: _Running, *, now: bool) -> None:
        """One that does not listen yet, or not any more, is told by a signal."""
        try:
            control.send_stop(self._files.sessions / one.vm.id, now=now)
        except (OSError, ValueError):
            one.process.send_signal(signal.SIGTERM)

    def _watch(self, one: _Running, lines: Iterator[bytes]) -> None:
        """A thread's whole life: of a session that nobody hears any more there is none."""
        self._tell(instead(lambda: self._heard_out(one, lines), partial(self._unheard, one)))

    def _unheard(self, one: _Running, why: str) -> VmGone:
        one.process.send_signal(signal.SIGKILL)
        one.stack.close()  # waits for it
        return VmGone(one.vm.id, failed=True, why=why)

    def _heard_out(self, one: _Running, lines: Iterator[bytes]) -> VmSaved | VmGone:
        """All that it says, to its end."""
        with suppress(ValueError):  # the pipe was closed under us: the coordinator ends
            for said in printed_events.read(lines):
                self._hear(one, said)
        one.stack.close()  # here, as it waits for the process
        saved = one.saved and self.saved_file(one.vm.id).is_file()
        why = one.why or (one.words[-1] if one.words else "")
        return VmSaved(one.vm.id) if saved else VmGone(one.vm.id, one.failed, why)

    def _hear(self, one: _Running, said: dict[str, object] | str) -> None:
        if isinstance(said, str):
            one.words = [*one.words, said][-_LAST_WORDS:]
            return
        match said.get("event"):
            case "ready":
                self._tell(VmReady(one.vm.id))
            case "worker" if said.get("phase") in (WorkerPhase.IDLE, WorkerPhase.BUSY):
                self._tell(VmClaimed(one.vm.id, said["phase"] == WorkerPhase.BUSY))
            case "refused":
                one.why = visible(str(said.get("what")))
            case "finished":
                one.saved = said.get("phase") == Phase.SUSPENDED
                one.failed = said.get("phase") == Phase.FAILED
                one.why = visible(str(said.get("reason") or ""))


@contextmanager
def _in_memory(content: bytes) -> Iterator[int]:
    """A descriptor to read it from, for whoever inherits it."""
    descriptor = os.memfd_create("join", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)
        os.write(descriptor, content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


def _environment(environment: Mapping[str, str], files: OwnFiles) -> dict[str, str]:
    """What a session sees: no settings but the site's and those of its command line."""
    kept = {name: value for name, value in environment.items() if not name.startswith(PREFIX)}
    return kept | {"XDG_CONFIG_HOME": str(files.place / "config"), "XDG_CACHE_HOME": str(files.place / "cache")}
