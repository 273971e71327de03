"""Somebody else who has an account on a test's node: a home, a name, and a number that is another to the kernel, too.

The numbers are those that /etc/subuid gives the tests' user; the node's namespace has them all (sitenet.py). What that
account keeps to itself the tests' user cannot read: the namespace's own root can (user_namespaces(7)).
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = "bob"
_ACCOUNTS = """
mkdir -p -m 0711 "$home" "$heard" "$home/heard"
chown -R "$number:$number" "$home" "$heard"
for file in passwd group; do cp /etc/$file "$home/$file"; done
echo "$name:x:$number:$number::$home:/bin/bash" >>"$home/passwd"
echo "$name:x:$number:" >>"$home/group"
for file in passwd group; do mount --bind "$home/$file" /etc/$file; done
mount --bind "$home/heard" "$heard"
"""
_READ = 'for file in $1; do printf "%s\\0" "$file"; cat "$file"; printf "\\0"; done'


class OtherAccount:
    """`prefix` runs a command of its on the node; `env` is what it has in the environment."""

    def __init__(self, node: int, home: Path) -> None:
        self.home = home
        self.number = 30000 + os.getuid() % 10000  # of its own for each who tests here: there are places named by it
        self._node = node
        self.prefix = self._as(self.number, "-n", "-m")
        self.env = {"HOME": str(home), "USER": _NAME, "LOGNAME": _NAME, "PATH": os.environ["PATH"]}

    def _as(self, number: int, *spaces: str) -> list[str]:
        return ["nsenter", "-t", str(self._node), "-U", *spaces, f"-S{number}", f"-G{number}", "--"]

    def texts(self, pattern: str) -> dict[Path, str]:
        """Its files whose paths match, and what is in them."""
        call = [*self._as(0), "sh", "-c", _READ, "sh", pattern]
        told = subprocess.run(call, capture_output=True, text=True, check=False)
        words = told.stdout.split("\0")
        return {Path(name): text for name, text in zip(words[::2], words[1::2], strict=False) if text}

    def come(self) -> None:
        names = f"name={_NAME} number={self.number} home='{self.home}' heard={self._heard}"
        subprocess.run([*self._as(0, "-n", "-m"), "sh", "-ec", names + _ACCOUNTS], check=True)

    def go(self) -> None:
        # Not by the node's mounts: what is mounted on cannot be removed.
        subprocess.run([*self._as(0), "rm", "-rf", str(self.home), self._heard], check=False)

    @property
    def _heard(self) -> str:
        """Where its coordinators hear the owner: on this node alone, as in sitenet.py."""
        return f"/tmp/7lbd-grid-{self.number}"


@contextmanager
def on(node: int, home: Path) -> Iterator[OtherAccount]:
    """An account on this node (a process in its namespaces), until the block is left; its home goes with it."""
    account = OtherAccount(node, home)
    account.come()
    try:
        yield account
    finally:
        account.go()
