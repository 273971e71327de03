"""The checks in their order: the whole site file against this node, as a session, a job and the portal would meet it.

What the command line, the environment and the user's file say is left out. It changes nothing; of other machines it
asks the name servers for the hosts of `egress_allow`, connects to its servers, and asks the scheduler whether it would
take the job.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ...base.errors import Refusal
from ...config import sources, tables
from ...config.merging import Source, from_table, load
from ...config.settings import Settings, without_tables
from ..site.condor_table import CondorTable
from ..site.ondemand_table import OnDemandTable
from ..site.owner_table import OwnerTable
from ..site.site_tables import SlurmTable
from . import jobs, lent, plausibility, projects, provided, reachability, surroundings
from .checked_site import CheckedSite, refused
from .doctor import Finding


def examine(here: sources.Places) -> list[Finding]:
    """Every finding, in the order of the file."""
    try:
        file, said = sources.site_file(here)
    except Refusal as refusal:
        return [refused("site file", refusal)]
    if file is None:
        return [_none(here)]
    settings, wrong = _settings(file, said)
    slurm, in_slurm = tables.sifted(SlurmTable, "slurm", said.get("slurm", {}), file)
    condor, in_condor = tables.sifted(CondorTable, "condor", said.get("condor", {}), file)
    ondemand, in_ondemand = tables.sifted(OnDemandTable, "ondemand", said.get("ondemand", {}), file)
    owner, in_owner = tables.sifted(OwnerTable, "owner", said.get("owner", {}), file)
    key_findings = [refused("keys", refusal) for refusal in (*wrong, *in_slurm, *in_condor, *in_ondemand, *in_owner)]
    if not key_findings:
        key_findings = [
            Finding("keys", "ok", f"all {_count(said)} that are set are known, with values that they can have")
        ]
    site = CheckedSite(
        here,
        file,
        said,
        settings=settings,
        slurm=slurm,
        condor=condor,
        ondemand=ondemand,
        owner=owner,
    )
    checks = (
        plausibility.file, plausibility.sense, provided.of_images, provided.of_shares,
        reachability.inward, reachability.outward, projects.of_networks,
        surroundings.of_folders, surroundings.of_container, jobs.of_portal, jobs.of_scheduler,
        lent.of_owner,
    )  # fmt: skip
    return [*key_findings, *(finding for check in checks for finding in check(site))]


def _none(here: sources.Places) -> Finding:
    text = f"there is none, so the defaults hold; looked for {', '.join(map(str, here.site_files))}"
    return Finding(
        "site file", "warning", text, f"7lbd render site > {here.site_files[0]}, and set in it what you need"
    )


def _count(said: Mapping[str, object]) -> int:
    return sum(len(value) if isinstance(value, Mapping) else 1 for value in said.values())


def _settings(file: Path, said: Mapping[str, object]) -> tuple[Settings, list[Refusal]]:
    """The settings, each tried by itself, so that all that is wrong is told at once."""
    good: dict[str, object] = {}
    wrong: list[Refusal] = []
    for name, value in without_tables(said).items():
        try:
            load([from_table({name: value}, str(file), trusted=True)])
            good[name] = value
        except Refusal as refusal:
            wrong.append(refusal)
    return load([Source(str(file), good, trusted=True)]).settings, wrong
