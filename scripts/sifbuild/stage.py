"""A stage turns inputs into one artefact under build/, and does so only when the inputs changed.

The artefact is made under another name and moved into place when it is whole; its key is written after that. A build
that is interrupted anywhere leaves the old artefact or none, never half of one that passes for good.
"""

import fcntl
import os
import shutil
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sifbuild import paths
from sifbuild.process import log_path, say


class Stage(ABC):
    name: str  # of the artefact, under build/
    what: str  # for people, with how long it takes

    @property
    def artefact(self) -> Path:
        return paths.BUILD / self.name

    @property
    def key_file(self) -> Path:
        return paths.BUILD / f"{self.name}.key"

    @abstractmethod
    def key(self) -> str:
        """Changes exactly when the artefact has to be made anew."""

    @abstractmethod
    def make(self, target: Path) -> None:
        """Makes the artefact at `target`, which does not exist yet."""

    def is_fresh(self) -> bool:
        return self.artefact.exists() and self.key_file.is_file() and self.key_file.read_text() == self.key()

    def build(self) -> None:
        say(f"{self.name}: {self.what}")
        start, key = time.monotonic(), self.key()
        log_path(self.name).unlink(missing_ok=True)
        target = paths.TMP / self.name
        self.make(target)
        self.key_file.unlink(missing_ok=True)
        self.replace(target)
        self.key_file.write_text(key)
        say(f"{self.name}: done in {time.monotonic() - start:.0f} s")

    def replace(self, target: Path) -> None:
        if self.artefact.is_dir():
            self.artefact.rename(paths.TMP / f"{self.name}.old")
        target.rename(self.artefact)


@contextmanager
def build_lock() -> Iterator[None]:
    """One build at a time in this tree; a second one waits, and then finds everything made."""
    paths.BUILD.mkdir(exist_ok=True)
    with (paths.BUILD / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another build is running in this tree; waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch() -> Iterator[None]:
    """An empty build/tmp. What a killed build left in there may belong to subordinate ids, so it takes their owner."""
    remove(paths.TMP)
    paths.TMP.mkdir()
    try:
        yield
    finally:
        remove(paths.TMP)


def remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists() and os.geteuid() != 0:
        subprocess.run(["unshare", "--map-auto", "--map-root-user", "rm", "-rf", str(folder)], check=True)
