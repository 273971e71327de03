"""Within which limits a coordinator works: the owner's and the site's words as numbers."""

from __future__ import annotations

from dataclasses import dataclass

_SYSTEM = 16  # a part of the memory; a guess, more than what a guest's kernel keeps: 3 to 5 % of some GiB


@dataclass(frozen=True)
class Terms:
    """Sizes in bytes, durations in seconds. A slot has its part of CPUs and memory, and one VM at a time."""

    slots: int
    slot_cpus: int
    slot_memory: int
    memory_left: int
    """What is the owner's: with less a VM has to go, and none begins."""
    grace: float
    """How long a VM takes, at most, until it is gone."""
    idle: float
    """A VM that nobody has claimed for so long ends; 0: it stays."""
    lease: float
    """For how long a job waits for its suspended VM; 0: none is suspended."""
    quota: int
    """Most that its images take; 0 is no limit."""
    keep: tuple[str, ...] = ()
    """Images that are held ahead of need."""

    @property
    def job_memory(self) -> int:
        """What a VM's jobs can have of its memory: a job of all of it would never be given to it, and one after the
        other would begin for that job and end idle."""
        return self.slot_memory - self.slot_memory // _SYSTEM
