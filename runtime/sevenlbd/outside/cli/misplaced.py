"""What stands where something else belongs: Apptainer's words behind the SIF, a guest's command before `--`.

Each is told with the command that works.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath

from ...base import container
from ...base.errors import ExitCode, Refusal

# `apptainer run --help`; those with a value of their own, and those without. What we call alike is ours.
_WITH_VALUE = frozenset({
    *("--bind", "-B", "--mount", "--env", "--env-file", "--home", "-H", "--overlay", "-o", "--pwd", "--scratch"),
    *("--cwd", "-S", "--workdir", "-W", "--fusemount", "--no-mount", "--dns", "--hostname", "--network-args"),
    *("--security", "--add-caps", "--drop-caps", "--apply-cgroups", "--app", "--pem-path"),
})  # fmt: skip
_ALONE = frozenset({
    *("--nv", "--nvccli", "--rocm", "--cleanenv", "-e", "--contain", "-c", "--containall", "-C", "--no-home", "--net"),
    *("--ipc", "-i", "--pid", "-p", "--userns", "-u", "--uts", "--fakeroot", "-f", "--writable", "-w", "--compat"),
    *("--writable-tmpfs", "--underlay", "--no-privs", "--no-init", "--no-umask", "--no-eval", "--sharens"),
})  # fmt: skip


def refuse_sif(words: Sequence[str]) -> None:
    """Refuse the SIF as a word of its own: this is what runs in it. Raises Refusal."""
    if not words[0].endswith(".sif"):
        return
    theirs, ours = _parted(words[1:])
    what = f"command line: `{words[0]}` is the appliance itself, which is running already: no verb and no option"
    raise Refusal(ExitCode.USAGE, what, hint=container.call(theirs, ours))


def refuse_apptainer_options(arguments: Sequence[str], unknown: Sequence[str]) -> None:
    """Refuse options of Apptainer's among those that nobody here knows. Raises Refusal."""
    option = unknown[0].partition("=")[0]
    if option not in _WITH_VALUE | _ALONE:
        return
    theirs, ours = _parted(arguments)
    sif = PurePath(container.sif()).name
    what = f"command line: `{option}` is an option of Apptainer's, and stands before {sif}: behind it are ours"
    raise Refusal(ExitCode.USAGE, what, hint=container.call(theirs, ours))


def refuse_command(verb: str, unknown: Sequence[str], behind: Sequence[str]) -> None:
    """Refuse a guest's command that begins among the options of `verb`. Raises Refusal."""
    if unknown[0].startswith("-"):
        return
    what = f"command line: `{unknown[0]}` is not an option of {verb}: the command stands behind `--`"
    raise Refusal(ExitCode.USAGE, what, hint=f"{verb} [OPTION ...] -- {shlex.join([*unknown, *behind])}")


def _parted(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Apptainer's words, and the rest, each in their order."""
    theirs, ours = [], []
    left = list(words)
    while left:
        word = left.pop(0)
        name = word.partition("=")[0]
        if name in _WITH_VALUE | _ALONE:
            theirs.append(word)
            if name in _WITH_VALUE and "=" not in word and left:
                theirs.append(left.pop(0))
        else:
            ours.append(word)
    return theirs, ours
