"""The virtual machine: launched, watched and stopped over QMP. Its life is a ladder; clean-up is the last rung."""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

from qemu.qmp import EventListener, QMPClient, QMPError

from ...base import syscalls
from ...base.process import spawn
from ...wire import shared_files
from ...wire.inner_files import PRIVATE
from ...wire.plan import Plan
from ..init.root import OVERLAY, SESSION, WARM_STATE
from . import checkpoint, migration, qemu, qmp_link, stall
from .agent import Agent, AgentError
from .migration import MachineError

FROZEN_STATE, KEPT_VARIABLES = SESSION / shared_files.STATE, SESSION / shared_files.VARIABLES
_LOG = SESSION / shared_files.QEMU_LOG
_ROOM_TO_RESUME = 256 << 20  # bytes; a guess: with less the guest would stand still again at once
_QUIT_SECONDS = 5.0  # for QEMU to write what it holds of its disks
_LAST_EVENT_SECONDS, _LAST_EVENT_POLL = 2.0, 0.02  # the event is in the socket already, and read in milliseconds
_KEY_PRESSES = 180  # one a second; firmware takes some ten seconds under emulation, on a busy node more
# Bytes. A boot manager with its fonts has about 4 MiB; of a memory disk, hundreds are read before its system runs.
_READ_IN_EARNEST = 64 << 20


Tell = Callable[[str], None]


class Machine:
    """A running QEMU and its QMP connection."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        qmp: QMPClient,
        agent: Agent,
        warn: Tell,
        *,
        lasting: bool = False,
        below: str = "",
        memory_is_held: bool = False,
    ) -> None:
        """`below` is the node that the disk stands on; memory that is held outside, too, is not written."""
        self._process = process
        self._lasting = lasting
        self._below = below
        self._memory_is_held = memory_is_held
        self._qmp = qmp
        self._warn = warn
        self.agent = agent
        self._waits_for_room = False
        self._is_held = False
        """It is written out, so nothing but `go_on` may let it run: its disk would be of another moment."""
        self._resuming: asyncio.Task[None] | None = None
        # From the first moment on: a guest may be gone before anybody watches.
        self._events = EventListener(("SHUTDOWN", "BLOCK_IO_ERROR", "GUEST_PANICKED"))
        qmp.register_listener(self._events)
        self.shutdown_reason = ""
        """QEMU's ShutdownCause once it has come, for instance `guest-shutdown`."""

    async def watch(self, tell_pause: Tell, tell_resume: Callable[[], None]) -> str:
        """Follow QMP's events until QEMU is gone. Returns why it ended; raises MachineError if it crashed.

        While the overlay has no room the guest stands still; it goes on by itself when there is some.
        """
        events_seen = asyncio.create_task(self._on_events(self._events, tell_pause, tell_resume))
        try:
            code = await self._process.wait()
            if not code:
                await self._last_event()
            if self._lasting:
                self._keep_variables()
        finally:
            events_seen.cancel()
        if code or not self.shutdown_reason:
            raise MachineError(f"QEMU ended with {_spell(code)}{_last_words(_LOG)}")
        return self.shutdown_reason

    def _keep_variables(self) -> None:
        """Before the end is told: nobody waits for us after that."""
        try:
            _leave_variables()
        except OSError as error:
            self._warn(f"the machine's UEFI variables could not be kept: {error.strerror}")

    async def _last_event(self) -> None:
        """The reason of an orderly end may still be on its way when QEMU is gone."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_EVENT_SECONDS):
                while not self.shutdown_reason:
                    await asyncio.sleep(_LAST_EVENT_POLL)

    async def _on_events(self, events: EventListener, tell_pause: Tell, tell_resume: Callable[[], None]) -> None:
        async for event in events:
            reported = event["data"]
            data = reported if isinstance(reported, dict) else {}
            if event["event"] == "SHUTDOWN":
                self.shutdown_reason = str(data.get("reason"))
            elif event["event"] == "BLOCK_IO_ERROR" and data.get("nospace") and not self._waits_for_room:
                self._waits_for_room = True
                tell_pause("no space left for what the guest writes: it stands still until there is room")
                self._resuming = asyncio.create_task(self._resume_when_room(tell_resume))
            elif event["event"] == "GUEST_PANICKED":
                self._warn("the guest's system has crashed")

    async def _resume_when_room(self, tell_resume: Callable[[], None]) -> None:
        while self._is_held or shutil.disk_usage(OVERLAY).free < _ROOM_TO_RESUME:
            await asyncio.sleep(1)
        # Before the guest goes on: its very next write may find the disk full again.
        self._waits_for_room = False
        tell_resume()
        await self._qmp.execute("cont")

    async def freeze(self) -> None:
        """Stop the machine for good and leave its devices and memory in the session's folder. Raises MachineError.

        The memory is in its file already: only the devices' state is written (QEMU, docs/devel/migration).
        """
        await migration.freeze(self._qmp, FROZEN_STATE)
        _leave_variables()

    async def hold(self) -> None:
        """Stop the machine and leave all of it in the session's folder; on failure it runs on.

        Raises MachineError or OSError.
        """
        self._is_held = True
        try:
            await migration.hold(self._qmp, FROZEN_STATE, with_memory=not self._memory_is_held)
        except BaseException:
            self._is_held = False
            raise
        try:
            _leave_variables()
        except OSError:
            await self.go_on()
            raise

    async def save_running(self) -> float:
        """Leave all of the machine in the session's folder, as it is at one moment; it runs when this is done.

        Returns for how many seconds it stood still. Raises MachineError or OSError.
        """
        disk = checkpoint.DiskCopy(SESSION / shared_files.CHECKPOINT, self._below)
        self._is_held = True
        try:
            return await checkpoint.save(self._qmp, FROZEN_STATE, disk, _leave_variables)
        finally:
            self._is_held = False

    async def go_on(self) -> None:
        """Let a machine that was held run again; what was written of it is given up. Raises MachineError."""
        self._is_held = False
        await migration.go_on(self._qmp)
        for path in (FROZEN_STATE, SESSION / shared_files.CHECKPOINT):
            os.truncate(path, 0)

    async def idle(self, share: float, seconds: float) -> None:
        """Return when QEMU has used less than `share` of a CPU for `seconds` on end."""
        quiet_since: float | None = None
        loop = asyncio.get_running_loop()
        before, at = _cpu_seconds(self._process.pid), loop.time()
        while quiet_since is None or loop.time() - quiet_since < seconds:
            await asyncio.sleep(1)
            used, now = _cpu_seconds(self._process.pid), loop.time()
            if (used - before) / (now - at) > share:
                quiet_since = None
            elif quiet_since is None:
                quiet_since = at
            before, at = used, now

    async def press_keys(self) -> None:
        """Press a key each second until more than a boot loader has been read from the first drive.

        The key is one that does nothing on a page of an installation or in a menu: a space would open
        that of Windows' boot manager, which waits for ever.
        """
        before: int | None = None
        for _ in range(_KEY_PRESSES):
            with suppress(QMPError, OSError):
                await self._qmp.execute("send-key", {"keys": [{"type": "qcode", "data": "up"}]})
                read = await self._bytes_read("cdrom0")
                before = read if before is None else before
                if read - before > _READ_IN_EARNEST:
                    return
            await asyncio.sleep(1)

    async def _bytes_read(self, node: str) -> int:
        drives = await self._qmp.execute("query-blockstats")
        assert isinstance(drives, list)
        return sum(drive["stats"]["rd_bytes"] for drive in drives if drive.get("node-name") == node)

    async def press_power_button(self) -> None:
        """Ask for a shut-down by ACPI alone."""
        with suppress(QMPError, OSError):
            await self._qmp.execute("system_powerdown")

    async def screenshot(self, path: Path) -> None:
        """Save the screen as PNG. Raises QMPError or OSError."""
        await self._qmp.execute("screendump", {"filename": str(path), "format": "png"})

    async def reset(self) -> None:
        """Begin anew with the firmware, as a reset button does; a machine that is gone needs none."""
        with suppress(QMPError, OSError):
            await self._qmp.execute("system_reset")

    async def unended_interrupts(self) -> stall.Interrupts:
        """What a stall looks for; nothing while the machine is paused, or gone."""
        interrupts = set()
        with suppress(QMPError, OSError):
            status = await self._qmp.execute("query-status")
            if not isinstance(status, dict) or not status.get("running"):
                return frozenset()
            cpus = await self._qmp.execute("query-cpus-fast")
            assert isinstance(cpus, list)
            for cpu in (one["cpu-index"] for one in cpus):
                # There is no command of QMP's own for this.
                words = {"command-line": "info lapic", "cpu-index": cpu}
                dump = await self._qmp.execute("human-monitor-command", words)
                interrupts |= {(cpu, vector) for vector in stall.unended(str(dump))}
        return frozenset(interrupts)

    async def stop(self, grace: float) -> None:
        """The stop ladder: the agent or the power button, wait, quit, kill. Returns when QEMU is gone."""
        if grace > 0:
            # An agent that hangs must not make the grace longer than it is.
            asking = asyncio.create_task(self._ask_guest())
            try:
                if await self._gone_within(grace):
                    return
            finally:
                asking.cancel()
            self._warn(f"the guest did not shut down within {grace:.0f} s and is switched off")
        self.shutdown_reason = self.shutdown_reason or "host-qmp-quit"
        with suppress(QMPError, OSError):
            await asyncio.wait_for(self._qmp.execute("quit"), _QUIT_SECONDS)
        if not await self._gone_within(_QUIT_SECONDS):
            self._warn("QEMU does not quit and is killed")
            self._process.kill()
            await self._process.wait()

    async def _ask_guest(self) -> None:
        """Both ways at once: a guest that hangs in one often hears the other."""
        with suppress(QMPError, OSError):
            await self._qmp.execute("cont")
        await self.press_power_button()
        # An agent that does not answer must not break the ladder: a guest may have stopped it on purpose.
        with suppress(AgentError, OSError):
            await self.agent.shutdown()

    async def _gone_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(asyncio.shield(self._process.wait()), seconds)
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def launched(plan: Plan, serial: int, tap: int | None, held: Sequence[int], warn: Tell) -> AsyncIterator[Machine]:
    """A QEMU for `plan`, running when this yields, gone when it ends. Raises MachineError.

    `serial` is the listening socket of the serial line, `tap` the guest's link; `held` is memory that stands for files.
    """
    _copy_variables(plan)
    qmp_ours, qmp_theirs = socket.socketpair()
    agent_ours, agent_theirs = socket.socketpair()
    with _key_pipes(qemu.keys(plan)) as keys:
        fds = qemu.Descriptors(qmp_theirs.fileno(), agent_theirs.fileno(), serial, tap, keys, tuple(held))
        command = qemu.command(plan, fds, _oem_strings(plan), io_uring=syscalls.io_uring_works())
        process = await spawn(command, log_file=_LOG, pass_fds=fds.numbers())
    qmp_theirs.close()
    agent_theirs.close()
    qmp = qmp_link.client("machine")
    agent = Agent(agent_ours)
    below = qemu.below_overlay(plan)
    machine = Machine(process, qmp, agent, warn, lasting=plan.lasting, below=below, memory_is_held=plan.encrypted)
    try:
        try:
            await qmp_link.connect(qmp, qmp_ours)
        except qmp_link.NoAnswer:
            code = await process.wait()
            raise MachineError(f"QEMU did not start ({_spell(code)}){_last_words(_LOG)}") from None
        if plan.warm:
            await migration.thaw(qmp, FROZEN_STATE if plan.encrypted else WARM_STATE)
        if plan.resumed:
            await migration.resume(qmp, FROZEN_STATE, with_memory=not plan.encrypted)
            os.truncate(FROZEN_STATE, 0)  # all of it is in the machine's memory now
        yield machine
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await agent.close()
        await qmp_link.hang_up(qmp)


@contextmanager
def _key_pipes(keys: Mapping[str, str]) -> Iterator[dict[str, int]]:
    """For each key, by its name, a pipe with it, for one reader."""
    with ExitStack() as pipes:
        readers: dict[str, int] = {}
        for name, key in keys.items():
            readers[name], writing = os.pipe()
            pipes.callback(os.close, readers[name])
            os.write(writing, key.encode())
            os.close(writing)
        yield readers


def empty_memory(size: int) -> None:
    """Make the memory that is held anew, for a machine that boots after all. Raises OSError."""
    for length in (0, size):
        os.truncate(qemu.FROZEN_MEMORY, length)


def _oem_strings(plan: Plan) -> tuple[Path, ...]:
    """SMBIOS type 11 strings, by file: the password stands in no process list."""
    # A frozen machine keeps what it was started with, so it is started without.
    begun_without = plan.freeze or plan.warm or (plan.resumed and not plan.resumed.smbios)
    if not plan.guest.smbios or begun_without:
        return ()
    paths = []
    shares = ",".join(share.name for share in plan.shares)
    for name, value in (("user", plan.user), ("password", plan.password), ("shares", shares)):
        path = PRIVATE / f"oem-{name}"
        path.write_text(f"{name}={value}")
        paths.append(path)
    return tuple(paths)


def _copy_variables(plan: Plan) -> None:
    if images := qemu.firmware(plan):
        shutil.copyfile(images[1], qemu.VARIABLES)


def _leave_variables() -> None:
    """The UEFI variables as they are now, for whoever goes on from here. Raises OSError."""
    if qemu.VARIABLES.exists():
        shutil.copyfile(qemu.VARIABLES, KEPT_VARIABLES)


def _cpu_seconds(pid: int) -> float:
    """CPU time that a process has used so far (proc(5), stat: utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _spell(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"


def _last_words(log: Path) -> str:
    """What it wrote last, to be put behind how it ended; one that was killed has said nothing."""
    said = _tail(log)
    return f"; its last words: {said}" if said else ""


def _tail(path: Path, size: int = 2000) -> str:
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, os.fstat(file.fileno()).st_size - size))
        return file.read().decode(errors="replace").strip()
    return ""
