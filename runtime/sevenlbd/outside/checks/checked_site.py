"""What the checks of a site's file work with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import Refusal
from ...config import sources
from ...config.settings import Settings
from ..site.condor_table import CondorTable
from ..site.ondemand_table import OnDemandTable
from ..site.owner_table import OwnerTable
from ..site.site_tables import SlurmTable
from .doctor import Finding

CALLED = "call doctor by the `7lbd` command (7lbd render command), which shows what jobs are shown"
"""How a finding is mended that comes from the way in which the container was started."""


@dataclass(frozen=True)
class CheckedSite:
    """The site's file, and what of it is right: what is wrong is told once, and left to the default after that."""

    here: sources.Places
    file: Path
    said: Mapping[str, object]
    settings: Settings
    slurm: SlurmTable
    condor: CondorTable
    ondemand: OnDemandTable
    owner: OwnerTable

    @property
    def folders(self) -> list[Path]:
        """Where images are looked up."""
        return sources.image_folders(self.here, self.settings)


def refused(check: str, refusal: Refusal, level: str = "error") -> Finding:
    return Finding(check, level, refusal.what, refusal.hint)
