"""Writing the app into its folder, again after each upgrade, without losing what somebody has changed there.

A list in the folder says what was written, by SHA-256. A file that is not as it was written is somebody's: it stays
as it is, unless it is asked to be overwritten. The folder `site` is theirs altogether.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from ...base import process
from ...base.errors import ExitCode, Refusal
from .app_files import SITES_OWN, File

LIST = ".7lbd-rendered.json"
SITE = "site"
_MOST = 1 << 20  # bytes; a guess: the app's own files have some KiB each


@dataclass
class PlacingOutcome:
    """What was done, by path."""

    written: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Changed by somebody, and left as they are."""
    removed: list[str] = field(default_factory=list)


def read_own(folder: Path) -> dict[str, bytes]:
    """What the site has laid into `site/`, by name. Raises Refusal for what would be woven into nothing."""
    contents = {}
    own = folder / SITE
    try:
        for path in sorted(own.iterdir()) if own.is_dir() else ():
            if path.name.startswith(".") or path.name.endswith("~"):
                continue
            if path.name not in SITES_OWN:
                raise Refusal(
                    ExitCode.USAGE, f"{path}: there is no file of that name in the app that it could be woven into",
                    hint=f"these are: {', '.join(SITES_OWN)}",
                )  # fmt: skip
            data = path.read_bytes()
            if len(data) > _MOST:
                raise Refusal(ExitCode.USAGE, f"{path}: is larger than 1 MiB", hint="make it smaller")
            if path.suffix != ".png":
                data.decode()
            if path.suffix == ".sh":
                _check_shell(path, data)
            contents[path.name] = data
    except UnicodeDecodeError:
        raise Refusal(ExitCode.USAGE, f"{path}: is not text in UTF-8", hint="save it as UTF-8") from None
    except OSError as error:
        raise _unusable(error, own) from None
    return contents


def _check_shell(path: Path, data: bytes) -> None:
    """A slip in there would stop every session, not only what the site adds. Raises Refusal."""
    try:
        asyncio.run(process.finish(["/usr/bin/bash", "-n"], stdin=data))
    except RuntimeError as error:
        complaint = str(error).rpartition("exited with ")[2]
        raise Refusal(ExitCode.USAGE, f"{path}: is no shell script: {complaint}", hint="try: bash -n") from None


def place(folder: Path, app: Mapping[str, File], version: str, *, force: bool = False) -> PlacingOutcome:
    """Write the app. Raises Refusal when the folder cannot be written."""
    outcome = PlacingOutcome()
    try:
        known = _known(folder)
        made = dict(known)
        folder.mkdir(parents=True, exist_ok=True)
        for name, file in app.items():
            path = folder / name
            digest = hashlib.sha256(file.content).hexdigest()
            there = _digest(path)
            if there == digest:
                outcome.unchanged.append(name)
                if path.stat().st_mode & 0o777 != file.mode:
                    path.chmod(file.mode)
            elif there in ("", known.get(name)) or force:
                _write(path, file)
                outcome.written.append(name)
            else:
                outcome.kept.append(name)
                continue
            made[name] = digest
        for name in [name for name in known if name not in app]:
            there = _digest(folder / name)
            if there == known[name] or force:
                (folder / name).unlink(missing_ok=True)
                outcome.removed.append(name)
            elif there:
                outcome.kept.append(name)
            del made[name]
        _write(folder / LIST, File(json.dumps({"version": version, "files": made}, indent=1).encode()))
    except OSError as error:
        raise _unusable(error, folder) from None
    return outcome


def _unusable(error: OSError, folder: Path) -> Refusal:
    what = f"{error.filename or folder}: {error.strerror}: the app cannot be written there"
    hint = f"the container must show the folder: apptainer run --bind {shlex.quote(str(folder.absolute().parent))} ..."
    return Refusal(ExitCode.USAGE, what, hint=hint)


def _known(folder: Path) -> dict[str, str]:
    """What we wrote last time. Raises OSError; Refusal when the folder is something else's."""
    try:
        listed = json.loads((folder / LIST).read_text())
        return {str(name): str(digest) for name, digest in listed["files"].items() if _is_inside(str(name))}
    except FileNotFoundError:
        if folder.is_dir() and any(entry.name != SITE for entry in folder.iterdir()):
            what = f"{folder}: is not empty, and not a folder that `render ondemand` has written"
            raise Refusal(ExitCode.USAGE, what, hint="name a new folder") from None
        return {}
    except (ValueError, KeyError, AttributeError):
        what = f"{folder / LIST}: is damaged, so nobody knows which files are yours"
        raise Refusal(ExitCode.USAGE, what, hint="render into a new folder, and move your changes there") from None


def _is_inside(name: str) -> bool:
    return not name.startswith("/") and ".." not in Path(name).parts


def _digest(path: Path) -> str:
    """SHA-256 of a file; empty when there is none. What is no plain file is somebody's, and like nothing of ours."""
    if path.is_symlink() or (path.exists() and not path.is_file()):
        return "not a file"
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return ""


def _write(path: Path, file: File) -> None:
    """In one step, readable for all whatever the umask: OnDemand reads it as the portal's users. Raises OSError."""
    for parent in (path.parent,):
        if not parent.is_dir():
            parent.mkdir(parents=True)
        with suppress(PermissionError):
            parent.chmod(parent.stat().st_mode | 0o055)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    new = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(file.content)
        new.chmod(file.mode)
        new.replace(path)
    except OSError:
        new.unlink(missing_ok=True)
        raise
