"""When a session is saved, and what comes of it: by its user, its page, its scheduler, or every so often."""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable
from contextlib import ExitStack, suppress

from ...base.errors import ExitCode, Refusal
from ...wire.keeper import Event
from ...wire.state import FINAL, Phase, SessionState
from ..job.leads import AFTER_GUEST_SECONDS
from .ending import Ending
from .keeper_link import KeeperLink
from .public_state import PublicState
from .suspending import Advance, Suspending, SuspendOrder


class Saves:
    """Those of one session; one at a time is written."""

    def __init__(
        self, suspending: Suspending, overlay: str, link: KeeperLink, public: PublicState, ending: Ending
    ) -> None:
        self._suspending = suspending
        self._link = link
        self._public = public
        self._ending = ending
        self._writing: asyncio.Task[int] | None = None
        self._is_machine_gone = False
        self._ending_task: asyncio.Task[None] | None = None
        self._pressed: asyncio.Task[None] | None = None
        self._checkpoints: asyncio.Task[None] | None = None
        self._leases = ExitStack()
        """On the files that it was saved into while it ran on."""
        self.overlay = overlay
        """The disk that is written to."""
        self.is_saved = False
        """Whether the file is whole and all that the session is now."""

    @property
    def state(self) -> SessionState:
        """The session's."""
        return self._public.state

    async def suspend(self, order: SuspendOrder, advance: Advance) -> str:
        """Write the desktop to a file, and end it unless it shall keep running. Returns the file's path.

        Raises Refusal; then it runs as before.
        """
        if self.state.phase is not Phase.READY:
            what = f"session {self.state.id} is {self.state.phase}, and only one that is ready can be suspended"
            raise Refusal(ExitCode.USAGE, what, hint="wait until it is: 7lbd status")
        if self._is_writing:
            what = f"session {self.state.id} is being saved already"
            raise Refusal(ExitCode.USAGE, what, hint="wait until that is done")
        target = self._suspending.check(order)
        if not order.keep_running:
            self._public.advance(Phase.SUSPENDING)
        self._writing = asyncio.create_task(self._suspending.write(order, target, self.overlay, advance))
        try:
            await self._writing
        except Refusal as refusal:
            self._failed(refusal.what)
            raise
        except asyncio.CancelledError:
            what = f"session {self.state.id} is being shut down, so it was not suspended"
            raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd status") from None
        self.state.saved = str(target)
        if kept := self._suspending.kept:
            self._public.warn(f"another session had written {target}: that file is kept as {kept}")
        if order.keep_running and self._is_machine_gone:
            raise _lost_but_saved(self.state)
        if order.keep_running:
            self._suspending.claim(target).hold_what_is_free(self._leases, self._public.warn_from_thread)
            self._link.send_go_on()
            if stood := self._suspending.stood_still:
                self._public.note(f"it is encrypted, and while it was saved it stood still for {stood:.2f} s")
            self._public.show()
        else:
            self.is_saved = True
            self.state.reason = f"suspended into {target}"
            self._end_machine()
        return str(target)

    def suspend_within(self, seconds: float, saved: Callable[[], None], stop: Callable[[str], None]) -> None:
        """Suspend for whoever wants its end; what is not done within so many seconds is told, and stopped."""
        if self.is_saved or (self._ending_task and not self._ending_task.done()):
            return

        async def suspend() -> None:
            try:
                async with asyncio.timeout(seconds):
                    if self._writing and self._is_writing:
                        await asyncio.wait([self._writing])  # it is saved beside itself, or its user suspends it
                    if not self.is_saved:
                        await self.suspend(SuspendOrder(), _nobody_watches)
                saved()
            except (Refusal, TimeoutError) as error:
                stop(f"there was no suspending within {seconds:.0f} s, so it is shut down: {error}")

        self._ending_task = asyncio.create_task(suspend())

    def suspend_from_page(self) -> None:
        """Somebody at the page wants it in its file; why it is not is shown there."""

        async def suspend() -> None:
            try:
                await self.suspend(SuspendOrder(), _nobody_watches)
            except Refusal as refusal:
                if self.state.phase not in FINAL:
                    self._public.warn(f"the page's wish to suspend: {refusal.what}")

        if self._pressed is None or self._pressed.done():
            self._pressed = asyncio.create_task(suspend())

    def save_every(self, seconds: float) -> None:
        """Until the session is over; what fails is told, and tried again the next time."""

        async def save() -> None:
            while self.state.phase not in FINAL:
                await asyncio.sleep(seconds)
                if self.state.phase is Phase.READY:
                    with suppress(Refusal):  # told by then
                        await self.suspend(SuspendOrder(keep_running=True), _nobody_watches)

        self._checkpoints = asyncio.create_task(save())

    def on_flushed(self) -> None:
        """The guest has done what it was asked to before it is held."""
        self._suspending.on_flushed()

    def on_event(self, event: Event) -> bool:
        """The keeper tells of a machine that is held, or not. Whether anybody waits for that."""
        return self._suspending.on_event(event)

    async def write_without_machine(self) -> None:
        """All that the machine was is in files out here by then, so its end is no reason to give up the newer file."""
        if self._writing and self._is_writing and self._suspending.is_held:
            self._is_machine_gone = True
            self._public.add_warning(
                "the machine ended while the desktop was written, which is written to its end all the same"
            )
            await asyncio.wait([self._writing])
            await asyncio.sleep(0)  # whoever ordered it says first what has come of it

    def cancel(self) -> None:
        """What is being written is not wanted any more."""
        if self._writing:
            self._writing.cancel()

    async def over(self) -> None:
        """The session is: no more is written, and what was is anybody's."""
        # First what is being written, once: told twice, it would not wait for the writer, which tidies up.
        if self._writing and self._is_writing:
            self._writing.cancel()
            with suppress(asyncio.CancelledError, Refusal):
                await self._writing
        if self._checkpoints:
            self._checkpoints.cancel()
        self._leases.close()

    @property
    def _is_writing(self) -> bool:
        return self._writing is not None and not self._writing.done()

    def _failed(self, why: str) -> None:
        if self._is_machine_gone:
            self._public.warn(f"the desktop was not suspended: {why}")
            return
        if self.state.phase is Phase.SUSPENDING:
            self._public.advance(Phase.READY)
        self._public.warn(f"the desktop was not suspended, and goes on: {why}")

    def _end_machine(self) -> None:
        """What it was is in the file: nobody need be asked."""
        self._ending.unwatch()
        self._link.send_stop(0.0)
        asyncio.get_running_loop().call_later(AFTER_GUEST_SECONDS, self._link.kill)


def resume_command(state: SessionState) -> str:
    """What goes on from where it was saved."""
    return f"7lbd resume {shlex.quote(state.saved)}"


def _lost_but_saved(state: SessionState) -> Refusal:
    """What is said of a session that was saved and should have run on."""
    what = f"session {state.id} ended while it was saved; {state.saved} is whole all the same"
    return Refusal(ExitCode.BROKE, what, hint=f"to go on from there: {resume_command(state)}")


def _nobody_watches(_done: int, _total: int, _what: str) -> None:
    pass
