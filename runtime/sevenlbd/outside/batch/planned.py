"""The session of a command, checked: no ways in, the command's shares, and what is to run. Runs in the checker."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...config.settings import AtEnd, Settings
from ...config.sources import Places
from ...config.value_kinds import parse_duration
from ...wire.job_files import JOB, WORK
from ...wire.plan import Batch
from ..job.allocation import Allocation
from ..session.preflight import checker
from ..session.preflight.prepared import Prepared
from . import attached, order, outputs
from .order import Order
from .request import JobRequest

_REPLACED = "\N{REPLACEMENT CHARACTER}"
_SHELLS = {"powershell": (".ps1",), "cmd": (".bat", ".cmd"), "sh": ()}
"""What the files of each are called."""
_OF_LISTS = {"list": "-", "results": "exec-results", "retries": "0", "fresh": False}
"""Options that only `--parallel` has a use for, as they are when nobody gives them."""


def planned(
    options: Namespace, chosen: Settings, here: Places, umask: int, job: Allocation | None
) -> tuple[Prepared, JobRequest]:
    """A session that runs what the options say. Raises Refusal."""
    wanted = request(options, umask, as_json=chosen.json_events)
    session = checker.prepared(options, _settings(chosen, options, wanted), here, umask, job)
    if not session.exec_hook:
        what = f"{session.image_title}: cannot run commands: its description has no exec_hook, or it has no agent"
        raise Refusal(ExitCode.IMAGE, what, hint="what the image needs for that: docs/exec.md")
    check_desktop(wanted, session.image_title, can=session.exec_desktop)
    if wanted.order:
        wanted.order.text(windows=session.plan.guest.os == "windows")
    folder = Path(session.plan.folder)
    batch = Batch(session.exec_hook, str(folder / JOB), str(folder / WORK) if wanted.apart else "")
    return replace(session, plan=replace(session.plan, batch=batch)), wanted


def check_desktop(wanted: JobRequest, image: str, *, can: bool) -> None:
    """Raises Refusal for a desktop that the image does not give: its guest would pass over the wish."""
    if wanted.order and wanted.order.desktop and not can:
        what = f"--desktop: {image} gives commands no visible desktop: its description has no exec_desktop"
        raise Refusal(ExitCode.IMAGE, what, hint="without --desktop, or an image of `7lbd image build windows`")


def _settings(chosen: Settings, options: Namespace, wanted: JobRequest) -> Settings:
    """Those of a session without a desktop."""
    for share in chosen.shares:
        if (name := share.partition("=")[0].lower()) in (JOB, WORK):
            raise Refusal(ExitCode.SHARE, f"--share {share}: `{name}` is exec's own", hint="give it another name")
    work = () if wanted.apart else (f"{WORK}={wanted.folder}:rw",)
    return chosen.model_copy(
        update={
            "shares": (*chosen.shares, *work),
            # What a command is not told to work on, it does not get.
            "home_share": bool(options.home_share),
            "name": options.keep or chosen.name,
            "web": "off",
            "web_certificate": "",
            "web_key": "",
            "rdp_tls": "",
            "console": False,
            "exit_when_ready": False,
            "resume": "",
            "resume_if_there": "",
            "passphrase_file": "",
            "at_end": AtEnd.SHUTDOWN,
            "checkpoint_every": 0,
            "end_notice": 0,
        }
    )


def request(options: Namespace, umask: int, *, as_json: bool) -> JobRequest:
    """What is to run. Raises Refusal."""
    _check_together(options)
    _check_words((*options.command, *options.env, *options.input, *options.output))
    for pattern in options.output:
        outputs.check(pattern)
    apart = bool(options.input or options.output)
    folder, inputs = _current_folder(home_too=apart or bool(options.home_share)), list(options.input)
    command = _command(options, folder, inputs)
    _check_inputs(inputs)
    made = None
    if command:
        given = not options.no_stdin and attached.has_stdin()
        made = Order(command, order.environment(options.env), given, options.desktop)
        made.text(windows=False)
    elif options.parallel:
        made = Order((), order.environment(options.env), desktop=options.desktop)
    elif not options.keep:
        raise Refusal(ExitCode.USAGE, "there is no command", hint="7lbd exec --image NAME -- PROGRAM ARGUMENTS")
    return JobRequest(
        order=made,
        timeout=_timeout(options),
        inputs=tuple(inputs) if apart else (),
        outputs=tuple(options.output),
        folder=folder,
        umask=umask,
        as_json=as_json,
        keep=bool(options.keep),
    )


def _check_together(options: Namespace) -> None:
    """Raises Refusal for what would be passed over beside the rest: its user would believe that it counts."""
    ways = [f"--{name}" for name in ("session", "keep", "parallel") if getattr(options, name)]
    if len(ways) > 1:
        what = f"{ways[0]} and {ways[1]} are two ways to have a machine: one of them"
        raise Refusal(ExitCode.USAGE, what, hint="7lbd exec --help")
    for name, usual in _OF_LISTS.items() if not options.parallel else ():
        if getattr(options, name) != usual:
            raise Refusal(ExitCode.USAGE, f"--{name}: is for a list of commands", hint="--parallel 4")


def _check_words(words: Sequence[str]) -> None:
    """Raises Refusal: a command with another argument than was given would be no error, but a wrong result.

    Apptainer hands arguments on as JSON, in which each byte that is no UTF-8 has become U+FFFD.
    """
    for word in words:
        if _REPLACED in word:
            what = f"{word!r}: has U+FFFD in it, which Apptainer puts in the place of what is not UTF-8"
            raise Refusal(ExitCode.USAGE, what, hint="write it to a file, and give its name")


def _current_folder(*, home_too: bool) -> str:
    """Where the command works. Raises Refusal.

    Apptainer goes to the home, and says little, where it cannot show the folder that one is in.
    """
    try:
        here = str(Path.cwd())
    except OSError:
        what = "the current folder is gone, and the command was to work in it"
        raise Refusal(ExitCode.SHARE, what, hint="cd to a folder that is there") from None
    if not home_too and Path(os.path.realpath(Path.home())).is_relative_to(os.path.realpath(here)):
        what = f"the command would work in {here}, and have all of your home: you are there, or the container does not "
        what += "show the folder that you are in"
        hint = "cd to the folder of the case (apptainer run --bind FOLDER, if it is not shown), or say --home-share"
        raise Refusal(ExitCode.SHARE, what, hint=hint)
    return here


def _command(options: Namespace, folder: str, inputs: list[str]) -> tuple[str, ...]:
    """The command; a script of the user's is brought along where it works apart. Raises Refusal."""
    if not options.shell:
        return tuple(options.command)
    shell, script = options.shell
    if shell not in _SHELLS:
        what = f"--shell {shell}: is none of {', '.join(_SHELLS)}"
        raise Refusal(ExitCode.USAGE, what, hint="--shell powershell FILE.ps1")
    ends = _SHELLS[shell]
    if ends and not script.lower().endswith(ends):
        raise Refusal(ExitCode.USAGE, f"--shell {shell}: {script} is not a file in {' or '.join(ends)}")
    if (Path(folder) / script).is_file() and (options.input or options.output):
        inputs.append(script)
        script = Path(script).name
    if shell == "powershell":
        return order.powershell(script, options.command)
    return ("/bin/sh", script, *options.command) if shell == "sh" else (script, *options.command)


def _check_inputs(inputs: list[str]) -> None:
    names: set[str] = set()
    for name in inputs:
        path = user_path(name)
        if not path.exists():
            raise Refusal(ExitCode.USAGE, f"--input {name}: there is no such file")
        if path.name in ("", ".."):
            raise Refusal(
                ExitCode.USAGE, f"--input {name}: has no name to be copied by", hint="by its name, or --share"
            )
        if path.name.lower() in names:
            raise Refusal(ExitCode.USAGE, f"--input {name}: another one has this name, and both go into one folder")
        names.add(path.name.lower())


def _timeout(chosen: Namespace) -> float | None:
    """Seconds. Raises Refusal."""
    if chosen.timeout is None:
        return None
    try:
        seconds = parse_duration(chosen.timeout)
    except ValueError as error:
        raise Refusal(ExitCode.USAGE, f"--timeout {chosen.timeout}: {error}", hint="--timeout 90m") from None
    if not isinstance(seconds, int | float) or seconds <= 0:
        raise Refusal(ExitCode.USAGE, f"--timeout {chosen.timeout}: leaves no time", hint="--timeout 90m")
    return float(seconds)
