"""What a build is made from, boiled down to one key. In the way of every `make run`, so it must be quick."""

import hashlib
import os
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sifbuild import paths


def key(sources: Iterable[Path], facts: Iterable[str] = ()) -> str:
    """SHA-256 over the names, modes and contents of all files in `sources`, and over `facts`."""
    digest = hashlib.sha256()
    for fact in facts:
        digest.update(f"fact {fact}\0".encode())
    for path in sorted(walk(sources)):
        mode = "x" if os.access(path, os.X_OK) else "-"
        digest.update(f"file {mode} {path.relative_to(paths.REPO)} {path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def walk(sources: Iterable[Path]) -> Iterator[Path]:
    """All files in and under `sources`, without what Python leaves behind when it imports them."""
    for source in sources:
        if source.is_file():
            yield source
        for folder, folders, names in os.walk(source):
            folders[:] = [name for name in folders if name != "__pycache__" and not name.startswith(".")]
            yield from (Path(folder, name) for name in names if not name.endswith((".pyc", "~")))


@dataclass(frozen=True)
class Revision:
    """The last commit that touched what the SIF is made from."""

    commit: str
    epoch: int  # seconds, of that commit

    @classmethod
    def of(cls, sources: Iterable[Path]) -> "Revision":
        """Reads it from git. A tree without git has revision "unknown"; an edited one says so behind a "+"."""
        names = [str(source.relative_to(paths.REPO)) for source in sources]
        commit, _, epoch = git("log", "-1", "--format=%H %ct", "--", *names).partition(" ")
        edited = bool(git("status", "--porcelain", "--", *names))
        commit = (commit or "unknown") + ("+edited" if edited else "")
        return cls(commit, int(os.environ.get("SOURCE_DATE_EPOCH") or epoch or 0))


def git(*arguments: str) -> str:
    """What git says, or nothing. The repo may be another user's: CI clones as root and builds as somebody else."""
    command = ["git", "-c", f"safe.directory={paths.REPO}", *arguments]
    env = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    result = subprocess.run(command, cwd=paths.REPO, env=env, capture_output=True, text=True, check=False)
    return result.stdout.strip()
