"""A repository: images by name and version, of which one is current. The only writer of its layout.

    NAME/VERSION/     a whole, read-only folder; it appears by one rename
    NAME/current      a link to the version that new sessions get, replaced by one rename
    NAME/history      what was published when
    .leases/          which sessions use what, from any node

A folder NAME with an image.toml of its own and no versions is an image, too. Nothing is ever edited in place.
"""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from ...base import atomic, heartbeat
from ...base.errors import ExitCode, Refusal
from .. import layout, names
from ..names import Reference
from . import acceptances, exclusive, history, leases, leftovers, readonly, usage


class Repository:
    """One folder of images. Methods raise Refusal; nothing is touched until one that changes something is called."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def names(self) -> list[str]:
        """Every image's name."""
        return [name for name in _folders(self.path, names.is_name) if self.is_bare(name) or self.versions(name)]

    def versions(self, name: str) -> list[str]:
        """The versions of an image, oldest first: by the time of their image.toml, which nobody writes to again."""
        names.check_name(name)
        aged = []
        for version in _folders(self.path / name, names.is_version):
            with suppress(OSError):
                if (self.path / name / version).is_symlink():
                    continue
                aged.append(((self.path / name / version / layout.DESCRIPTION).stat().st_mtime_ns, version))
        return [version for _, version in sorted(aged)]

    def current(self, name: str) -> str:
        """The version that new sessions get; empty when none is published. Refuses a link that is no plain one."""
        names.check_name(name)
        link = self.path / name / layout.CURRENT
        try:
            version = str(link.readlink())
        except (FileNotFoundError, NotADirectoryError):
            return ""
        except PermissionError:
            hint = f"its owner can: chmod a+rx {link.parent}"
            raise Refusal(ExitCode.IMAGE, f"{link.parent}: cannot be entered: Permission denied", hint=hint) from None
        except OSError as error:
            raise _broken(link, f"cannot be read as a link: {error.strerror}") from None
        if not names.is_version(version):
            raise _broken(link, f"leads to `{version}`, which is not a version beside it")
        if not self._is_version(name, version):
            raise _broken(link, f"leads to `{version}`, which is not there")
        return version

    def folder(self, ref: Reference) -> Path:
        """The real folder of a version; of the current one when none is named, or of an image without versions."""
        names.check_name(ref.name)
        version = ref.version or self.current(ref.name)
        if not version and self.is_bare(ref.name):
            return (self.path / ref.name).resolve()
        if not version:
            raise Refusal(
                ExitCode.IMAGE,
                f"no version of image `{ref.name}` in {self.path} is published{_listed(self.versions(ref.name))}",
                hint=f"7lbd image publish {ref.name}@VERSION, or name the version that is meant: {ref.name}@VERSION",
            )
        names.check_version(version)
        if not self._is_version(ref.name, version):
            raise Refusal(
                ExitCode.IMAGE,
                f"image `{ref.name}` in {self.path} has no version `{version}`{_listed(self.versions(ref.name))}",
                hint=f"7lbd image list {ref.name}",
            )
        return (self.path / ref.name / version).resolve()

    def has(self, ref: Reference) -> bool:
        """Whether the image, and the version if one is named, is here."""
        if ref.version:
            return self._is_version(ref.name, ref.version)
        return self.is_bare(ref.name) or bool(self.versions(ref.name))

    @contextmanager
    def staged(self, name: str, version: str) -> Iterator[Path]:
        """A private folder to make a version in: at a good end it is the version, read-only; at a bad end gone."""
        names.check_name(name)
        names.check_version(version)
        home = self.path / name
        fresh, beat = home / f"{layout.NEW}{version}", home / f"{layout.MAKING}{version}"
        with ExitStack() as undo:
            with self._changing(name, make=True):
                self._refuse_existing(name, version)
                leftovers.clear(self.path / name)
                try:
                    undo.enter_context(heartbeat.kept(beat, f"making {name}@{version}"))
                except FileExistsError:
                    what = f"{name}@{version} is being made already ({heartbeat.read(beat)})"
                    raise Refusal(ExitCode.IMAGE, what, hint="wait for it, or choose another version") from None
                fresh.mkdir(mode=0o700)
            undo.callback(leftovers.remove, fresh)
            yield fresh
            with self._trouble_told(name):
                if not (fresh / layout.DESCRIPTION).is_file():
                    raise Refusal(
                        ExitCode.IMAGE, f"{fresh}: there is no {layout.DESCRIPTION} in it", hint="see docs/images.md"
                    )
                readonly.close(fresh)
            with self._changing(name):
                self._refuse_existing(name, version)
                fresh.rename(home / version)
                _to_disk(home)

    @contextmanager
    def amended(self, name: str, version: str) -> Iterator[Path]:
        """A version's folder, open for its owner to add a part by a rename (a warm state, a signature); then read-only.

        One at a time. What is there already must not be changed: sessions use it.
        """
        folder = self.folder(Reference(name, version))
        with self._changing(name):
            folder.chmod(0o700 | stat.S_IMODE(folder.stat().st_mode))
            try:
                yield folder
            finally:
                readonly.close(folder)

    def publish(self, name: str, version: str) -> None:
        """Make a version the one that new sessions get, at once and whole. Running sessions keep theirs."""
        self.folder(Reference(name, version))
        with self._changing(name):
            self.folder(Reference(name, version))
            leases.prepare(self.path)
            self._point(name, version, history.PUBLISH)

    def rollback(self, name: str) -> str:
        """Make the version current that was so before; returns it. Once more goes further back."""
        self._refuse_absent(name)
        with self._changing(name):
            try:
                current = self.current(name)
            except Refusal:
                current = ""  # a broken link is one thing that a rollback mends
            earlier = history.before(history.events(self.path / name), current)
            still = [version for version in earlier if self._is_version(name, version)]
            if not still:
                what = f"image `{name}` in {self.path}: no version that was current before {current} is still there"
                hint = f"7lbd image publish {name}@VERSION{_listed(self.versions(name))}"
                raise Refusal(ExitCode.IMAGE, what if current else what.replace(" before ", ""), hint=hint)
            self._point(name, still[-1], history.ROLLBACK)
            return still[-1]

    def remove(self, name: str, version: str, *, even_current: bool = False) -> None:
        """Remove a version that is not in use anywhere, nor current unless so wished."""
        names.check_version(version)
        folder = self.folder(Reference(name, version))
        with self._changing(name):
            if not even_current:
                self._refuse_current(name, version)
            self._refuse_used(name, version, folder)
            # Away first, then asked again: a session that began meanwhile has said so, or finds nothing here.
            aside = folder.with_name(f"{layout.OLD}{version}-{secrets.token_hex(4)}")
            folder.rename(aside)
            try:
                self._refuse_used(name, version, aside)
            except Refusal:
                aside.rename(folder)
                raise
            if self._leads_to(name, version):
                (self.path / name / layout.CURRENT).unlink()
            readonly.remove(aside)
            acceptances.remove(self.path / name, version)

    def users(self, name: str, version: str) -> list[str]:
        """Who uses a version, as far as can be seen from here."""
        return usage.users(self.path, name, version, self.folder(Reference(name, version)))

    def tidy(self) -> None:
        """Remove what was left by those who were interrupted: staging folders, half-removed versions, stale leases."""
        for name in _folders(self.path, names.is_name):
            with self._changing(name):
                leftovers.clear(self.path / name)
        leases.sweep(self.path)

    def _leads_to(self, name: str, version: str) -> bool:
        """Whether `current` names this version, be it there or not."""
        with suppress(OSError):
            return str((self.path / name / layout.CURRENT).readlink()) == version
        return False

    def _refuse_current(self, name: str, version: str) -> None:
        if self._leads_to(name, version):
            raise Refusal(
                ExitCode.IMAGE,
                f"{name}@{version} is current: new sessions get it",
                hint=f"7lbd image publish {name}@ANOTHER first, or 7lbd image rollback {name}; "
                "--force removes it all the same",
            )

    def _refuse_used(self, name: str, version: str, folder: Path) -> None:
        used = usage.users(self.path, name, version, folder)
        if used:
            more = f" and {len(used) - 1} more" if len(used) > 1 else ""
            raise Refusal(
                ExitCode.IMAGE,
                f"{name}@{version} is in use: {used[0]}{more}",
                hint=f"7lbd image show {name}@{version} lists its users; remove it when they have ended",
            )

    def _refuse_absent(self, name: str) -> None:
        names.check_name(name)
        if not (self.path / name).is_dir():
            known = ", ".join(self.names()) or "none"
            raise Refusal(
                ExitCode.IMAGE, f"there is no image `{name}` in {self.path} (known: {known})", hint="7lbd image list"
            )

    def _refuse_existing(self, name: str, version: str) -> None:
        if os.path.lexists(self.path / name / version):
            what = f"{name}@{version} exists already, and a version is never changed"
            raise Refusal(ExitCode.IMAGE, what, hint="choose another version")

    def _is_version(self, name: str, version: str) -> bool:
        folder = self.path / name / version
        return os.access(folder / layout.DESCRIPTION, os.F_OK) and not folder.is_symlink()

    def is_bare(self, name: str) -> bool:
        """Whether it is a folder with an image of its own, without versions."""
        return os.access(self.path / name / layout.DESCRIPTION, os.F_OK)

    def _point(self, name: str, version: str, act: str) -> None:
        home = self.path / name
        link = home / f"{layout.NEW_LINK}{secrets.token_hex(4)}"
        link.symlink_to(version)
        try:
            # The line first: were it missing, a rollback would not find its way. One too many does no harm.
            history.record(home, act, version)
            link.replace(home / layout.CURRENT)
        finally:
            link.unlink(missing_ok=True)
        _to_disk(home)

    @contextmanager
    def _changing(self, name: str, *, make: bool = False) -> Iterator[None]:
        """One at a time, with the file system's refusals in words."""
        with self._trouble_told(name), ExitStack() as held:
            home = self.path / name
            if make:
                self._make(home)
            held.enter_context(exclusive.lock(home / layout.LOCK))
            yield

    def _make(self, home: Path) -> None:
        """The repository and an image's folder in it. Their modes follow the folder above, not our umask."""
        for folder in (self.path, home):
            with suppress(FileExistsError):
                folder.mkdir(mode=0o700)
                folder.chmod(0o700 | stat.S_IMODE(folder.parent.stat().st_mode) & 0o077)
        leases.prepare(self.path)

    @contextmanager
    def _trouble_told(self, name: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Refusal(
                ExitCode.RESOURCES,
                f"{self.path / name}: cannot be changed: {error.strerror}",
                hint=f"it needs room, and to be writable for you ({heartbeat.user_name()}); "
                "another repository: --image-dir DIR",
            ) from None


def _folders(above: Path, fits: Callable[[str], bool]) -> list[str]:
    """Names of real folders, sorted. A folder that we may not look into has none."""
    with suppress(OSError), os.scandir(above) as entries:
        return sorted(entry.name for entry in entries if fits(entry.name) and entry.is_dir())
    return []


def _broken(link: Path, why: str) -> Refusal:
    hint = f"7lbd image publish {link.parent.name}@VERSION sets it right, or 7lbd image rollback {link.parent.name}"
    return Refusal(ExitCode.IMAGE, f"{link}: {why}", hint=hint)


def _listed(versions: Sequence[str]) -> str:
    return f" (there are {', '.join(versions)})" if versions else ""


def _to_disk(folder: Path) -> None:
    """Have the renames in a folder outlive a power cut, where the file system can."""
    with suppress(OSError):
        atomic.to_disk(folder)
