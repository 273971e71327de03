"""`exec --parallel N`: a list of commands, done by N machines of this node; each takes the next one when it is free."""

from __future__ import annotations

import queue
import signal
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from ...base import process
from ...base.errors import ExitCode, Refusal
from ..cli.command import CommandContext
from ..console import progress_bar, terminal
from ..folders import session_folders
from ..job import allocation
from ..job.leads import AFTER_GUEST_SECONDS
from . import command_list, in_session, kept_machine, machine_words, outlet, planned, results
from .attached import LEAD, GuestJob, ends_soon
from .kept_machine import KeptMachine
from .order import Order
from .request import JobRequest
from .results import JobResult, Results
from .sinks import Sinks
from .verdict import CommandEnd, OwnCode, failed, lost

_SOME_FAILED = 123  # xargs(1): of the commands, some failed
_LOST_TRIES = 2  # a command whose machine was lost is run once more; one that loses two loses every one
_BEFORE_THE_MACHINES = 3.0  # seconds; a guess
_STARTS, _PAUSE = 3, 10.0  # tries of a machine, and seconds between them: guesses; a node is short for a moment
_MOST_MACHINES = 256  # a guess: no node has room for more


def run(context: CommandContext) -> int:
    """Run them all. Raises Refusal, before the first one begins."""
    options = context.options
    number = _number(options)
    common = planned.request(options, context.umask, as_json=context.settings.json_events)
    assert common.order is not None, "a list of commands has an order to begin from"
    commands = command_list.read(options.list, common.order.command)
    number = min(number, len(commands))
    words = machine_words.of(context, number)
    with Results(options.results, common) as kept:
        pool = _Pool(commands, common, kept, words, options, _leave_at(context))
        for which in process.END_SIGNALS:
            signal.signal(which, pool.on_signal)
        what = f"{len(commands)} commands in {number} machines"
        with progress_bar.counted(what, len(commands)) as advance:
            pool.work(number, advance)
        code = _told(kept.all(), common)
        outlet.flush(lambda: pool.is_over)
        return code


def _number(options: Namespace) -> int:
    if not options.parallel.isdecimal() or not 0 < int(options.parallel) <= _MOST_MACHINES:
        what = f"--parallel {options.parallel}: is no number of machines, 1 to {_MOST_MACHINES}"
        raise Refusal(ExitCode.USAGE, what, hint="--parallel 4")
    if not options.retries.isdecimal():
        raise Refusal(ExitCode.USAGE, f"--retries {options.retries}: is no number", hint="--retries 2")
    return int(options.parallel)


def _told(every: Sequence[JobResult], common: JobRequest) -> int:
    """The table's end, for people; and what all of it comes to."""
    if not common.as_json:
        terminal.say(*results.table(every), error=True)
    if all(result.end.code == 0 for result in every):
        return ExitCode.OK
    # Ours is only what a single command would have told so: a program that is not there is not, wherever it is tried.
    theirs = any(result.end.own or result.end.code != OwnCode.FAILED for result in every)
    return _SOME_FAILED if theirs else OwnCode.FAILED


def _leave_at(context: CommandContext) -> float:
    """When all of it is asked to end, as the job will, and before each machine does so. Seconds since the epoch."""
    job = allocation.of(context.here.environment)
    if job is None or not job.ends:
        return float("inf")
    return job.ends - context.settings.stop_grace - AFTER_GUEST_SECONDS - LEAD - _BEFORE_THE_MACHINES


@dataclass
class _Task:
    number: int
    command: tuple[str, ...]
    runs: int = 0
    lost: int = 0


@dataclass
class _Pool:
    commands: Sequence[tuple[str, ...]]
    common: JobRequest
    kept: Results
    words: Sequence[str]
    options: Namespace
    leave_at: float = float("inf")
    """When the job's end is near, in seconds since the epoch."""
    _tasks: queue.SimpleQueue[_Task] = field(default_factory=queue.SimpleQueue)
    _over: bool = False
    _why: str = ""
    """Why it is over before all is done."""
    _jobs: set[GuestJob] = field(default_factory=set)
    _starting: set[KeptMachine] = field(default_factory=set)
    _trouble: str = ""
    _any: bool = False
    """Whether a machine has ever come up: where none does, another try helps nobody."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self, number: int, advance: Callable[[int], None]) -> None:
        """Until every command has its result."""
        for index, command in enumerate(self.commands, 1):
            self._tasks.put(_Task(index, command))
        name = session_folders.new_name()
        workers = [
            threading.Thread(target=self._worker, args=(f"{name}-{index}", advance)) for index in range(1, number + 1)
        ]
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                worker.join(0.2)  # seconds: a signal is heard in between
                if not self._over and time.time() >= self.leave_at:
                    self._end("the job ends")
        while (task := self._next()) is not None:
            why = self._why if self._over else f"there was no machine: {self._trouble}"
            self._done(task, failed(why), 0.0, advance)

    def on_signal(self, _number: int, _frame: object) -> None:
        """The second time at once."""
        self._end("it was interrupted")

    def _end(self, why: str) -> None:
        """No more is begun, and those that run are asked to end. Machines on their way end."""
        self._over, self._why = True, self._why or why
        for job in list(self._jobs):
            job.urge()
        for one in list(self._starting):
            one.end()

    @property
    def is_over(self) -> bool:
        """Whether a signal has ended it."""
        return self._over

    def _next(self) -> _Task | None:
        try:
            return self._tasks.get_nowait()
        except queue.Empty:
            return None

    def _worker(self, name: str, advance: Callable[[int], None]) -> None:
        """One machine after the other: one that was lost, or was left by a command in an unknown state, is replaced."""
        count = tries = 0
        while not self._over and not self._tasks.empty():
            count += 1
            if tries:
                self._pause()
            with ExitStack() as stack:
                one = stack.enter_context(kept_machine.started([*self.words, "--keep", f"{name}-{count}"]))
                self._starting.add(one)
                if self._over:
                    return
                trouble = one.wait()
                self._starting.discard(one)
                if trouble:
                    self._trouble, tries = trouble, tries + 1
                    if tries == _STARTS or not self._any:
                        return
                    continue
                self._any, tries = True, 0
                while not self._over and (task := self._next()) is not None:
                    if not self._run(one, task, advance):
                        break

    def _pause(self) -> None:
        until = time.monotonic() + _PAUSE
        while not self._over and time.monotonic() < until:
            time.sleep(0.2)

    def _run(self, one: KeptMachine, task: _Task, advance: Callable[[int], None]) -> bool:
        """Run a command. Whether the machine is fit for another one."""
        assert one.folder is not None
        began = time.monotonic()
        try:
            with ExitStack() as stack:
                sinks = stack.enter_context(self.kept.sinks(task.number))
                results = stack.enter_context(self.kept.folder(task.number)) if self.common.outputs else None
                request = replace(self.common, order=self._order(task.command), results=results)
                end = self._ended(one.folder, request, sinks)
        except Refusal as refusal:
            end = lost(refusal.what)
        except OSError as error:
            end = failed(f"{error.filename or self.options.results}: {error.strerror}")
        task.runs += 1
        task.lost += end.lost
        if not self._over and (task.lost < _LOST_TRIES if end.lost else self._again(task, end)):
            self._tasks.put(task)
        else:
            self._done(task, end, time.monotonic() - began, advance)
        fresh = self.options.fresh or ends_soon(one.folder)
        return not end.lost and end.code != OwnCode.TIMED_OUT and not fresh

    def _ended(self, folder: Path, request: JobRequest, sinks: Sinks) -> CommandEnd:
        """How one run of it ends. Raises Refusal when the machine takes none."""
        job = GuestJob(folder, request, sinks, windows=in_session.running(folder).runs == "windows")
        with self._lock:
            self._jobs.add(job)
        if self._over:  # the signal came before it could be told
            job.urge()
        try:
            return job.run()
        finally:
            with self._lock:
                self._jobs.discard(job)

    def _again(self, task: _Task, end: CommandEnd) -> bool:
        return end.code != 0 and task.runs - task.lost <= int(self.options.retries)

    def _order(self, command: tuple[str, ...]) -> Order:
        assert self.common.order is not None, "a list of commands has an order to begin from"
        return replace(self.common.order, command=command, input=False)

    def _done(self, task: _Task, end: CommandEnd, seconds: float, advance: Callable[[int], None]) -> None:
        self.kept.add(JobResult(task.number, task.command, end, seconds, task.runs))
        advance(1)
