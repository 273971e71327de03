"""The verb `suspend`: a desktop becomes a file, on this node or on the one of its job."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from ...base import units
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...wire.state import SessionState
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser
from ..cli.parser import options as settings
from ..console import invocation, progress_bar, terminal
from ..console.passphrase import PassphraseSource
from ..folders import folder_lock, session_folders
from ..presence.elsewhere import Elsewhere
from ..saved import claims, passphrases, places, reading
from ..saved.facts import Lock
from ..session import control
from ..session.suspending import SuspendOrder
from . import session_verbs
from .session_verbs import Seat

_POLL = 0.2  # seconds; as of `stop` (session_verbs)
_GONE_SECONDS = 60.0  # a guess: a machine that is switched off is gone in one or two; the file is whole anyway
_THERE_SECONDS = 1900.0  # longer than QEMU is given to write a machine's memory (inside/vm/migration.py)


def suspend(context: CommandContext) -> int:
    """Have a session suspended, and wait until its file is whole."""
    options, seat = context.options, session_verbs.seat(context)
    target = seat.find(options.session)
    if isinstance(target, Elsewhere):
        return _suspend_there(context, seat, target)
    before = session_folders.read_state(target)
    path = str(user_path(options.to).absolute()) if options.to else ""
    order = SuspendOrder(path, options.keep_running, tuple(options.recipient or ()), _lock(context))
    try:
        saved = _wait(target, order)
    except (OSError, ValueError) as error:
        raise session_verbs.deaf(target, error) from None
    except KeyboardInterrupt:
        # A line that breaks must not undo it either.
        what = f"session {target.name} is saved all the same, and nobody waits for it here any more"
        raise Refusal(ExitCode.INTERRUPTED, what, hint="how it does: 7lbd status, 7lbd saved list") from None
    # First: in a job that ends with its session, this call ends with it, too.
    _warn(before, session_folders.read_state(target))
    _tell(context, target.name, Path(saved), in_job=before is not None and bool(before.job))
    if not options.keep_running:
        _wait_gone(target, Path(saved))
    return ExitCode.OK


def _warn(before: SessionState | None, after: SessionState | None) -> None:
    """What the session was warned of meanwhile, a guest that did not write what it held say, is for who waits here."""
    known = set(before.warnings if before else ())
    terminal.warn(*(text for text in (after.warnings if after else ()) if text not in known))


def _tell(context: CommandContext, session: str, saved: Path, *, in_job: bool) -> None:
    """Where it is, and what goes on from there: what was a job becomes one again, wherever this is read."""
    ours = invocation.command(context.here.sif)
    then = "runs on" if context.options.keep_running else "ends"  # in a moment, and perhaps this call with it
    terminal.say(f"session {session} is saved in {saved} ({units.size(saved.stat().st_size)}), and {then}; to go on:")
    terminal.say(f"  {ours} {'submit --resume' if in_job else 'resume'} {_named(context, saved)}")
    machine = reading.header(saved).facts.machine
    if machine.accel == "kvm" and not machine.enforced:
        where = f"it goes on where the CPU is {machine.host.model}"
        terminal.say(f"{where}; one that was started with --movable, elsewhere, too")


def _named(context: CommandContext, saved: Path) -> str:
    """As `resume` finds it: by its name in the user's folder, by its path elsewhere, where it was resumed from, say."""
    usual = places.folder(context.settings.state_dir, context.here.environment)
    return shlex.quote(saved.stem if saved.parent == usual else str(saved))


def _suspend_there(context: CommandContext, seat: Seat, session: Elsewhere) -> int:
    """Have its own node do it, in its job's allocation. Raises Refusal, with that node's words."""
    options = context.options
    if PassphraseSource(context.settings.passphrase_file, options.passphrase).is_wanted:
        what = f"session {session.state.id} is {session.place}, where nobody asks for your passphrase"
        raise Refusal(ExitCode.USAGE, what, hint=f"on that node: 7lbd suspend --passphrase {session.state.id}")
    words = [f"--recipient={key}" for key in options.recipient or ()]
    words += [f"--to={user_path(options.to).absolute()}"] if options.to else []
    words += ["--keep-running"] if options.keep_running else []
    done = seat.lookout.on_its_node(session, "suspend", *words, seconds=_THERE_SECONDS)
    # A job's script that ends with its session takes this call along.
    if done.code and (options.keep_running or session.record.exists()):
        raise seat.lookout.said_there(done, session)
    terminal.say_text(done.printed.removesuffix("\n") or f"session {session.state.id} has ended: 7lbd saved list")
    return ExitCode.OK


def _lock(context: CommandContext) -> Lock | None:
    """The passphrase becomes a key here: the session gets what it needs to write, and not to read. Raises Refusal."""
    options = context.options
    source = PassphraseSource(context.settings.passphrase_file, options.passphrase)
    if not source.is_wanted:
        return None
    if options.recipient:
        what = "a file is closed with a passphrase, or for keys"
        raise Refusal(ExitCode.USAGE, what, hint="one of --passphrase and --recipient")
    return passphrases.lock(source.new())


def _wait(folder: Path, order: SuspendOrder) -> str:
    """Suspend, and show how far it is. Raises Refusal, OSError, ValueError."""
    with ExitStack() as stack:
        bar = _Bar(stack)
        saved = control.send_suspend(folder, order, bar.advance)
        bar.finish()
        return saved


def _wait_gone(session: Path, saved: Path) -> None:
    """Until it has ended, and one can go on from the file: who gets this call's end may do so at once."""
    deadline = time.monotonic() + _GONE_SECONDS
    while (folder_lock.is_alive(session) or claims.user_of(saved)) and time.monotonic() < deadline:
        time.sleep(_POLL)


class _Bar:
    """A bar that begins when it is known how long it is, and another for what comes next, on the stack that ends it."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self._advance: Callable[[int], None] | None = None
        self._what = ""
        self._done = self._total = 0

    def advance(self, done: int, total: int, what: str) -> None:
        """So much of it is done."""
        if self._advance is None or what != self._what:
            self.finish()
            self._stack.close()
            name = f"suspending: {what}" if what else "suspending"
            self._advance = self._stack.enter_context(progress_bar.shown(name, total))
            self._what, self._done, self._total = what, 0, total
        self._advance(done - self._done)
        self._done = done

    def finish(self) -> None:
        """All is done, whatever was told last."""
        if self._advance:
            self._advance(self._total - self._done)
            self._done = self._total


def _options(parser: Parser) -> None:
    parser.add_argument(
        "--to", metavar="FILE", default="", help="the file; by default in your folder of saved desktops"
    )
    parser.add_argument(
        "--keep-running",
        action="store_true",
        help="let the desktop go on when the file is whole, until which one that is encrypted stands still",
    )
    recipient = "a public key (age1...) that can open the file, beside your own; may be given several times"
    parser.add_argument("--recipient", metavar="KEY", action="append", help=recipient)
    closed = "close the file with a passphrase, which is asked for, instead of your key"
    parser.add_argument("--passphrase", action="store_true", help=closed)
    settings(parser, "passphrase_file")
    session_verbs.which_session(parser)


COMMANDS = {"suspend": Command(suspend, _options)}
