"""A job of HTCondor's as a submit description: what it asks for, which image it names, and the script that it runs.

One file, so that it can be read before it is used: the script stands in `arguments`, a line an argument. Text in, text
out. Source: HTCondor's manual, condor_submit(1), "Submit Description Syntax".
"""

from __future__ import annotations

import argparse
import math
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ...base.errors import ExitCode, Refusal
from ...config.merging import Source
from ...config.settings import AtEnd, Settings, in_words
from ...config.sources import Places
from ...images import names
from ..cli.parser import source
from ..saved import estimate, places
from ..schedulers import classad
from ..site import appliance_call, binds
from ..site.condor_table import CondorTable
from . import job_script, leads

_KEYS = {"time": "time", "account": "account", "constraint": "requirements", "job_name": "job_name", "output": "output"}
"""Options of the command line, and the keys of the site's table that they say otherwise."""
SAVED = "7lbd-saved"
"""The folder of a job in which its suspended desktop goes from node to node."""
_DESKTOP = f"{SAVED}/desktop{places.SUFFIX}"
_NO_IMAGE = int(ExitCode.IMAGE)
_BUSY = int(ExitCode.BUSY)
_BUSY_SECONDS = 600  # a guess: what others do with a node lasts minutes; and a try costs seconds
_TRIES = 5  # a guess: an image that is nowhere whole is found out by then
_OVER = 47  # HoldReasonCode: allowed_execute_duration is over


@dataclass(frozen=True)
class CondorJob:
    """A job to be: the site's table with the command line's word, and the session's words."""

    table: CondorTable
    session: tuple[str, ...]
    time_said: bool


def wanted(parsed: argparse.Namespace, table: CondorTable) -> CondorJob:
    """What the command line wants. Raises Refusal."""
    given = vars(parsed)
    if slurms := [name for name in ("partition", "qos") if given[f"slurm_{name}"] is not None]:
        what = f"command line: `--{slurms[0]}`: HTCondor has no such thing"
        raise Refusal(ExitCode.USAGE, what, hint="--constraint says what a node must have, --account who is charged")
    if parsed.sbatch:
        raise Refusal(ExitCode.USAGE, "command line: `--sbatch` is for Slurm", hint="--condor='request_gpus = 1'")
    said = {key: given[f"slurm_{name}"] for name, key in _KEYS.items() if given[f"slurm_{name}"] is not None}
    try:
        chosen = CondorTable.model_validate(table.model_dump() | said | {"commands": (*table.commands, *parsed.condor)})
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        option = next((one for one, key in _KEYS.items() if key == name), "condor").replace("_", "-")
        value = said.get(name, ", ".join(parsed.condor))
        what = f"command line: `--{option}` = `{value}`: {in_words(first['msg'])}"
        raise Refusal(ExitCode.USAGE, what, hint="7lbd submit --help") from None
    settings = source(parsed)
    kept = {name: value for name, value in settings.values.items() if name not in job_script.LOGIN_ONLY}
    words = tuple(appliance_call.words(Source(settings.name, kept)))
    return CondorJob(chosen, words, "time" in said)


def text(want: CondorJob, settings: Settings, here: Places, made_by: str) -> str:
    """The description. Raises Refusal when it cannot be said what the job needs."""
    settings = job_script.with_end(job_script.as_it_was(settings, here), here)
    suspends = settings.at_end is AtEnd.SUSPEND
    if suspends and (want.time_said or settings.time_limit):
        what = "a desktop that is suspended at its end goes on in HTCondor, so its job has no time (--time, --for)"
        raise Refusal(ExitCode.USAGE, what, hint="leave these out, or say --at-end shutdown")
    lines = [
        f"# A desktop as a job of HTCondor's. Made by: {made_by}",
        *_asked(want.table, settings, here, timed=not suspends),
        *_named(want.table, settings),
        *_ended(_grace(settings, want.table, here), settings),
        *_files(settings, here, suspends=suspends),
        *want.table.commands,
        "executable = /bin/bash",
        "transfer_executable = false",
        "# The script, a line each; exec: so that what HTCondor signals to the job is for the desktop.",
        *_arguments(_script(want, settings, here, suspends=suspends)),
        "queue",
    ]
    return "\n".join(lines) + "\n"


def _asked(table: CondorTable, settings: Settings, here: Places, *, timed: bool) -> Iterator[str]:
    memory, cpus = job_script.size(table, settings, here)
    yield "universe = vanilla"
    yield f"batch_name = {_value(table.job_name)}"
    if cpus:
        yield f"request_cpus = {cpus}"
    if memory:
        yield f"request_memory = {math.ceil(memory / (1 << 20))}M"
    yield f"output = {table.output}"
    yield f"error = {table.output}"
    yield "stream_output = true"
    yield "stream_error = true"
    if table.disk:
        # Suspended, its memory is beside its disk; and once more while it is written anew.
        disk = table.disk if timed else table.disk + 2 * (memory or 0)
        yield f"request_disk = {math.ceil(disk / (1 << 20))}M"
    if table.account:
        yield f"accounting_group = {table.account}"
    if timed and table.time:
        yield f"allowed_execute_duration = {math.ceil(table.time)}"
        yield f"periodic_remove = JobStatus == 5 && HoldReasonCode == {_OVER}"


def _named(table: CondorTable, settings: Settings) -> Iterator[str]:
    """The image by name, so that the job goes where it is: nodes advertise theirs. A path is the job's own affair."""
    conditions = [f"({table.requirements})"] if table.requirements else []
    stays = []
    if table.match_images and settings.image and "/" not in settings.image:
        names.parse(settings.image)
        yield f"+vm_name = {classad.written(settings.image)}"
        conditions.append("stringListMember(MY.vm_name, TARGET.SevenLbdImages)")
        # A node that has lost it since it last said so: the job goes on waiting, for one that has spoken after that.
        conditions.append(f"(ExitCode =!= {_NO_IMAGE} || TARGET.SevenLbdAdvertised > EnteredCurrentStatus)")
        stays.append(f"(ExitCode =!= {_NO_IMAGE} || NumJobStarts > {_TRIES})")
    if settings.background:
        # Where others need the memory it goes on waiting: for another node, or for a while.
        waited = f"time() > EnteredCurrentStatus + {_BUSY_SECONDS}"
        conditions.append(
            f'(ExitCode =!= {_BUSY} || {waited} || !stringListMember(TARGET.Machine, LastRemoteHost, "@"))'
        )
        stays.append(f"ExitCode =!= {_BUSY}")
    if stays:
        yield f"on_exit_remove = {' && '.join(stays)}"
    if conditions:
        yield f"requirements = {' && '.join(conditions)}"


def _grace(settings: Settings, table: CondorTable, here: Places) -> float:
    """How long the guest gets from an eviction to its end: what is too short to suspend would only shut it down."""
    if settings.at_end is not AtEnd.SUSPEND:
        return settings.stop_grace
    memory, _ = job_script.size(table, settings, here)
    return max(settings.stop_grace, estimate.seconds(memory, places.folder(settings.state_dir, here.environment)))


def _ended(grace: float, settings: Settings) -> Iterator[str]:
    """An eviction gets the time that an orderly end needs. No remove_kill_sig: it is sent at evictions, too."""
    after = settings.stop_grace if grace > settings.stop_grace else 0.0  # what was not written is shut down
    yield "kill_sig = SIGTERM"
    yield f"job_max_vacate_time = {math.ceil(grace + after + leads.AFTER_GUEST_SECONDS)}"


def _files(settings: Settings, here: Places, *, suspends: bool) -> Iterator[str]:
    """The scratch folder is the job's; nothing of it comes back but what a suspended desktop needs to go on."""
    yield "should_transfer_files = YES"
    if suspends:
        yield "# Suspended when it is evicted or held, and it goes on from there, on whichever node."
        yield "when_to_transfer_output = ON_EXIT_OR_EVICT"
        yield f"checkpoint_exit_code = {settings.suspended_exit_code}"
        yield f"transfer_output_files = {SAVED}"
    else:
        yield 'transfer_output_files = ""'
    if suspends and settings.resume:
        yield f"transfer_input_files = {_value(str(_saved(settings, here)))}"


def _saved(settings: Settings, here: Places) -> Path:
    """The file of the desktop that the job begins with. Raises Refusal."""
    path = places.find(places.folder(settings.state_dir, here.environment), settings.resume)
    if "," in str(path):
        what = f"{path}: HTCondor takes no file with a comma in its name"
        raise Refusal(ExitCode.USAGE, what, hint=f"mv it: {shlex.quote(str(path))}")
    return path


def _script(want: CondorJob, settings: Settings, here: Places, *, suspends: bool) -> str:
    table = want.table
    sif = appliance_call.sif(table, here)
    words, lines = list(want.session), list(table.setup)
    ending = ""
    if suspends:
        lines.append(f"mkdir -p {SAVED}")
        if settings.resume:
            name = shlex.quote(_saved(settings, here).name)
            lines.append(f"[ -e {_DESKTOP} ] || mv -- {name} {_DESKTOP}")
        words = [word for word in words if not word.startswith(("--resume=", "--resume-if-there=", "--stop-grace="))]
        grace = math.ceil(_grace(settings, table, here))
        longer = f" --stop-grace={grace}s" if grace > settings.stop_grace else ""
        ending = f'{longer} --resume-if-there="$PWD/{_DESKTOP}"'
    lines.append(binds.script(binds.folders(sif, settings), appliance_call.binds(table, here)))
    call = shlex.join([sif, "run", *words])
    lines.append(f'exec {shlex.quote(table.apptainer)} run "${{desktop_binds[@]}}" {call}{ending}')
    return "\n".join(lines)


def _arguments(script: str) -> Iterator[str]:
    """The script as arguments of bash, which joins them again. A comment line says nothing to a job."""
    first = ["-c", 'IFS=$\'\\n\'; set -- "$*"; unset IFS; eval "$1"', "7lbd"]
    rest = [line for line in script.split("\n") if line.strip() and not line.lstrip().startswith("#")]
    yield f'arguments = "{" ".join(map(_argument, first))} \\'
    for line in rest[:-1]:
        yield f"    {_argument(line)} \\"
    yield f'    {_argument(rest[-1])}"'


def _argument(word: str) -> str:
    """One word in the new syntax of arguments: in quotes of both kinds, each doubled to stand for itself."""
    quoted = word.replace("'", "''").replace('"', '""')
    return f"'{_value(quoted)}'"


def _value(text: str) -> str:
    """A value in which no macro is seen: neither condor_submit's `$(NAME)` nor the match's `$$(NAME)`."""
    text = text.replace("$$(", "$$(DOLLARDOLLAR)(")
    return re.sub(r"(?<!\$)\$(?=[A-Za-z_]*\()", "$(DOLLAR)", text)
