"""A session's life: its state, and what moves it: the keeper's events, signals, orders, and time.

It knows the guest only by the keeper's word.
"""

from __future__ import annotations

import asyncio
import signal
import time
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...images import image_lock
from ...wire import shared_files, tls
from ...wire.keeper import MILESTONES, Event, EventKind
from ...wire.state import FINAL, Phase, SessionState
from ...wire.worker_words import WorkerPhase
from ..egress import relay_link as egress_link
from ..egress.relay.allowed import Allowed
from ..egress.relay_link import EgressLink
from ..folders import session_folders
from ..job.leads import AFTER_GUEST_SECONDS
from . import mishap, worker_standing
from .audience import Audience
from .ending import Ending, going_now
from .guest_calls import GuestCalls
from .held_memory import Held
from .keeper_link import KeeperLink
from .memory_floor import MemoryFloor
from .preflight.prepared import Prepared
from .public_state import PublicState
from .saves import Saves, resume_command
from .suspending import Suspending

# Who sends these has not asked the desktop's user.
_UNASKED = {signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1}
_SAVABLE = (Phase.READY, Phase.SUSPENDING)
_MACHINE_GONE = (EventKind.BROKE, EventKind.ENDED)
_ONE_SIGNAL_SECONDS = 1.0  # both come within milliseconds


class Session:
    """One session, from the moment it is checked. Everybody who shows it is told of each change."""

    def __init__(
        self, prepared: Prepared, link: KeeperLink, state: SessionState, audience: Audience, held: Held
    ) -> None:
        """`state` is the first one; what becomes of it is the session's to say."""
        self.held = held
        plan = prepared.plan
        self._link = link
        self._options = prepared.options
        self._writes_to = Path(plan.overlay).parent if plan.overlay else plan.folder
        self._identities = prepared.identities
        self._display = audience.display
        self._signal: signal.Signals | None = None
        self._signalled_at = 0.0
        self._was_ready = False
        self._code = ExitCode.OK
        self._nothing_lost = _nothing_lost(prepared)
        self.restoring: asyncio.Task[None] | None = None
        """The saved desktop is being read, before there is a machine."""
        self.state = state
        self.public = PublicState(state, audience)
        self.place = audience.place
        self._ending = Ending(state.started, self._options, prepared.job.ends if prepared.job else 0.0)
        self.state.ends_at = self._ending.at
        self.saves = Saves(
            Suspending(prepared, link, audience.place, held), plan.overlay, link, self.public, self._ending
        )
        self.guest_calls = GuestCalls(link, allowed=plan.acceptance, jobs=plan.batch is not None)
        self._floor = MemoryFloor(self._options.least_memory, self._on_low_memory)

    def show_ways_in(self, native_port: int, web_certificate: str) -> None:
        """All locks are in place: whoever looks is told what to come in by."""
        self.state.native_port = native_port
        self.state.web_certificate = web_certificate
        self.public.show()

    def change_locks(self, certificates: dict[str, str]) -> None:
        """Those inside serve with these from now on, and whoever was told the old key is told the new one."""
        self._link.send_new_certificates(certificates)
        self.public.show()

    def time_left(self) -> float:
        """Seconds until its time is up; 0 when nobody knows of a limit."""
        return max(self.state.ends_at - time.time(), 1.0) if self.state.ends_at else 0.0

    async def live(self) -> None:
        """Follow the keeper's events until the session is over."""
        self._ending.watch(self._tell_user, self._on_end)
        self._floor.watch()
        async for event in self._link.events():
            if event.kind in _MACHINE_GONE:
                await self.saves.write_without_machine()
            self._on_event(event)
            if self.state.phase in FINAL:
                break
        else:
            await self.saves.write_without_machine()
        self._ending.unwatch()
        self.guest_calls.over()
        self._floor.unwatch()
        await self.saves.over()
        if self.saves.is_saved and self.state.phase not in FINAL:
            self.public.advance(Phase.SUSPENDED)
        elif self.state.phase is Phase.STOPPING:
            self.public.advance(Phase.ENDED)
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
        self.public.show()
        return has_time

    def _tell_user(self) -> None:
        """Tell the desktop's user when it ends, in the desktop. One that is not ready is told when it is."""
        if self.state.phase is Phase.READY and (text := self._ending.notice()):
            self.public.note(f"the desktop's user is told: {text}")
            self._link.send_notice(text)

    def _on_end(self, why: str) -> None:
        """Its time is up."""
        if self._ending.suspend_seconds and self.state.phase in _SAVABLE:
            self._suspend_or_stop(why, self._ending.suspend_seconds)
        else:
            self.stop(why)

    def _on_low_memory(self, why: str, now: bool) -> bool:
        """The node's memory is needed by others, and this session gives way; `now` without order.

        Returns whether it does: what its user suspends may yet go on, and is then asked again.
        """
        has_ended = self.state.phase in FINAL or self.saves.is_saved
        if has_ended or (self.state.phase is Phase.STOPPING and not now):
            return True
        if self.state.phase is Phase.SUSPENDING and not now and not self._options.suspend_seconds:
            return False
        self.public.warn(why)
        if self.state.phase is not Phase.STOPPING:
            self._code = ExitCode.RESOURCES
        if self._options.suspend_seconds and self.state.phase in _SAVABLE and not now:
            self._suspend_or_stop(why, self._options.suspend_seconds, self._going())
        else:
            self.stop(why, now=now, notice=self._going())
        return True

    def _suspend_or_stop(self, why: str, within: float, notice: str = "") -> None:
        """Suspend for whoever wants its end; what is not done within so many seconds is shut down."""

        def saved() -> None:
            self._code = ExitCode.SUSPENDED

        def stop(trouble: str) -> None:
            self.public.add_warning(trouble)
            self.stop(why, notice=notice)

        self.saves.suspend_within(within, saved, stop)

    def stop(self, why: str, now: bool = False, notice: str = "") -> None:
        """Begin the stop ladder, or with `now` leap to its last rungs. May come at any time.

        A `notice` is shown to the desktop's user first.
        """
        if self.state.phase in FINAL or self.saves.is_saved:
            return
        self.saves.cancel()
        if self.restoring:
            self.restoring.cancel()
        if self.state.phase is not Phase.STOPPING:
            guest_runs = self.state.phase in (Phase.GUEST_UP, Phase.READY, Phase.SUSPENDING)
            now = now or not guest_runs
            self.state.reason = why
            self.public.advance(Phase.STOPPING)
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
                self.public.step(Phase.BOOTING)
                self._check_image()
            case EventKind.MILESTONE:
                if event.text == "flushed":
                    self.saves.on_flushed()
                if event.text in MILESTONES:
                    self.state.milestones.setdefault(event.text, self.state.elapsed())
                    self.public.step(Phase.GUEST_UP)
            case EventKind.READY:
                self.public.step(Phase.READY)
                self._ready()
            case EventKind.CERTIFICATE if tls.is_fingerprint(event.text):
                self.state.certificate = event.text
            case EventKind.ANSWER if event.answer:
                self.guest_calls.answered(event.answer)
                return
            case EventKind.PROJECT:
                self.public.project(event.text)
            case EventKind.WORKER:
                self._on_worker(event.text)
            case EventKind.WARNING:
                self.public.add_warning(event.text)
            case EventKind.PAUSED:
                self.public.paused(f"{event.text}, in {self._writes_to}")
            case EventKind.RESUMED:
                self.public.resumed(event.text)
            case EventKind.HELD | EventKind.NOT_HELD:
                if self.saves.on_event(event) and event.kind == EventKind.HELD and event.text:
                    self.public.note(f"the desktop is saved: {event.text}")
            case EventKind.NOT_READY:
                self._fail(ExitCode.NOT_READY, event.text, event.hint)
            case EventKind.BROKE:
                self._fail(ExitCode.BROKE, event.text, self._mishap(event.text, event.hint))
            case EventKind.ENDED:
                self._end(event.text)
        self.public.show()

    def _going(self) -> str:
        return going_now(in_job=bool(self.state.job))

    def _mishap(self, text: str, hint: str) -> str:
        told = mishap.hint(text, self._log_named_in(hint), in_job=bool(self.state.job))
        if self.state.saved:
            told = f"it was saved, to go on from there: {resume_command(self.state)}; {told}"
        return told if self._was_ready or not self._nothing_lost else f"{self._nothing_lost}; {told}"

    def _log_named_in(self, hint: str) -> Path:
        """Where the log of what broke will be. It has a name inside that nobody outside can open."""
        return session_folders.kept_logs(self.place) / ("qemu.log" if "qemu.log" in hint else "keeper.log")

    def way_out(self, allowed: Allowed) -> AbstractAsyncContextManager[EgressLink]:
        """The relay of the guest's ways out, which is watched, and summed up at its end."""
        log_file = self.place / shared_files.LOGS / "egress.log"
        return egress_link.kept(
            allowed, log_file, self.state.id, self.public.warn, self.public.note, self.public.ways_out
        )

    def _on_worker(self, text: str) -> None:
        """One that was never let in is of no use."""
        was_in = worker_standing.has_joined(self.state)
        if self.public.worker(text) and self.state.worker == WorkerPhase.REFUSED and not was_in:
            self._fail(
                ExitCode.NOT_READY, worker_standing.spelled(self.state), "its record (--join) is of no use there"
            )

    def _check_image(self) -> None:
        """QEMU has opened the files by their names: they must still be those that were checked."""
        try:
            image_lock.check_unchanged(self._identities)
        except Refusal as refusal:
            self._fail(refusal.code, refusal.what, refusal.hint)

    def _ready(self) -> None:
        if self.state.phase is Phase.READY and not self._was_ready:
            self._was_ready = True
            self._display.ready(self.state)
            if self._options.checkpoint_every:
                self.saves.save_every(self._options.checkpoint_every)
            self._tell_user()
            if self._options.exit_when_ready:
                self.stop("the desktop was ready, which was all that was asked for")

    def _end(self, why: str) -> None:
        self.state.end = why
        if self.saves.is_saved:
            self.public.advance(Phase.SUSPENDED)
            return
        if self.state.phase is not Phase.STOPPING:
            self.state.reason = worker_standing.parting(self.state) or why
            self.public.advance(Phase.STOPPING)
        self.public.advance(Phase.ENDED)

    def _fail(self, code: ExitCode, reason: str, hint: str) -> None:
        if self.saves.is_saved or self.state.phase is Phase.STOPPING:
            self.public.advance(Phase.SUSPENDED if self.saves.is_saved else Phase.ENDED)
            return
        self._code = code
        self.state.reason, self.state.hint = reason, hint
        self.public.advance(Phase.FAILED)


def _nothing_lost(prepared: Prepared) -> str:
    """What to say if it does not come to run; empty of one that goes on from nothing."""
    if prepared.resume is None or prepared.savable is None:
        return ""
    written_by, here = prepared.resume.facts.machine.qemu, prepared.savable.facts.machine.qemu
    return mishap.nothing_lost(prepared.resume.source, written_by, here)
