"""What a portal or a scheduler would make of the site's file: it is asked, with jobs that are only tried."""

from __future__ import annotations

from collections.abc import Iterator

from ...base.errors import Refusal
from ..job import condor_description, job_script
from ..job.condor_description import CondorJob
from ..node.node_programs import Missing, NodePrograms
from ..site.ondemand_table import amiss
from ..site.site_tables import SlurmTable
from .checked_site import CALLED, CheckedSite, refused
from .doctor import Finding


def of_portal(site: CheckedSite) -> Iterator[Finding]:
    if "ondemand" not in site.said:
        return
    wrong = list(amiss(site.ondemand, site.settings))
    for text in wrong:
        yield Finding("portal", "error", text, "see docs/ondemand.md")
    if not wrong:
        portals = ", ".join(site.ondemand.portals or site.settings.portals)
        yield Finding("portal", "ok", f"{portals}; clusters: {', '.join(site.ondemand.cluster)}")


def of_scheduler(site: CheckedSite) -> Iterator[Finding]:
    """Whether sbatch would take each job (sbatch(1), --test-only): partition, account, features, sizes."""
    programs = NodePrograms(site.here.environment)
    if "condor" in site.said:
        yield _tried_in_condor(site, programs)
    if not programs.has("sbatch"):
        if "slurm" in site.said or ("ondemand" in site.said and "slurm" in site.ondemand.schedulers):
            yield Finding("scheduler", "warning", "sbatch cannot be called from here, so no job was tried", CALLED)
        return
    for what, slurm in _jobs(site):
        yield _tried(site, programs, what, slurm)


def _jobs(site: CheckedSite) -> Iterator[tuple[str, SlurmTable]]:
    yield "the job of submit", site.slurm
    if "ondemand" in site.said:
        for size in site.ondemand.sizes:
            options = (*site.slurm.options, *site.ondemand.options, *size.options)
            changes = {"memory": size.memory, "cpus": size.cpus, "options": options}
            yield f"[ondemand] size `{size.title}`", site.slurm.model_copy(update=changes)


def _tried(site: CheckedSite, programs: NodePrograms, what: str, slurm: SlurmTable) -> Finding:
    try:
        want = job_script.JobOptions(slurm, {}, (), ())
        script = job_script.text(want, site.settings, site.here, "7lbd doctor")
        done = programs.run("sbatch", "--test-only", stdin=script)
    except Missing as missing:
        return Finding("scheduler", "warning", missing.what, CALLED)
    except Refusal as refusal:
        return refused("scheduler", refusal, "warning")
    said = " ".join(done.said.replace("sbatch: ", "").split())
    if done.code:
        return Finding(
            "scheduler", "error", f"{what} would be refused: {said}", "see [slurm] of the site's file, and: sinfo"
        )
    return Finding("scheduler", "ok", f"{what}: {said}")


def _tried_in_condor(site: CheckedSite, programs: NodePrograms) -> Finding:
    """Whether condor_submit would take the job (-dry-run). Which nodes there are it does not look at."""
    try:
        made = condor_description.text(
            CondorJob(site.condor, (), time_said=False), site.settings, site.here, "7lbd doctor"
        )
        done = programs.run("condor_submit", "-dry-run", "/dev/null", "-", stdin=made)
    except Missing as missing:
        return Finding("scheduler", "warning", f"{missing.what}, so no job was tried", CALLED)
    except Refusal as refusal:
        return refused("scheduler", refusal, "warning")
    if done.code:
        said = " ".join(done.said.split()) or f"it ended with {done.code}"
        return Finding(
            "scheduler", "error", f"the job of [condor] would be refused: {said}", "see [condor] of the file"
        )
    return Finding("scheduler", "ok", "the job of [condor]: condor_submit takes it")
