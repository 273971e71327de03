"""Which schedulers there are. One more is a module with a class like these, and a line here."""

from __future__ import annotations

from collections.abc import Collection

from ...base.errors import ExitCode, Refusal
from ..node.node_programs import NodePrograms
from .condor import Condor
from .scheduler import Scheduler
from .slurm import Slurm

NAMES = (Slurm.name, Condor.name)


def every(programs: NodePrograms) -> tuple[Scheduler, ...]:
    """All of them, whether they are here or not."""
    return (Slurm(programs), Condor(programs))


def here(programs: NodePrograms) -> tuple[Scheduler, ...]:
    """Those that can be asked from here."""
    return tuple(one for one in every(programs) if one.is_here())


def chosen(programs: NodePrograms, name: str, tables: Collection[str]) -> Scheduler:
    """The one that a job is for: the one that is named, the only one that is here, or that has its table.

    `tables` are those that the site's file has. Raises Refusal when that leaves several.
    """
    if name:
        return next(one for one in every(programs) if one.name == name)
    found = here(programs)
    told = [one for one in found or every(programs) if one.name in tables]
    candidates = told or found
    if len(candidates) > 1:
        what = f"there are several schedulers here: {', '.join(one.name for one in candidates)}"
        raise Refusal(ExitCode.USAGE, what, hint=f"say which: --scheduler {candidates[0].name}")
    return candidates[0] if candidates else every(programs)[0]
