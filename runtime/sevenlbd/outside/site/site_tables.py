"""The site file's tables: what `submit`, `render` and `doctor --site` know of the site. Each key declared once.

The settings of sessions, in the same file, are declared in `settings`. A session never reads these tables.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...config import sources
from ...config.tables import Binds, Line, Lines, Name, Options, Place, Table, checked, key
from ...config.value_kinds import Duration, Size
from .condor_table import CondorTable
from .grid_table import GridTable
from .ondemand_table import OnDemandTable
from .owner_table import OwnerTable
from .pool_table import PoolTable


class SlurmTable(Table):
    """`[slurm]`: the job in which a desktop runs, and how Apptainer is called there. Empty: sbatch decides."""

    partition: Name = key("", "Partition of the job (sbatch --partition).")
    account: Name = key("", "Account that is charged (sbatch --account).")
    qos: Name = key("", "Quality of service (sbatch --qos).")
    constraint: Line = key("", "Features that the node must have (sbatch --constraint), for instance `kvm`.")
    time: Duration = key(
        28800, "Walltime of the job (sbatch --time) when nobody says another.", metavar="DURATION", ge=60
    )
    memory: Size = key(
        0, "Memory of the job (sbatch --mem); 0 is the guest's and what its helpers need.", metavar="SIZE"
    )
    cpus: int = key(0, "CPUs of the job (sbatch --cpus-per-task); 0 is the guest's.", metavar="N", ge=0)
    job_name: Line = key("7lbd", "The job's name (sbatch --job-name).", min_length=1)
    output: Line = key(
        "7lbd-%j.log", "The job's output (sbatch --output); a path that is not absolute is where submit is called."
    )
    options: Options = key((), "Further options of sbatch, each as it stands on its command line.")
    setup: Lines = key(
        (), "Lines of shell that the job runs before Apptainer is called, for instance `module load apptainer`."
    )
    sif: Place = key("", "The SIF's path on the nodes; empty is the path of the one that renders.", metavar="FILE")
    apptainer: Line = key("apptainer", "The command that is Apptainer on the nodes, or its path.", min_length=1)
    binds: Binds = key(
        (), "What each session's container shows beside the home and the folders of this file: PATH[:SEEN_AS[:ro]]."
    )


JobTable = SlurmTable | CondorTable
"""What of a site's jobs every scheduler has: time, size, name, and how Apptainer is called there."""
TABLES: Mapping[str, type[Table]] = {
    "slurm": SlurmTable,
    "condor": CondorTable,
    "ondemand": OnDemandTable,
    "owner": OwnerTable,
    "grid": GridTable,
    "pool": PoolTable,
}


@dataclass(frozen=True)
class Site:
    """The site's file (None: there is none) and its tables; one that it does not have is the defaults."""

    file: Path | None
    slurm: SlurmTable
    condor: CondorTable
    ondemand: OnDemandTable
    owner: OwnerTable
    grid: GridTable
    pool: PoolTable
    said: frozenset[str] = frozenset()
    """Which of them the file has."""

    def job_table(self, scheduler: str) -> JobTable:
        """That of a scheduler, by its name."""
        return self.condor if scheduler == "condor" else self.slurm

    @property
    def only_table(self) -> JobTable:
        """That of the scheduler which the site has told of; Slurm's where it has told of both, or of none."""
        return self.job_table("condor" if "condor" in self.said and "slurm" not in self.said else "slurm")


def read(here: sources.Places) -> Site:
    """The tables of the site's file. Raises Refusal that names the key."""
    file, tables = sources.site_tables(here)
    return Site(
        file,
        slurm=checked(SlurmTable, "slurm", tables.get("slurm", {}), file),
        condor=checked(CondorTable, "condor", tables.get("condor", {}), file),
        ondemand=checked(OnDemandTable, "ondemand", tables.get("ondemand", {}), file),
        owner=checked(OwnerTable, "owner", tables.get("owner", {}), file),
        grid=checked(GridTable, "grid", tables.get("grid", {}), file),
        pool=checked(PoolTable, "pool", tables.get("pool", {}), file),
        said=frozenset(tables),
    )
