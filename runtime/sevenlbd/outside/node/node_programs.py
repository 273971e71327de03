"""The node's own programs, called from inside the container: the scheduler's commands, which no SIF can bring along.

A program is taken from the container when the site has bound it in there, and otherwise run in the node's own file
tree, which `apptainer run --bind /:/node` shows: unshare(1) makes a user namespace in which an ordinary user may
chroot(2), so the program finds its libraries and its configuration where it always does.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from ...base import process
from ...base.errors import ExitCode, Refusal
from ...base.paths import is_folder, is_link
from ...base.process import Done

NODE_ROOT = Path("/node")
"""Where the container may show the node's own tree."""
_SECONDS = 60.0  # Slurm's commands wait 10 s for an answer (slurm.conf(5), MessageTimeout), and may ask again
# What Apptainer has changed in the caller's environment, or added to it.
_CONTAINERS = ("APPTAINER_", "SINGULARITY_", "LD_", "USER_PATH", "PS1", "PROMPT_COMMAND")
_USUAL = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin"


NO_WAY = (
    "run the `7lbd` command that `7lbd render command` writes, which shows the scheduler's commands to the container "
    "(apptainer run --bind /:/node ...)"
)


class Missing(Refusal):
    """There is no such program here, or it cannot be reached from inside the container."""

    def __init__(self, what: str) -> None:
        super().__init__(ExitCode.NODE, what, hint=NO_WAY)


class NodePrograms:
    """The programs of the node that we are on."""

    def __init__(self, environment: Mapping[str, str], root: Path = NODE_ROOT) -> None:
        self._root = root
        self._path = environment.get("USER_PATH") or _USUAL
        self._environment = {name: value for name, value in environment.items() if not name.startswith(_CONTAINERS)}

    def has(self, name: str) -> bool:
        """Whether the program is there."""
        try:
            self._command(name)
        except Missing:
            return False
        return True

    def run(self, name: str, *arguments: str, stdin: str = "", seconds: float = _SECONDS) -> Done:
        """Run a short program to its end. Raises Missing, and Refusal when it does not come to an end."""
        try:
            command, environment = self._command(name), self._environment | {"PATH": self._path}
            done = process.run_unbound([*command, *arguments], environment, stdin=stdin, seconds=seconds)
        except TimeoutError:
            what = f"{name} has not answered for {seconds:.0f} s"
            raise Refusal(ExitCode.NODE, what, hint=f"ask it yourself: {name}; or try again later") from None
        except OSError as error:
            raise Missing(f"{name}: {error.strerror}") from None
        if done.code and done.said.startswith("unshare: "):
            raise Missing(f"`{name}` of {os.uname().nodename} cannot be run from inside the container: {done.said}")
        return done

    def _command(self, name: str) -> list[str]:
        """How to call a program. Raises Missing."""
        if inside := shutil.which(name):
            return [inside]
        if not (self._root / "usr").is_dir():
            raise Missing(f"`{name}` cannot be reached from inside the container")
        for folder in self._path.split(":"):
            if folder.startswith("/") and _runs(self._root, folder, name):
                here = ["/usr/bin/unshare", "--map-current-user", f"--root={self._root}", f"--wd={_place(self._root)}"]
                return [*here, "--", f"{folder}/{name}"]
        raise Missing(f"there is no `{name}` in the PATH of {os.uname().nodename}")


def _runs(root: Path, folder: str, name: str) -> bool:
    """Whether the node has the program there. A symbolic link is the node's own: from here it would lead astray."""
    path = Path(f"{root}{folder}") / name
    return is_link(path) or os.access(path, os.X_OK)


def _place(root: Path) -> str:
    """The current folder as the node knows it, or its root when it has none of that name."""
    here = str(Path.cwd())
    return here if is_folder(Path(f"{root}{here}")) else "/"
