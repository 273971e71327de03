"""A fork that reads the command line and the settings and checks the session, while we load the supervisor.

The models of settings and images are large. They go with this process, before the session's long life begins.
"""

from __future__ import annotations

import gc
import os
import pickle
import shlex
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from ....base import appliance, later
from ....base.errors import ExitCode, Refusal
from ....base.paths import is_there, user_path

if TYPE_CHECKING:
    from argparse import Namespace

    from ....config.merging import Source
    from ....config.settings import Settings
    from ....config.sources import Places
    from ...console.passphrase import PassphraseSource
    from ...job.allocation import Allocation
    from .prepared import Prepared

    type Make = Callable[[Namespace, Settings, Places, int, Allocation | None], tuple[Prepared, object]]


@dataclass(frozen=True)
class Answer:
    """What the check came to. One of `prepared` and `trouble` is there, or else `code` says how we end."""

    as_json: bool = False
    sif: str = ""
    prepared: Prepared | None = None
    trouble: OSError | tuple[ExitCode, str, str] | None = None
    code: int = ExitCode.OK
    report: str = ""
    """Where a portal looks for what becomes of its form."""
    more: object = None
    """What else whoever prepares the session found out; None for a desktop."""

    def raise_trouble(self) -> None:
        """Raises what the check raised: Refusal or OSError."""
        if isinstance(self.trouble, OSError):
            raise self.trouble
        if self.trouble:
            code, what, hint = self.trouble
            raise Refusal(code, what, hint=hint)


class Checker:
    """The check under way."""

    def __init__(self, words: Sequence[str], umask: int, make: Make | None = None) -> None:
        """`make` prepares another session than a desktop's; it is called in the fork."""
        self._answer, answer = os.pipe()
        sys.stdout.flush()
        parent = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._answer)
            _end_with(parent)
            gc.disable()  # it ends before there is garbage to speak of
            with os.fdopen(answer, "wb") as pipe:
                pickle.dump(_checked(words, umask, make or _desktop), pipe)
            os._exit(0)
        os.close(answer)

    async def answer(self) -> Answer:
        """Wait for the check to end."""
        import asyncio  # the check itself does without

        reader = asyncio.StreamReader()
        pipe, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(self._answer, "rb")
        )
        packed = await reader.read()
        pipe.close()
        os.waitpid(self._pid, 0)
        return pickle.loads(packed) if packed else Answer(code=ExitCode.BUG)


def _end_with(parent: int) -> None:
    """Be gone when whoever asked is: the SIF goes with it, and what is not loaded by then would be complained of."""
    from ....base import syscalls

    syscalls.signal_when_parent_dies(signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(ExitCode.BUG)


def _checked(words: Sequence[str], umask: int, make: Make) -> Answer:
    """The whole check, in the fork. What it prints (help, usage) is out before this returns."""
    as_json, sif, report = False, "", ""
    later.put_off()
    try:
        from ....config import sources as places
        from ...cli import command_line
        from ...cli.parser import source
        from ...job import allocation

        _, options = command_line.parse(words)
        here = places.look_around(os.environ)
        sif, report = here.sif, _report(options.form)
        sources, form_notes = _asked(options.form, here)
        job = allocation.of(here.environment)
        chosen = places.settings(here, source(options), *sources, *_named_by(job)).settings
        as_json = chosen.json_events
        session, more = make(options, chosen, here, umask, job)
        session = replace(session, warnings=(*here.passed_over(), *here.told, *form_notes, *session.warnings))
        if options.acceptance:
            session = replace(session, plan=replace(session.plan, acceptance=True))
        return Answer(as_json, sif, session, report=report, more=more)
    except Refusal as refusal:
        return Answer(as_json, sif, trouble=(refusal.code, refusal.what, refusal.hint), report=report)
    except OSError as error:
        return Answer(as_json, sif, trouble=error, report=report)
    except ImportError:
        if gone := appliance.gone():
            return Answer(as_json, sif, trouble=gone, report=report)
        traceback.print_exc()
        return Answer(code=ExitCode.BUG)
    except SystemExit as end:
        return Answer(code=_flushed(end.code if isinstance(end.code, int) else ExitCode.USAGE))
    except BaseException:
        traceback.print_exc()
        return Answer(code=ExitCode.BUG)


def _desktop(
    options: Namespace, chosen: Settings, here: Places, umask: int, job: Allocation | None
) -> tuple[Prepared, None]:
    return prepared(options, chosen, here, umask, job), None


def prepared(options: Namespace, chosen: Settings, here: Places, umask: int, job: Allocation | None) -> Prepared:
    """A session that begins, or one that goes on from a saved desktop; its guest may join a pool. Raises Refusal."""
    if not options.join:
        return _begun(options, chosen, here, umask, job)
    from ...grid import join_record
    from . import pool_session

    record = join_record.read(options.join)
    return pool_session.joined(_begun(options, pool_session.settings_for(chosen, record), here, umask, job), record)


def _begun(options: Namespace, chosen: Settings, here: Places, umask: int, job: Allocation | None) -> Prepared:
    from ....config import sources as places
    from ...console.passphrase import PassphraseSource
    from . import prepare

    folders = places.image_folders(here, chosen)
    earlier = _of_requeued(chosen, here, folders, job)
    there = user_path(chosen.resume_if_there).absolute() if chosen.resume_if_there else earlier
    text = chosen.resume or (str(there) if there and _is_there(there) else "")
    if not options.goes_on and not text:
        _check_target(there)
        fresh = prepare.prepare(chosen, here.environment, umask, folders, job)
        return _forewarned(_saved_as(fresh, there, PassphraseSource(chosen.passphrase_file, options.passphrase)))
    from . import resuming  # its libraries are large

    again = job if job and job.restarts else None
    desktop = resuming.opened(
        text, chosen, here.environment, copied=options.copy, again=again, asked=options.passphrase
    )
    like_then, notes = resuming.settings_for(chosen, desktop)
    as_saved = resuming.machine_of(desktop)
    with resuming.naming_its_image(desktop):
        prepared = prepare.prepare(like_then, here.environment, umask, folders, job, as_saved)
    return _forewarned(resuming.fitted(prepared, desktop, notes))


def _check_target(file: Path | None) -> None:
    """That a desktop could be suspended into the file that was named. Raises Refusal: its end would be too late."""
    from . import savable

    if file and (why := savable.unwritable(file.parent)):
        what = f"--resume-if-there {file}: the desktop could not be suspended into it: {why}"
        hint = f"mkdir -p {shlex.quote(str(file.parent))}; or show it: apptainer run --bind FOLDER ..."
        raise Refusal(ExitCode.USAGE, what, hint=hint)


def _forewarned(prepared: Prepared) -> Prepared:
    """With a warning now, where a desktop that is to be saved could not be: its end would be too late to hear of it."""
    from . import savable

    options = prepared.options
    if prepared.savable is None or not (options.suspend_seconds or options.checkpoint_every):
        return prepared
    why = savable.hindrance(prepared.savable, prepared.plan.guest.disk_bus)
    warning = f"this desktop cannot be saved, so at its end it is shut down, not suspended: {why}"
    return replace(prepared, warnings=(*prepared.warnings, warning)) if why else prepared


def _is_there(file: Path) -> bool:
    """Whether there is a desktop to go on from. Raises Refusal where that cannot be seen: it is not begun anew."""
    try:
        return file.exists()
    except OSError as error:
        what = f"--resume-if-there {file}: it cannot be seen whether it is there: {error.strerror}"
        raise Refusal(ExitCode.USAGE, what, hint="name a file in a folder of yours") from None


def _saved_as(fresh: Prepared, target: Path | None, passphrase: PassphraseSource) -> Prepared:
    """What a session that begins is suspended into, and what opens that. Raises Refusal."""
    assert fresh.savable is not None, "every session that is prepared here has it"
    savable = replace(fresh.savable, target=str(target)) if target else fresh.savable
    if passphrase.is_wanted:
        from ...saved import passphrases  # its library is large

        savable = replace(savable, lock=passphrases.lock(passphrase.new()))
    return replace(fresh, savable=savable)


def _of_requeued(chosen: Settings, here: Places, folders: list[Path], job: Allocation | None) -> Path | None:
    """What an earlier life of the same job was suspended into; None when there is none. Raises Refusal."""
    from ...job.allocations.share import session_of
    from ...saved import places

    folder = places.folder(chosen.state_dir, here.environment)
    if not (folder and job and job.restarts):
        return None
    path = folder / f"{chosen.name or session_of(job.job)}{places.SUFFIX}"
    return path if is_there(path) and _saves(chosen, folders) else None


def _saves(chosen: Settings, folders: list[Path]) -> bool:
    """Whether this session's earlier life saved itself. Raises Refusal."""
    from ....config import sources as places
    from ....images.lookup import image as images
    from ...job import leads

    image = images.resolve(chosen.image, folders, places.image_cache(chosen)).description
    return bool(chosen.checkpoint_every) or leads.suspends(chosen, image)


def _named_by(job: Allocation | None) -> list[Source]:
    """The image that a job names in its ad: a name, never a path. Raises Refusal."""
    if not job or not job.image:
        return []
    from ....config.merging import Source
    from ....images import names

    try:
        names.parse(job.image)
    except Refusal as refusal:
        what = f"the job's ad (vm_name): {refusal.what}"
        raise Refusal(refusal.code, what, hint=refusal.hint) from None
    return [Source("the job's ad", {"image": job.image})]


def _asked(file: str, here: Places) -> tuple[list[Source], tuple[str, ...]]:
    """What a portal's form asks for, and what its user should know of it. Raises Refusal."""
    if not file:
        return [], ()
    from ...ondemand import form

    answers = form.read(file, here)
    return [answers.source], answers.notes


def _report(file: str) -> str:
    if not file:
        return ""
    from ...ondemand import form

    return str(form.report_of(file))


def _flushed(code: int) -> int:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        return ExitCode.OK
    return code
