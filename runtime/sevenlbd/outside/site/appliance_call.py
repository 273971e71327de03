"""How the appliance is called on a node: from a job's script, a portal's, or the `7lbd` command."""

from __future__ import annotations

from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...config.merging import Source
from ...config.settings import Settings, flag_of
from ...config.sources import Places
from ..node.node_programs import NODE_ROOT
from .site_tables import JobTable


def sif(table: JobTable, here: Places) -> str:
    """The SIF's path on the nodes. Raises Refusal when nobody knows it."""
    path = table.sif or here.sif
    if not path:
        raise Refusal(
            ExitCode.USAGE,
            "it is not known where the SIF is on the nodes",
            hint="say it in 7lbd.toml: sif = ... in [slurm] or [condor]",
        )
    return path


def command(table: JobTable, here: Places) -> str:
    """The `7lbd` command on the nodes, where nobody says otherwise: it lies beside the SIF. Raises Refusal."""
    return str(Path(sif(table, here)).with_name("7lbd"))


def call(table: JobTable, here: Places) -> list[str]:
    """The words that call the appliance on a node where it runs already, up to the SIF itself."""
    image = sif(table, here)
    shows = dict.fromkeys([str(Path(image).parent), *binds(table, here)])
    return [table.apptainer, "run", *(argument for bind in shows for argument in ("--bind", bind)), image]


def binds(table: JobTable, here: Places) -> list[str]:
    """The site's binds, for Apptainer's `--bind`, and those of this very call."""
    return list(dict.fromkeys([*table.binds, *_shown(here)]))


def _shown(here: Places) -> list[str]:
    """What this container shows of the node at its own place: a job that is asked for from in here needs it, too.

    Apptainer tells only where its binds are seen, so those that are seen elsewhere than at their own place are left to
    the site's `binds`.
    """
    bound = here.environment.get("APPTAINER_BIND") or here.environment.get("SINGULARITY_BIND") or ""
    return [path for path in bound.split(",") if path.startswith("/") and _is_the_nodes(Path(path))]


def _is_the_nodes(path: Path) -> bool:
    if not NODE_ROOT.is_dir():
        return not path.is_relative_to("/usr")
    try:
        return path != NODE_ROOT and path.samefile(f"{NODE_ROOT}{path}")
    except OSError:
        return False


def words(given: Source) -> list[str]:
    """What the command line said of settings, as words of `run`."""
    arguments: list[str] = []
    for name, value in given.values.items():
        flag = flag_of(name)
        if Settings.model_fields[name].annotation is bool:
            arguments.append(flag if value else f"--no-{flag.removeprefix('--')}")
        else:
            for one in value if isinstance(value, list | tuple) else [value]:
                arguments.append(f"{flag}={one}")
    return arguments
