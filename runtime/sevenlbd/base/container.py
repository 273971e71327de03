"""What of the node the container shows, and how it is called so that it shows more."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_SIF = "7lbd.sif"


def sif(environment: Mapping[str, str] = os.environ) -> str:
    """The SIF's path on the node, which Apptainer tells; else its usual name."""
    return environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER") or _SIF


def hides(path: Path) -> bool:
    """Whether `path` would lie in a folder of the container's own: then nobody in here knows what the node has there.

    Folders of the node are mounted; the root, and what Apptainer makes to mount on, is one file system of its own.
    """
    there = next(folder for folder in path.absolute().parents if folder.exists())
    return there.stat().st_dev == Path("/").stat().st_dev


def call(apptainer: Sequence[str], words: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """The command that runs the appliance with these options of Apptainer's, to be pasted into a shell."""
    return shlex.join(["apptainer", "run", *apptainer, sif(environment), *words])


def again(apptainer: Sequence[str]) -> str:
    """The user's own command once more, with these options of Apptainer's."""
    return call(apptainer, sys.argv[1:])
