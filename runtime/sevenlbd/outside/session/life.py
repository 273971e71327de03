"""A session's life: its state, and what moves it: the keeper's events, signals, orders, and time.

It knows the guest only by the keeper's word.
"""

from __future__ import annotations

import asyncio
import shlex
import signal
import time
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, ExitStack, suppress
from pathlib import Path

from ...base.errors import ExitCode, Refusal, visible
from ...images import image_lock
from ...wire import shared_files, tls
from ...wire.keeper import MILESTONES, Event, EventKind
from ...wire.state import FINAL, Phase, SessionState
from ...wire.worker_words import WorkerPhase
from ..console.progress_notes import ProgressNotes
from ..egress import relay_link as egress_link
from ..egress.relay.allowed import Allowed
from ..egress.relay_link import EgressLink
from ..folders import session_folders
from ..job.leads import AFTER_GUEST_SECONDS
from ..project import standing
from . import mishap, worker_standing
from .audience import Audience
from .ending import Ending, going_now
from .guest_calls import GuestCalls
from .held_memory import Held
from .keeper_link import KeeperLink
from .memory_floor import MemoryFloor
from .preflight.prepared import Prepared
from .suspending import Advance, Suspending, SuspendOrder

# Who sends these has not asked the desktop's user.
_UNASKED = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
_SAVABLE = (Phase.READY, Phase.SUSPENDING)
_MACHINE_GONE = (EventKind.BROKE, EventKind.ENDED)
_ONE_SIGNAL_SECONDS = 1.0  # both come within milliseconds
_MAX_WARNINGS = 100  # a guess: nobody reads more, and one inside that was taken over may send any number

_MOST_OF_WORKER = 100_000  # a guess: a job every few seconds for days; one that was taken over may say any number
_MOST_TOLD = 50  # a guess: how often a job's log says that its project's network came or went


class Session:
    """One session, from the moment it is checked. Everybody who shows it is told of each change."""

    def __init__(
        self, prepared: Prepared, link: KeeperLink, state: SessionState, audience: Audience, held: Held
    ) -> None:
        """`state` is the first one; what becomes of it is the session's to say."""
        self.held = held
        plan = prepared.plan
        self._link = link
        self._loop = asyncio.get_running_loop()
        self._options = prepared.options
        self._writes_to = Path(plan.overlay).parent if plan.overlay else plan.folder
        self._identities = prepared.identities
        self._audience = audience
        self._display = audience.display
        self._signal: signal.Signals | None = None
        self._signalled_at = 0.0
        self._was_ready = False
        self._code = ExitCode.OK
        self._suspending = Suspending(prepared, link, audience.place, held)
        self._nothing_lost = _nothing_lost(prepared)
        self._writing: asyncio.Task[int] | None = None
        self._is_saved = False
        self._is_machine_gone = False
        self._ending_task: asyncio.Task[None] | None = None
        self._pressed: asyncio.Task[None] | None = None
        self._checkpoints: asyncio.Task[None] | None = None
        self._leases = ExitStack()
        """On the files that it was saved into while it ran on."""
        self.restoring: asyncio.Task[None] | None = None
        """The saved desktop is being read, before there is a machine."""
        self._progress = ProgressNotes("the saved desktop is read")
        self._project_told = 0
        self._worker_told = 0
        self.overlay = plan.overlay
        """The disk that is written to."""
        self.state = state
        self.place = audience.place
        self._ending = Ending(state.started, self._options, prepared.job.ends if prepared.job else 0.0)
        self.state.ends_at = self._ending.at
        self.guest_calls = GuestCalls(link, allowed=plan.acceptance, jobs=plan.batch is not None)
        self._floor = MemoryFloor(self._options.least_memory, self._on_low_memory)

    def show_ways_in(self, native_port: int, web_certificate: str) -> None:
        """All locks are in place: whoever looks is told what to come in by."""
        self.state.native_port = native_port
        self.state.web_certificate = web_certificate
        self.show()

    def change_locks(self, certificates: dict[str, str]) -> None:
        """Those inside serve with these from now on, and whoever was told the old key is told the new one."""
        self._link.send_new_certificates(certificates)
        self.show()

    def time_left(self) -> float:
        """Seconds until its time is up; 0 when nobody knows of a limit."""
        return max(self.state.ends_at - time.time(), 1.0) if self.state.ends_at else 0.0

    async def live(self) -> None:
        """Follow the keeper's events until the session is over."""
        self._ending.watch(self._tell_user, self._on_end)
        self._floor.watch()
        async for event in self._link.events():
            if event.kind in _MACHINE_GONE:
                await self._write_without_machine()
            self._on_event(event)
            if self.state.phase in FINAL:
                break
        else:
            await self._write_without_machine()
        self._ending.unwatch()
        self.guest_calls.over()
        self._floor.unwatch()
        # First what is being written, once: told twice, it would not wait for the writer, which tidies up.
        await self._give_up_suspending()
        if self._checkpoints:
            self._checkpoints.cancel()
        self._leases.close()
        if self._is_saved and self.state.phase not in FINAL:
            self._advance(Phase.SUSPENDED)
        elif self.state.phase is Phase.STOPPING:
            self._advance(Phase.ENDED)
        elif self.state.phase not in FINAL:
            self._fail(ExitCode.BROKE, "the keeper died", self._mishap("", ""))

    def bury(self) -> None:
        """After the end: keep what explains a failure, before the folder goes."""
        if self.state.phase is Phase.FAILED:
            with suppress(OSError):
                kept = session_folders.keep_failure(self.place)
                self._display.kept(kept)

    def exit_code(self) -> ExitCode:
        """What the whole session comes to."""
        if self._code is ExitCode.OK and self._signal and not self._was_ready:
            return ExitCode.INTERRUPTED if self._signal is signal.SIGINT else ExitCode.TERMINATED
        return self._code

    def on_signal(self, number: int) -> None:
        """Begin the end; the second time, at once.

        A Ctrl-C comes from the terminal and again from Apptainer, which passes it on: that is one signal.
        """
        now = asyncio.get_running_loop().time()
        if self._signal and now - self._signalled_at < _ONE_SIGNAL_SECONDS:
            return
        again = self._signal is not None
        if number == signal.SIGUSR1 and self.state.phase is Phase.READY and self._on_walltime():
            return
        self._signal, self._signalled_at = signal.Signals(number), now
        why, notice = f"{self._signal.name} came", self._going() if number in _UNASKED else ""
        within = max(self._options.stop_grace, self._options.evict_seconds)
        fits = 0 < self._options.suspend_seconds <= within
        if number in _UNASKED and fits and not again and self.state.phase in _SAVABLE:
            self._suspend_or_stop(why, within, notice)
        else:
            self.stop(why, now=again, notice=notice)

    def _on_walltime(self) -> bool:
        """The scheduler says that the end is near. Whether the user has still time to do something about it."""
        has_time = self._ending.hasten()
        self.state.ends_at = self._ending.at
        self.show()
        return has_time

    def _tell_user(self) -> None:
        """Tell the desktop's user when it ends, in the desktop. One that is not ready is told when it is."""
        if self.state.phase is Phase.READY and (text := self._ending.notice()):
            self._display.note(f"the desktop's user is told: {text}")
            self._link.send_notice(text)

    def _on_end(self, why: str) -> None:
        """Its time is up."""
        if self._options.suspend_seconds and self.state.phase in _SAVABLE:
            self._suspend_or_stop(why, self._options.suspend_seconds)
        else:
            self.stop(why)

    def _on_low_memory(self, why: str, now: bool) -> bool:
        """The node's memory is needed by others, and this session gives way; `now` without order.

        Returns whether it does: what its user suspends may yet go on, and is then asked again.
        """
        has_ended = self.state.phase in FINAL or self._is_saved
        if has_ended or (self.state.phase is Phase.STOPPING and not now):
            return True
        if self.state.phase is Phase.SUSPENDING and not now and not self._options.suspend_seconds:
            return False
        self.warn(why)
        if self.state.phase is not Phase.STOPPING:
            self._code = ExitCode.RESOURCES
        if self._options.suspend_seconds and self.state.phase in _SAVABLE and not now:
            self._suspend_or_stop(why, self._options.suspend_seconds, self._going())
        else:
            self.stop(why, now=now, notice=self._going())
        return True

    def _suspend_or_stop(self, why: str, within: float, notice: str = "") -> None:
        """Suspend for whoever wants its end; what is not done within so many seconds is shut down."""
        if self._is_saved or (self._ending_task and not self._ending_task.done()):
            return

        async def suspend() -> None:
            try:
                async with asyncio.timeout(within):
                    if self._writing and not self._writing.done():
                        await asyncio.wait([self._writing])  # it is saved beside itself, or its user suspends it
                    if not self._is_saved:
                        await self.suspend(SuspendOrder(), lambda _done, _total: None)
                self._code = ExitCode.SUSPENDED
            except (Refusal, TimeoutError) as error:
                self._warn(f"there was no suspending within {within:.0f} s, so it is shut down: {error}")
                self.stop(why, notice=notice)

        self._ending_task = asyncio.create_task(suspend())

    def suspend_from_page(self) -> None:
        """Somebody at the page wants it in its file; why it is not is shown there."""

        async def suspend() -> None:
            try:
                await self.suspend(SuspendOrder(), lambda _done, _total: None)
            except Refusal as refusal:
                if self.state.phase not in FINAL:
                    self.warn(f"the page's wish to suspend: {refusal.what}")

        if self._pressed is None or self._pressed.done():
            self._pressed = asyncio.create_task(suspend())

    async def _save_often(self, seconds: float) -> None:
        """Until the session is over; what fails is told, and tried again the next time."""
        while self.state.phase not in FINAL:
            await asyncio.sleep(seconds)
            if self.state.phase is Phase.READY:
                with suppress(Refusal):  # told by then
                    await self.suspend(SuspendOrder(keep_running=True), lambda _done, _total: None)

    async def suspend(self, order: SuspendOrder, advance: Advance) -> str:
        """Write the desktop to a file, and end it unless it shall keep running. Returns the file's path.

        Raises Refusal; then it runs as before.
        """
        if self.state.phase is not Phase.READY:
            what = f"session {self.state.id} is {self.state.phase}, and only one that is ready can be suspended"
            raise Refusal(ExitCode.USAGE, what, hint="wait until it is: 7lbd status")
        if self._writing and not self._writing.done():
            what = f"session {self.state.id} is being saved already"
            raise Refusal(ExitCode.USAGE, what, hint="wait until that is done")
        target = self._suspending.check(order)
        if not order.keep_running:
            self._advance(Phase.SUSPENDING)
        self._writing = asyncio.create_task(self._suspending.write(order, target, self.overlay, advance))
        try:
            await self._writing
        except Refusal as refusal:
            self._suspending_failed(refusal.what)
            raise
        except asyncio.CancelledError:
            what = f"session {self.state.id} is being shut down, so it was not suspended"
            raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd status") from None
        self.state.saved = str(target)
        if order.keep_running and self._is_machine_gone:
            raise _lost_but_saved(self.state)
        if order.keep_running:
            self._suspending.claim(target).hold_what_is_free(self._leases, self._warn_from_thread)
            self._link.send_go_on()
            self.show()
        else:
            self._is_saved = True
            self.state.reason = f"suspended into {target}"
            self._end_machine()
        return str(target)

    def _suspending_failed(self, why: str) -> None:
        if self._is_machine_gone:
            self.warn(f"the desktop was not suspended: {why}")
            return
        if self.state.phase is Phase.SUSPENDING:
            self._advance(Phase.READY)
        self.warn(f"the desktop was not suspended, and goes on: {why}")

    async def _write_without_machine(self) -> None:
        """All that the machine was is in files out here by then, so its end is no reason to give up the newer file."""
        if self._writing and not self._writing.done() and self._suspending.is_held:
            self._is_machine_gone = True
            self._warn("the machine ended while the desktop was written, which is written to its end all the same")
            await asyncio.wait([self._writing])
            await asyncio.sleep(0)  # whoever ordered it says first what has come of it

    async def _give_up_suspending(self) -> None:
        if self._writing and not self._writing.done():
            self._writing.cancel()
            with suppress(asyncio.CancelledError, Refusal):
                await self._writing

    def _end_machine(self) -> None:
        """What it was is in the file: nobody need be asked."""
        self._ending.unwatch()
        self._link.send_stop(0.0)
        asyncio.get_running_loop().call_later(AFTER_GUEST_SECONDS, self._link.kill)

    def stop(self, why: str, now: bool = False, notice: str = "") -> None:
        """Begin the stop ladder, or with `now` leap to its last rungs. May come at any time.

        A `notice` is shown to the desktop's user first.
        """
        if self.state.phase in FINAL or self._is_saved:
            return
        for task in filter(None, (self._writing, self.restoring)):
            task.cancel()
        if self.state.phase is not Phase.STOPPING:
            guest_runs = self.state.phase in (Phase.GUEST_UP, Phase.READY, Phase.SUSPENDING)
            now = now or not guest_runs
            self.state.reason = why
            self._advance(Phase.STOPPING)
        elif not now:
            return
        grace = 0.0 if now else self._options.stop_grace
        self._ending.unwatch()
        is_used = self._was_ready and self._options.end_notice
        self._link.send_stop(grace, notice if is_used else "")
        asyncio.get_running_loop().call_later(grace + AFTER_GUEST_SECONDS, self._link.kill)

    def _on_event(self, event: Event) -> None:
        match event.kind:
            case EventKind.BOOTING:
                self._step(Phase.BOOTING)
                self._check_image()
            case EventKind.MILESTONE:
                if event.text in MILESTONES:
                    self.state.milestones.setdefault(event.text, self.state.elapsed())
                    self._step(Phase.GUEST_UP)
            case EventKind.READY:
                self._step(Phase.READY)
                self._ready()
            case EventKind.CERTIFICATE if tls.is_fingerprint(event.text):
                self.state.certificate = event.text
            case EventKind.ANSWER if event.answer:
                self.guest_calls.answered(event.answer)
                return
            case EventKind.PROJECT:
                self._project(event.text)
            case EventKind.WORKER:
                self._on_worker(event.text)
            case EventKind.WARNING:
                self._warn(event.text)
            case EventKind.PAUSED:
                self.state.paused = f"{event.text}, in {self._writes_to}"
                self._display.warn(self.state.paused)
            case EventKind.RESUMED:
                self.state.paused = ""
                self._display.warn(event.text)
            case EventKind.HELD | EventKind.NOT_HELD:
                if self._suspending.on_event(event) and event.kind == EventKind.HELD and event.text:
                    self._display.note(f"the desktop is saved: {event.text}")
            case EventKind.NOT_READY:
                self._fail(ExitCode.NOT_READY, event.text, event.hint)
            case EventKind.BROKE:
                self._fail(ExitCode.BROKE, event.text, self._mishap(event.text, event.hint))
            case EventKind.ENDED:
                self._end(event.text)
        self.show()

    def _going(self) -> str:
        return going_now(in_job=bool(self.state.job))

    def _mishap(self, text: str, hint: str) -> str:
        told = mishap.hint(text, self._log_named_in(hint), in_job=bool(self.state.job))
        if self.state.saved:
            told = f"it was saved, to go on from there: {_resume(self.state)}; {told}"
        return told if self._was_ready or not self._nothing_lost else f"{self._nothing_lost}; {told}"

    def _log_named_in(self, hint: str) -> Path:
        """Where the log of what broke will be. It has a name inside that nobody outside can open."""
        return session_folders.kept_logs(self.place) / ("qemu.log" if "qemu.log" in hint else "keeper.log")

    def way_out(self, allowed: Allowed) -> AbstractAsyncContextManager[EgressLink]:
        """The relay of the guest's ways out, which is watched, and summed up at its end."""
        log_file = self.place / shared_files.LOGS / "egress.log"
        return egress_link.kept(allowed, log_file, self.state.id, self.warn, self._display.note, self._ways_out)

    def _ways_out(self, wrong: Sequence[str]) -> None:
        """What is wrong with the ways out now, for all who look; a job's log is told of each once, and of the end."""
        for text in wrong:
            if text not in self.state.ways_out:
                self._display.warn(f"ways out: {text}")
        if self.state.ways_out and not wrong:
            self._display.note("the ways out are well again")
        self.state.ways_out = list(wrong)
        self.show()

    def _project(self, text: str) -> None:
        """How the project's network stands, for all who look; a job's log is told, too."""
        standing.hear(self.state, text)
        self._project_told += 1
        if self._project_told > _MOST_TOLD:  # a server can make it come and go for ever
            return
        tell = self._display.note if self.state.project_address else self._display.warn
        tell(f"the project's network: {standing.spelled(self.state)}")

    def _on_worker(self, text: str) -> None:
        """What a guest that joins a pool says of itself. One that was never let in is of no use."""
        was_in = worker_standing.has_joined(self.state)
        if not worker_standing.hear(self.state, text):
            return
        self._worker_told += 1
        if self._worker_told <= _MOST_OF_WORKER:
            self._display.worker(self.state)
        if self.state.worker == WorkerPhase.REFUSED and not was_in:
            self._fail(
                ExitCode.NOT_READY, worker_standing.spelled(self.state), "its record (--join) is of no use there"
            )

    def tell_progress(self, done: int, total: int) -> None:
        """How far the saved desktop is read, for whoever watches the start."""
        if text := self._progress.told(done, total):
            self._display.note(text)

    def warn(self, text: str) -> None:
        """A warning that comes of itself."""
        self._warn(text)
        self.show()

    def _warn_from_thread(self, text: str) -> None:
        with suppress(RuntimeError):  # too late is not at all
            self._loop.call_soon_threadsafe(self.warn, text)

    def _warn(self, text: str) -> None:
        if len(self.state.warnings) < _MAX_WARNINGS:
            self.state.warnings.append(visible(text))
            self._display.warn(text)

    def _check_image(self) -> None:
        """QEMU has opened the files by their names: they must still be those that were checked."""
        try:
            image_lock.check_unchanged(self._identities)
        except Refusal as refusal:
            self._fail(refusal.code, refusal.what, refusal.hint)

    def _step(self, phase: Phase) -> None:
        """A step forward on the keeper's word; one that comes late (after a stop, say) changes nothing."""
        order = [Phase.PREPARING, Phase.BOOTING, Phase.GUEST_UP, Phase.READY]
        if self.state.phase not in order or order.index(phase) != order.index(self.state.phase) + 1:
            return
        self._advance(phase)

    def _ready(self) -> None:
        if self.state.phase is Phase.READY and not self._was_ready:
            self._was_ready = True
            self._display.ready(self.state)
            if self._options.checkpoint_every:
                self._checkpoints = asyncio.create_task(self._save_often(self._options.checkpoint_every))
            self._tell_user()
            if self._options.exit_when_ready:
                self.stop("the desktop was ready, which was all that was asked for")

    def _end(self, why: str) -> None:
        self.state.end = why
        if self._is_saved:
            self._advance(Phase.SUSPENDED)
            return
        if self.state.phase is not Phase.STOPPING:
            self.state.reason = worker_standing.parting(self.state) or why
            self._advance(Phase.STOPPING)
        self._advance(Phase.ENDED)

    def _fail(self, code: ExitCode, reason: str, hint: str) -> None:
        if self._is_saved or self.state.phase is Phase.STOPPING:
            self._advance(Phase.SUSPENDED if self._is_saved else Phase.ENDED)
            return
        self._code = code
        self.state.reason, self.state.hint = reason, hint
        self._advance(Phase.FAILED)

    def _advance(self, phase: Phase) -> None:
        self.state.advance(phase)
        self.show()

    def show(self) -> None:
        """Let everybody who looks see the state as it is."""
        self._audience.show(self.state)


def _lost_but_saved(state: SessionState) -> Refusal:
    """What is said of a session that was saved and should have run on."""
    what = f"session {state.id} ended while it was saved; {state.saved} is whole all the same"
    return Refusal(ExitCode.BROKE, what, hint=f"to go on from there: {_resume(state)}")


def _resume(state: SessionState) -> str:
    return f"7lbd resume {shlex.quote(state.saved)}"


def _nothing_lost(prepared: Prepared) -> str:
    """What to say if it does not come to run; empty of one that goes on from nothing."""
    if prepared.resume is None or prepared.savable is None:
        return ""
    written_by, here = prepared.resume.facts.machine.qemu, prepared.savable.facts.machine.qemu
    return mishap.nothing_lost(prepared.resume.source, written_by, here)
