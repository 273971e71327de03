"""How much memory and how many CPUs the guest gets: what was asked for, what its warm state has, or the job's part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ...base import units
from ...base.errors import ExitCode, Refusal
from ...config.settings import Settings
from ...images import layout
from ...images.description import Description
from ..node import abilities, rlimits
from ..node.abilities import HELPERS_MEMORY, Limit
from .allocation import Allocation

__all__ = ["HELPERS_MEMORY", "Size", "Sizing", "check_boots", "decided_by", "gib"]

_GIB = 1 << 30  # bytes
# A guest's memory is a whole number of huge pages.
_HUGE_PAGE = 2 << 20


@dataclass(frozen=True)
class Size:
    """Memory in bytes, and virtual CPUs."""

    memory: int
    cpus: int

    def __str__(self) -> str:
        return f"{gib(self.memory)} and {self.cpus} CPU{'s' if self.cpus > 1 else ''}"


@dataclass(frozen=True)
class Sizing:
    """What a size is decided by: the options, the image, the job (None outside of any) and the node's limit."""

    settings: Settings
    described: Description
    job: Allocation | None
    limit: Limit

    def like_frozen(self, frozen: Size) -> Size | None:
        """The size of a warm state, where the job leaves it to us and has room for it: to go on beats to boot."""
        options = self.settings
        if not self.job or options.memory not in (0, frozen.memory) or options.cpus not in (0, frozen.cpus):
            return None
        fits = frozen.memory <= self._part.for_guest and frozen.cpus <= self._usable_cpus()
        return frozen if fits else None

    def chosen(self, warnings: list[str], notes: list[str]) -> Size:
        """The size of a guest that boots. Raises Refusal for what this node, or this job, does not have."""
        return Size(self._memory(notes), self._cpus(warnings))

    def note_of_frozen(self, frozen: Size) -> list[str]:
        """That a job has more than the guest got, and how to get that; nothing when it has not."""
        spare = self._part.for_guest - frozen.memory if self._takes_part else 0
        more_cpus = self._usable_cpus() > frozen.cpus and bool(self.job and self.job.cpus)
        if spare < _GIB and not more_cpus:
            return []
        return [
            f"the guest has {frozen}, as the image's warm state was frozen; with --no-warm it gets all that the job has"
        ]

    @property
    def _takes_part(self) -> bool:
        return bool(self.job and self.job.memory)

    @property
    def _part(self) -> Limit:
        """What the helpers and the guest may take together."""
        job_limit = self.job.memory if self.job else None
        return min((limit for limit in (job_limit, self.limit) if limit), key=lambda limit: limit.for_guest)

    def _memory(self, notes: list[str]) -> int:
        requested = self.settings.memory or self.described.memory
        if self.settings.memory or not self._takes_part:
            return self._checked(requested)
        part = self._part.for_guest // _HUGE_PAGE * _HUGE_PAGE
        if part < requested:
            return self._checked(requested)
        notes.append(
            f"memory of the guest: {gib(part)}, which is {gib(self._part.size)} {self._part.whose} "
            f"without {gib(self._part.beside)} for {self._part.beside_for}"
        )
        return part

    def _checked(self, requested: int) -> int:
        part = self._part
        if requested > part.for_guest:
            fits = max(part.for_guest, 0) >> 20
            need = requested + part.beside
            raise Refusal(
                ExitCode.RESOURCES,
                f"{gib(requested)} for the guest and {gib(part.beside)} for {part.beside_for} make "
                f"{gib(need)}, but only {gib(part.size)} are {part.whose}",
                hint=part.more.format(mib=-(-need // (1 << 20)), kib=-(-need // 1024))
                + (f", or --memory {fits}M fits" if fits >= self.described.boots_with >> 20 else ""),
            )
        return requested >> 20 << 20

    def _usable_cpus(self) -> int:
        usable = abilities.cpus()
        return min(usable, self.job.cpus) if self.job and self.job.cpus else usable

    def _cpus(self, warnings: list[str]) -> int:
        requested, usable, described = self.settings.cpus, self._usable_cpus(), self.described.cpus
        if requested < 0 or requested > usable:
            raise Refusal(
                ExitCode.RESOURCES,
                f"{requested} CPUs were asked for, but this job may use {usable}",
                hint=f"--cpus {usable}, or ask the scheduler for more",
            )
        if requested:
            return requested
        if described > usable:
            warnings.append(f"the image asks for {described} CPUs; this job has {usable}, so the guest gets {usable}")
        return usable if self.job and self.job.cpus else min(described, usable)


def decided_by(
    settings: Settings, described: Description, environment: Mapping[str, str], job: Allocation | None, accel: str
) -> Sizing:
    """The sizing of a session on this node."""
    cpus = settings.cpus or (job.cpus if job else 0) or described.cpus
    limits = [abilities.memory_limit(environment), *rlimits.of_memory(accel, cpus)]
    return Sizing(settings, described, job, min(limits, key=lambda limit: limit.for_guest))


def check_boots(memory: int, described: Description) -> None:
    """Raises Refusal for less memory (bytes; 0: what the image asks for) than the image boots with.

    It would be waited for until its time was over.
    """
    memory, least = memory or described.memory, described.boots_with
    if memory < least:
        usual = f"--memory {max(described.memory, least) >> 20}M"
        by = f"; an image that boots with less says so: {layout.DESCRIPTION}, least_memory"
        raise Refusal(
            ExitCode.USAGE,
            f"{units.size(memory)} of memory are too few for this guest: it boots with {units.size(least)} at the "
            f"least, and its image asks for {units.size(described.memory)}",
            hint=usual if described.least_memory else usual + by,
        )


def gib(size: int) -> str:
    """Bytes for people."""
    return f"{size / _GIB:.1f} GiB"
