"""The options of each of several machines: those that the user gave, and a size that leaves room for all of them."""

from __future__ import annotations

from ...base.errors import ExitCode, Refusal
from ...config import sources
from ...config.settings import Settings, flag_of
from ...images.lookup import image as images
from ..cli.command import CommandContext
from ..cli.parser import source
from ..job import allocation
from ..job.sizing import gib
from ..node import abilities

_NOT_THEIRS = ("json_events", "name")


def of(context: CommandContext, number: int) -> list[str]:
    """For `exec --keep`. Raises Refusal when the node, or the job, has no room for so many."""
    options, settings, environment = context.options, context.settings, context.here.environment
    described = images.resolve(settings.image, context.folders, sources.image_cache(settings)).description
    if options.desktop and not described.exec_desktop:
        what = f"--desktop: {settings.image} gives commands no visible desktop: its description has no exec_desktop"
        raise Refusal(ExitCode.IMAGE, what, hint="without --desktop")
    memory, job = settings.memory or described.memory, allocation.of(environment)
    for limit in filter(None, (job.memory if job else None, abilities.memory_limit(environment))):
        need = number * (memory + limit.beside)
        if need > limit.size:
            what = f"--parallel {number}: its machines need {gib(need)}, and {gib(limit.size)} are {limit.whose}"
            fewer = limit.size // (memory + limit.beside)
            hint = f"--parallel {fewer}" if fewer else "there is no room for one: a smaller machine, as --memory 2G"
            raise Refusal(ExitCode.RESOURCES, what, hint=hint)
    cpus = settings.cpus or (min(described.cpus, job.cpus) if job and job.cpus else 0)
    words = []
    for name, value in source(options).values.items():
        if name not in (*_NOT_THEIRS, "memory", "cpus"):
            words += _words(name, value)
    for file in options.input:
        words += ["--input", file]
    for pattern in options.output:
        words += ["--output", pattern]
    words += ["--cpus", str(cpus)] if cpus else []
    return [*words, "--memory", str(memory), "--no-stdin"]


def _words(name: str, value: object) -> list[str]:
    flag = flag_of(name)
    if Settings.model_fields[name].annotation is bool:
        return [flag if value else f"--no-{flag.removeprefix('--')}"]
    if isinstance(value, list | tuple):
        return [word for one in value for word in (flag, str(one))]
    return [flag, str(value)]
