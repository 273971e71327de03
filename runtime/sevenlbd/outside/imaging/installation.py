"""An unattended installation: from a blank disk and discs to an image that was seen ready once.

The machine is a session's, behind the same wall, watched on the same page. It restarts as often as it likes and ends
by switching itself off, after it has kept the guest contract once. What was begun and did not come to that end is
gone: an installation cannot go on from its middle. Its logs and its last screen are kept.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from ...base import atomic, foreign_files, process
from ...base.errors import ExitCode, Refusal
from ...base.paths import is_there
from ...images import description, layout
from ...images.description import Channel, Description
from ...images.lookup import image as images
from ...images.lookup import repositories
from ...images.names import Reference, check_name, check_version
from ...images.repository.versions import Repository
from ...wire import shared_files
from ...wire.keeper import GUEST_SHUT_DOWN
from ...wire.state import Phase, SessionState
from ..access import credentials
from ..cli.command import CommandContext, say
from ..console import instructions
from ..console.plain_lines import Lines
from ..folders import session_folders
from ..session import control
from ..session.preflight import prepare, timezones
from ..session.preflight.prepared import Prepared, SessionOptions
from . import flatten, image_session, serial

MOST_DRIVES = 4  # of six SATA ports (QEMU's q35) the first one is the disk's
MOST_VARIABLES = 16 << 20
"""Bytes; the largest flash of OVMF has a quarter of it."""
_GRACE_SECONDS = 120.0
"""After its time is up: for an end that was on its way."""
_CHECK_SECONDS = 900.0  # half as many again as `ready_timeout` has by itself: a first boot has more to do


@dataclass(frozen=True)
class Installation:
    """What is to be installed, and on what machine. Sizes in bytes, durations in seconds."""

    description: Description
    """The machine, and the image.toml of the result, with its name and version."""
    disk_size: int
    cdroms: tuple[Path, ...]
    """ISO files; the first one is booted from."""
    time_limit: float
    """From power-on to power-off."""
    keys_at_boot: bool = False
    """Press keys until the first disc is read in earnest: it waits for one."""
    check: bool = True
    """Boot the result once, as a session."""
    publish: bool = False


def install(context: CommandContext, installation: Installation) -> int:
    """Install, import and try out; returns the exit code. Raises Refusal."""
    described = installation.description
    check_name(described.name)
    check_version(described.version)
    repository = repositories.writable(context.targets)
    check_discs(installation.cdroms)
    with repository.staged(described.name, described.version) as staging:
        _make_disk(staging / layout.DISK, installation.disk_size)
        _describe(staging, described)
        started = time.monotonic()
        _run(context, installation, staging)
        say(f"installed in {time.monotonic() - started:.0f} s; making the image")
        _complete(staging, described)
    title = f"{described.name}@{described.version}"
    say(f"{title} is in {repository.path}")
    if installation.check:
        _check(context, repository, described)
    if installation.publish:
        repository.publish(described.name, described.version)
        say(f"{title} is current: new sessions get it")
    else:
        say(f"let new sessions get it: 7lbd image publish {title}")
    return ExitCode.OK


def check_discs(discs: Sequence[Path]) -> None:
    """Raises Refusal when they cannot all be in the machine's drives."""
    if len(discs) > MOST_DRIVES:
        what = f"{len(discs)} discs were given, and the machine has {MOST_DRIVES} drives"
        raise Refusal(ExitCode.USAGE, what, hint="put several onto one")
    for disc in discs:
        _check_disc(disc)


def _check_disc(path: Path) -> None:
    there = is_there(path)
    if not (there and path.is_file() and os.access(path, os.R_OK)):
        what = f"{path}: is not a file that can be read" if there else f"{path}: does not exist here"
        raise Refusal(
            ExitCode.IMAGE, what, hint="a folder that the container does not show: apptainer run --bind DIR ..."
        )


def _make_disk(path: Path, size: int) -> None:
    """A blank disk. Raises Refusal."""
    command = ["/usr/bin/qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=64k", str(path), str(size)]
    done = process.run(command)
    if done.code:
        why = done.said.rpartition("qemu-img: ")[2]
        hint = "a size is for instance 64G; the repository needs room"
        raise Refusal(ExitCode.RESOURCES, f"{path}: the disk cannot be made: {why}", hint=hint)


def _describe(staging: Path, described: Description) -> None:
    (staging / layout.DESCRIPTION).write_text(description.text(described))


def _run(context: CommandContext, installation: Installation, staging: Path) -> None:
    """Power on, and see it through to its power-off. Raises Refusal when that was not the end of an installation."""
    prepared = _prepared(context, installation, staging)
    shown = Steps(installation.description, prepared)
    kept: list[Path] = []

    def harvest(folder: Path, state: SessionState) -> None:
        shown.listener.end()
        if _is_done(state, installation.description):
            take_variables(folder, staging / layout.VARIABLES)
        else:
            with suppress(OSError):
                kept.append(session_folders.keep_failure(folder))

    outcome = image_session.run(prepared, shown, harvest)
    if outcome.state is None or not _is_done(outcome.state, installation.description):
        raise _failure(outcome, shown.listener, kept)


def take_variables(folder: Path, target: Path) -> None:
    """What a machine left of its UEFI variables, if there are any. Raises OSError."""
    if content := foreign_files.read(folder, shared_files.VARIABLES, MOST_VARIABLES):
        atomic.replace(target, content)


def _is_done(state: SessionState, described: Description) -> bool:
    """Whether the guest switched itself off, nobody having asked it to, after it had kept the guest contract."""
    sign = "ready-line" if Channel.SMBIOS in described.channels else "agent"
    return state.reason == GUEST_SHUT_DOWN and sign in state.milestones


def _failure(outcome: image_session.ImageOutcome, listener: serial.SerialListener, kept: Sequence[Path]) -> Refusal:
    reason = outcome.state.reason if outcome.state else "there is no word of its end"
    if listener.error:
        what = listener.error
    elif reason == GUEST_SHUT_DOWN:
        what = "the guest switched itself off before it had kept the guest contract"
    else:
        what = reason
    last = f" (its last word: {listener.last})" if listener.last and not listener.error else ""
    hint = f"nothing was imported; logs and the last screen: {kept[0]}" if kept else "nothing was imported"
    return Refusal(outcome.code or ExitCode.NOT_READY, f"the installation failed: {what}{last}", hint=hint)


def _prepared(context: CommandContext, installation: Installation, staging: Path) -> Prepared:
    """A session of nobody's, on a disk that is blank. Raises Refusal."""
    prepared = _session(context, staging, f"build-{session_folders.new_name()}", installation.time_limit)
    plan = replace(
        prepared.plan,
        layers=(),
        overlay=str(staging / layout.DISK),
        cdroms=tuple(str(disc.resolve()) for disc in installation.cdroms),
        keys_at_boot=installation.keys_at_boot,
        lasting=True,
    )
    options = SessionOptions(
        installation.time_limit + _GRACE_SECONDS, prepared.options.stop_grace, exit_when_ready=False
    )
    return replace(prepared, plan=plan, options=options, identities={})


def _session(
    context: CommandContext, image: Path, name: str, seconds: float, *, exit_when_ready: bool = False
) -> Prepared:
    chosen = context.settings.model_copy(
        update={
            "image": str(image),
            "name": name,
            "home_share": False,
            "shares": (),
            "warm": False,
            # What is made lies in a repository, and not in its session.
            "encrypt": False,
            "project": "",
            "timezone": timezones.IMAGE,
            "rdp_tls": "",
            # Nobody has signed it yet: it is only just being made.
            "require_signed": False,
            "exit_when_ready": exit_when_ready,
            "ready_timeout": seconds,
            "time_limit": 0.0,
        }
    )
    return prepare.prepare(chosen, context.here.environment, context.umask, context.folders)


def _complete(staging: Path, described: Description) -> None:
    """One compact file instead of what an installation with all its temporary files has left. Raises Refusal."""
    layer = images.ImageLayer(staging / layout.DISK, "qcow2")
    flatten.flatten([layer], staging / f"{layout.DISK}.new", "making the image")
    (staging / f"{layout.DISK}.new").replace(staging / layout.DISK)
    variables = layout.VARIABLES if (staging / layout.VARIABLES).exists() else ""
    _describe(staging, described.model_copy(update={"variables": variables}))


def _check(context: CommandContext, repository: Repository, described: Description) -> None:
    """Boot it as a session until a user could log in. Raises Refusal: then it is there, but nobody gets it."""
    title = f"{described.name}@{described.version}"
    say(f"booting {title} as a session, to see whether it gets ready")
    folder = repository.folder(Reference(described.name, described.version))
    seconds = max(_CHECK_SECONDS, context.settings.ready_timeout)
    prepared = _session(context, folder, f"check-{session_folders.new_name()}", seconds, exit_when_ready=True)
    outcome = image_session.run(prepared, Steps(described, prepared), lambda _place, _state: None)
    if outcome.code or outcome.state is None or Phase.READY not in outcome.state.phases:
        why = outcome.state.reason if outcome.state else "it did not start"
        what = f"{title} was imported, but it does not get ready: {why}"
        hint = f"look at it: 7lbd image maintain {title}; remove it: 7lbd image rm {title}"
        raise Refusal(outcome.code or ExitCode.NOT_READY, what, hint=hint)
    say(f"{title} was ready after {outcome.state.phases[Phase.READY]:.0f} s")


class Steps(Lines):
    """An installation on the terminal: where to watch it, and each step as the guest tells it."""

    def __init__(self, described: Description, prepared: Prepared) -> None:
        super().__init__("")
        self._title = f"{described.name}@{described.version}"
        self._seen: set[str] = set()
        self._state: SessionState | None = None
        self._place = Path(prepared.plan.folder)
        self.listener = serial.SerialListener(self._heard, self._give_up)

    def update(self, state: SessionState) -> None:
        if self._state is None:
            say(f"{self._title}: a machine on {state.host}, session {state.id}, {state.accel}")
            for text in state.warnings:
                self.warn(text)
        self._state = state
        self._show_link(state)
        if state.phase is Phase.BOOTING:
            self.listener.begin(self._place)
        for name, at in state.milestones.items():
            if name not in self._seen:
                self._seen.add(name)
                say(f"{at:7.1f} s    {name}")

    def ready(self, state: SessionState) -> None:
        pass

    def finished(self, state: SessionState) -> None:
        pass

    def kept(self, folder: Path) -> None:
        pass

    def _find_link(self, state: SessionState) -> str:
        """With its key on a terminal only: a job's log may be read by others."""
        if not state.url or not sys.stdout.isatty():
            return state.url
        try:
            return instructions.link(state, credentials.read(Path(state.folder)), "console")
        except (OSError, ValueError):
            return ""

    def _heard(self, line: str) -> None:
        at = self._state.elapsed() if self._state else 0.0
        say(f"{at:7.1f} s  {line}")

    def _give_up(self) -> None:
        """The guest told an error: what follows would only take time."""
        with suppress(OSError, ValueError):
            control.send_stop(self._place, now=True)
