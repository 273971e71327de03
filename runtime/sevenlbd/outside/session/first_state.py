"""What is known of a session before it begins: its state as everybody sees it first."""

from __future__ import annotations

import os

from ...base import lineage
from ...base.errors import visible
from ...wire.job_files import WORK
from ...wire.state import SessionState
from .preflight.prepared import Prepared
from .worker_standing import joined_as

_SIGNALS = {
    "slurm": "Slurm signals to the job's script (the end of its time ahead, scancel --batch)",
    "condor": "HTCondor signals to the job's program (eviction, condor_rm, condor_hold)",
}
_LONGEST_TITLE = 120  # characters; a guess: a line of a terminal


def first_state(prepared: Prepared) -> SessionState:
    """The state of a session that is checked and begins now."""
    plan, job = prepared.plan, prepared.job
    state = SessionState(
        id=plan.session,
        user=prepared.login,
        host=os.uname().nodename,
        image=visible(prepared.image_title),
        title=visible(prepared.title, _LONGEST_TITLE),
        accel=plan.accel,
        network=plan.network,
        pid=os.getpid(),
        folder=plan.folder,
        warnings=list(map(visible, prepared.warnings)),
        console=plan.console,
        account=plan.guest.account,
        project=plan.project.name if plan.project else "",
        notes=list(map(visible, prepared.notes)),
        joins=joined_as(plan.join),
        runs=plan.guest.os if plan.batch else "",
        desktop=bool(plan.batch and prepared.exec_desktop),
        works_in=next((share.path for share in plan.shares if plan.batch and share.name == WORK), ""),
        background=prepared.background,
        suspend_seconds=prepared.options.suspend_seconds,
    )
    if job:
        state.job, state.step, state.restarts, state.scheduler = job.job, job.step, job.restarts, job.scheduler
        state.array, state.unique_job = job.array, job.unique
        state.leads_job = lineage.ours()
        state.warnings += _of_deaf_shell(prepared)
    return state


def _of_deaf_shell(prepared: Prepared) -> list[str]:
    """That signals to the job's batch script do not come to us. A portal's own script passes them on."""
    in_portal = any(target.portal for target in prepared.presence)
    shell = lineage.shell_between(os.getpid()) if prepared.job and prepared.job.batch and not in_portal else ""
    if not shell:
        return []
    what = _SIGNALS.get(prepared.job.scheduler, "") if prepared.job else ""
    return [
        f"what {what} stays with its shell, `{shell}`, and the guest would be cut off. "
        "To mend: exec apptainer run ..., in --wrap, too"
    ]
