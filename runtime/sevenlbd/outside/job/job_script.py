"""A job's script: what it asks Slurm for, and the one line that starts the desktop. Text in, text out.

The last line is an exec, so that Slurm's signals to the batch shell are the session's own (sbatch(1), --signal=B:).
"""

from __future__ import annotations

import argparse
import math
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from pydantic import ValidationError

from ...base.errors import ExitCode, Refusal
from ...config import sources
from ...config.merging import Source
from ...config.settings import AtEnd, Settings, in_words
from ...config.sources import Places
from ...images.description import Description
from ...images.lookup import image as images
from ..cli.parser import source
from ..saved import places
from ..site import appliance_call, binds
from ..site.site_tables import JobTable, SlurmTable
from . import leads
from .sizing import HELPERS_MEMORY, check_boots

OPTIONS: Mapping[str, tuple[str, str]] = {
    "time": ("DURATION", "walltime of the job, for instance 4h or 04:00:00"),
    "partition": ("NAME", "partition of the job"),
    "account": ("NAME", "account that is charged"),
    "qos": ("NAME", "quality of service"),
    "constraint": ("FEATURES", "features that the node must have; of HTCondor's: an expression, its requirements"),
    "job_name": ("NAME", "the job's name"),
    "output": ("FILE", "the job's output; %%j is the job's number, or with HTCondor $(ClusterId)"),
}
"""Keys of the site's table that the command line can say otherwise."""
LOGIN_ONLY = ("json_events",)
"""Settings that are not for the session in the job."""


@dataclass(frozen=True)
class JobOptions:
    """A job to be: the site's table with the command line's word, more options of sbatch, the session's words."""

    slurm: SlurmTable
    said: Mapping[str, str]
    """What the command line said of the table's keys."""
    more: tuple[str, ...]
    session: tuple[str, ...]


def options(parser: argparse.ArgumentParser) -> None:
    """What can be said of a job on a command line."""
    for name, (metavar, about) in OPTIONS.items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", dest=f"slurm_{name}", metavar=metavar, default=None, help=about
        )
    parser.add_argument(
        "--condor", action="append", default=[], metavar="LINE",
        help="a further line of HTCondor's submit description, for instance --condor='request_gpus = 1'",
    )  # fmt: skip
    parser.add_argument(
        "--sbatch", action="append", default=[], metavar="OPTION",
        help="a further option of sbatch, for instance --sbatch=--nodelist=node17; may be given several times",
    )  # fmt: skip


def wanted(parsed: argparse.Namespace, slurm: SlurmTable) -> JobOptions:
    """What the command line wants. Raises Refusal."""
    given = vars(parsed)
    if parsed.condor:
        raise Refusal(ExitCode.USAGE, "command line: `--condor` is for HTCondor", hint="--sbatch=--gres=gpu:1")
    said = {name: given[f"slurm_{name}"] for name in OPTIONS if given[f"slurm_{name}"] is not None}
    if (time := said.get("time", "")).isdigit():
        what = f"command line: `--time {time}`: sbatch would take it for minutes, and the settings of 7lbd for seconds"
        raise Refusal(ExitCode.USAGE, what, hint=f"--time {time}m, or --time HH:MM:SS")
    if days := re.fullmatch(r"(\d+)-(\d+)((?::[0-5]\d){0,2})", said.get("time", "")):
        rest = (days[3] + ":00:00")[:6]
        said["time"] = f"{int(days[1]) * 24 + int(days[2])}{rest}"
    for option in parsed.sbatch:
        if not option.startswith("-") or not option.isprintable():
            what = f"command line: `--sbatch {option}`: is not an option of sbatch"
            raise Refusal(ExitCode.USAGE, what, hint="for instance --sbatch=--nodelist=node17")
    try:
        chosen = SlurmTable.model_validate(slurm.model_dump() | said)
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        what = f"command line: `--{name.replace('_', '-')}` = `{said.get(name)}`: {in_words(first['msg'])}"
        raise Refusal(ExitCode.USAGE, what, hint="7lbd submit --help") from None
    settings = source(parsed)
    kept = {name: value for name, value in settings.values.items() if name not in LOGIN_ONLY}
    return JobOptions(chosen, said, tuple(parsed.sbatch), tuple(appliance_call.words(Source(settings.name, kept))))


def text(want: JobOptions, settings: Settings, here: Places, made_by: str) -> str:
    """The script. Raises Refusal when it cannot be said what the job needs."""
    lines = ["#!/bin/bash", f"# A desktop as a job. Made by: {made_by}"]
    lines += [f"#SBATCH {option}" for option in _asked(want, settings, here)]
    lines += ["", *want.slurm.setup] if want.slurm.setup else []
    sif = appliance_call.sif(want.slurm, here)
    session = shlex.join([sif, "run", *want.session])
    lines += [
        "",
        binds.script(binds.folders(sif, settings), appliance_call.binds(want.slurm, here)),
        "",
        "# exec: so that what Slurm signals to this script is for the desktop.",
        f'exec {shlex.quote(want.slurm.apptainer)} run "${{desktop_binds[@]}}" {session}',
    ]
    return "\n".join(lines) + "\n"


def as_arguments(want: JobOptions) -> list[str]:
    """What the command line said, for sbatch's own: there it is stronger than the user's SBATCH_* variables."""
    said = [f"--{name.replace('_', '-')}={value}" for name, value in want.said.items() if name != "time"]
    time = [f"--time={walltime(want.slurm.time)}"] if "time" in want.said else []
    return [*said, *time, *want.more]


def walltime(seconds: float) -> str:
    """As sbatch takes it: days-hours:minutes:seconds."""
    minutes = math.ceil(seconds / 60)
    return f"{minutes // 1440}-{minutes // 60 % 24:02}:{minutes % 60:02}:00"


def _asked(want: JobOptions, settings: Settings, here: Places) -> Iterator[str]:
    """The options of sbatch(1), without `#SBATCH`."""
    slurm = want.slurm
    settings = with_end(as_it_was(settings, here), here)
    memory, cpus = size(slurm, settings, here)
    saved = places.folder(settings.state_dir, here.environment)
    yield f"--job-name={_quoted(slurm.job_name)}"
    yield "--nodes=1"
    yield "--ntasks=1"
    if cpus:
        yield f"--cpus-per-task={cpus}"
    if memory:
        yield f"--mem={math.ceil(memory / (1 << 20))}M"
    yield f"--time={walltime(slurm.time)}"
    yield f"--signal=B:USR1@{leads.of_signal(settings, None, memory, saved, slurm.time)}"
    yield f"--output={_quoted(slurm.output)}"
    for name in ("partition", "account", "qos", "constraint"):
        if value := getattr(slurm, name):
            yield f"--{name}={_quoted(value)}"
    yield from map(_option, (*slurm.options, *want.more))


def _option(written: str) -> str:
    """An option that somebody has written as one word of a command line."""
    name, equals, value = written.partition("=")
    return f"{name}={_quoted(value)}" if equals and re.fullmatch(r"--[a-z-]+", name) else _quoted(written)


def _quoted(value: str) -> str:
    """sbatch takes options from a script as words in a shell's quotes, without a shell's expansions."""
    return value if re.fullmatch(r"[\w@%+=:,./&|*!()\[\]-]+", value) else '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def as_it_was(settings: Settings, here: Places) -> Settings:
    """With the image, memory and CPUs of the desktop that the job goes on from, whatever the settings say.

    Raises Refusal.
    """
    if not settings.resume:
        return settings
    from ..saved import reading  # its libraries are large

    path = places.find(places.folder(settings.state_dir, here.environment), settings.resume)
    try:
        facts = reading.header(path).facts
    except OSError as error:
        what = f"{path}: cannot be read: {error.strerror}"
        raise Refusal(ExitCode.NO_SESSION, what, hint="7lbd saved list") from None
    was = {"memory": facts.machine.memory, "cpus": facts.machine.cpus}
    return settings.model_copy(update={**was, "image": settings.image or facts.image_name})


def with_end(settings: Settings, here: Places) -> Settings:
    """The settings, which say what becomes of the desktop at its end where only its image does."""
    if settings.at_end is not AtEnd.IMAGE:
        return settings
    suspends = leads.suspends(settings, _image(settings, here, needed=False))
    return settings.model_copy(update={"at_end": AtEnd.SUSPEND if suspends else AtEnd.SHUTDOWN})


def size(table: JobTable, settings: Settings, here: Places) -> tuple[int, int]:
    """Memory (bytes) and CPUs of the job. What is told beats what the site has, which beats what the image asks for.

    Raises Refusal for what the image does not boot with, where it is seen from here.
    """
    memory = settings.memory + HELPERS_MEMORY if settings.memory else table.memory
    cpus = settings.cpus or table.cpus
    image = _image(settings, here, needed=not memory) if settings.memory or not (memory and cpus) else None
    if image is None:
        return memory, cpus
    if not settings.resume:
        check_boots(settings.memory, image)
    return memory or image.memory + HELPERS_MEMORY, cpus or image.cpus


def _image(settings: Settings, here: Places, *, needed: bool) -> Description | None:
    """What the image asks for, when it is seen from here. One that only the nodes see is no mistake, unless needed."""
    try:
        folders = sources.image_folders(here, settings)
        return images.resolve(settings.image, folders, sources.image_cache(settings)).description
    except Refusal as refusal:
        if not needed:
            return None
        hint = f"{refusal.hint}; or, if the nodes have it, say what memory the job needs: --memory 8G"
        raise Refusal(refusal.code, refusal.what, hint=hint) from None
