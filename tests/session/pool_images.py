"""The pool's repository, for tests of machines that fetch from it, and the key that signs what is in there."""

from __future__ import annotations

import os
from pathlib import Path

import harness

MIB = 1 << 20
DISK = 24 * MIB
_DESCRIBED = """\
schema = 1
os = "linux"
firmware = "bios"
memory = "128M"
cpus = 1
disk = "disk.raw"
format = "raw"
channels = ["agent"]
desktop = false
join_hook = ["/bin/true"]
"""


class PoolImages:
    """The pool's repository, and the key that signs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "images"
        self.key = folder / "pool.key"
        done = harness.run("image", "keygen", str(self.key.with_suffix("")), options=["--bind", str(folder)])
        assert done.returncode == 0, done.stderr
        self.public = self.key.with_suffix(".pub").read_text().strip()
        self._bind = ["--bind", str(folder)]

    def sign(self, name: str, version: str) -> None:
        """What is there."""
        words = ("--image-dir", str(self.folder), f"{name}@{version}", "--key", str(self.key))
        done = harness.run("image", "sign", *words, options=self._bind, timeout=600)
        assert done.returncode == 0, done.stderr

    def add(self, version: str, *, tampered: bool = False) -> None:
        """A version of `lab`, of noise that nothing boots from."""
        place = self.folder / "lab" / version
        place.mkdir(parents=True)
        (place / "image.toml").write_text(_DESCRIBED)
        (place / "disk.raw").write_bytes(bytes(512) + os.urandom(DISK - 512))
        self.sign("lab", version)
        if tampered:
            (place / "disk.raw").chmod(0o600)
            with (place / "disk.raw").open("r+b") as disk:
                disk.seek(9 * MIB)
                disk.write(b"tampered")
