"""Who goes on from a saved desktop: said beside its file, and in the user's state folder for every copy of it.

Both are heartbeats, so they hold on every node that sees the folder, and go stale with whoever made them. Beside the
file they are for whoever sees it, of any account; in the state folder for copies of it, wherever these are.
"""

from __future__ import annotations

import errno
import shlex
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import heartbeat, units
from ...base.errors import ExitCode, Refusal
from ...base.heartbeat import Heartbeat, HeartbeatPace
from . import places

CLAIMS = "claims"
"""The folder in that of the saved desktops."""
Warn = Callable[[str], None]
PACE = HeartbeatPace(renew=30.0, stale=300.0)
"""Its user waits for what a lost node held, so that is not long; ten times missed, by a clock of the file server's. A
session that was cut off or stopped for longer finds out when it comes back."""
# Where nothing can be said, but a file can be gone on from; in one's own folder only a file system's word counts.
_ONLY_READ = (errno.EROFS, errno.EACCES, errno.EPERM)


def _nobody(_text: str) -> None:
    """Nobody is told."""


@dataclass(frozen=True)
class Claim:
    """What a session says when it goes on from `path`, or when that is what it was saved into."""

    path: Path
    session: str
    desktop: str = ""
    """Which desktop it is, whatever its file is called (Facts.desktop)."""
    folder: Path | None = None
    """That of the user's saved desktops; None when there is no such folder."""
    job: str = ""
    """The scheduler's job that the session runs in."""
    again: bool = False
    """Whether the scheduler has started that job again, so that its earlier life is over."""

    def __str__(self) -> str:
        return f"session {self.session}{f' in job {self.job}' if self.job else ''}"

    def check(self) -> None:
        """Raises Refusal when a session goes on from this desktop now."""
        for place in self._places():
            beat = heartbeat.read(place)
            if beat and not (heartbeat.is_stale(beat, heartbeat.clock(place.parent)) or self._is_earlier_life(beat)):
                raise self._taken(place, beat)

    @contextmanager
    def held(self, warn: Warn = _nobody) -> Iterator[None]:
        """Say so, as long as this lasts; `warn` is told, from a thread, when another session took over meanwhile.

        Raises Refusal when another session does.
        """
        with ExitStack() as held:
            for place in self._places():
                self._hold(place, held, warn)
            yield

    def hold_what_is_free(self, held: ExitStack, warn: Warn = _nobody) -> None:
        """The same of a session that was saved and runs on: what it has, it has already."""
        for place in self._places():
            with suppress(Refusal):
                self._hold(place, held, warn)

    def _places(self) -> Iterator[Path]:
        yield beside(self.path)
        if self.folder and self.desktop:
            yield self.folder / CLAIMS / self.desktop

    def _hold(self, place: Path, held: ExitStack, warn: Warn = _nobody) -> None:
        def taken(beat: Heartbeat) -> None:
            warn(f"this desktop was taken for lost, and another session goes on from it: {beat}; end one of the two")

        try:
            if self.folder and place.parent != self.path.parent:
                places.made(self.folder)
                place.parent.mkdir(mode=0o700, exist_ok=True)
            heartbeat.take_away(place, self._is_earlier_life)
            held.enter_context(heartbeat.kept(place, str(self), PACE, taken))
        except FileExistsError:
            raise self._taken(place, heartbeat.read(place)) from None
        except OSError as error:
            if error.errno not in (_ONLY_READ if place.parent == self.path.parent else (errno.EROFS,)):
                raise self._unsaid(place, error.strerror) from None

    def _is_earlier_life(self, beat: Heartbeat) -> bool:
        """Only the scheduler knows that a node is gone; and only of its own job."""
        ours = self.again and self.job and (beat.note, beat.user) == (str(self), heartbeat.user_name())
        return bool(ours) and not heartbeat.lives_here(beat)

    def _taken(self, place: Path, beat: Heartbeat | None) -> Refusal:
        if beat is None:  # gone this moment, or no plain file
            return self._unsaid(place, "something is in the way")
        which = "it" if place == beside(self.path) else "a copy of it"
        what = f"{self.path}: a session goes on from {which} already: {beat}"
        again = f"7lbd resume --copy {shlex.quote(str(self.path))}"
        hint = (
            "two of one desktop hold the same licences and write the same files; if that is meant, as another desktop"
        )
        return Refusal(ExitCode.USAGE, f"{what}{_silence(place, beat)}", hint=f"{hint}: {again}")

    def _unsaid(self, place: Path, why: str | None) -> Refusal:
        what = f"{self.path}: it cannot be said that a session goes on from it, so another could, too: {place}: {why}"
        return Refusal(
            ExitCode.RESOURCES, what, hint="make room there, or remove what is in the way; or take a copy: --copy"
        )


def _silence(place: Path, beat: Heartbeat) -> str:
    """Until when a node is not known to be lost; nothing of a session that surely runs."""
    if heartbeat.lives_here(beat):
        return ""
    silent = max(heartbeat.clock(place.parent) - beat.seen, 0.0)
    left = max(beat.stale - silent, 1.0)
    return f"; last heard of {units.duration(silent)} ago. If that node is lost, it is free in {units.duration(left)}"


def beside(path: Path) -> Path:
    """Where it is said for whoever sees the file."""
    return path.with_name(f".{path.name}.resumed")


def check_not_anothers(path: Path) -> None:
    """Raises Refusal when another session than this process's goes on from this file, and will write it again."""
    beat = user_of(path)
    if beat is None or not heartbeat.is_anothers(beside(path)):
        return
    what = f"{path}: another session goes on from it, so it is not replaced: {beat}"
    raise Refusal(ExitCode.USAGE, what, hint="choose another name: --to FILE")


def user_of(path: Path) -> Heartbeat | None:
    """The session that goes on from this file, or was saved into it and runs on; None when there is no such one."""
    beat = heartbeat.read(beside(path))
    return None if beat is None or heartbeat.is_stale(beat, heartbeat.clock(path.parent)) else beat


def check_unused(path: Path) -> None:
    """Raises Refusal when a session goes on from this file, or was saved into it and runs: it may need it again."""
    beat = user_of(path)
    if beat is None:
        return
    what = f"{path}: a session goes on from it, so it is not removed: {beat}{_silence(beside(path), beat)}"
    raise Refusal(ExitCode.USAGE, what, hint="end that session first: 7lbd stop, or 7lbd suspend")


def sweep(folder: Path) -> None:
    """Remove what nobody stands behind any more."""
    with suppress(OSError):
        for place in (folder / CLAIMS).iterdir():
            heartbeat.take_away(place)
