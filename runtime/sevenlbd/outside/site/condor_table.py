"""`[condor]`, a table of the site's file: the job of a pool of HTCondor's in which a desktop runs."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from ...config.tables import Binds, Line, Lines, Name, Place, Table, key
from ...config.value_kinds import Duration, Size

# A command of a submit description (condor_submit(1)), or an attribute of the job's own ad behind a plus sign.
_COMMAND = re.compile(r"(\+|MY\.)?[A-Za-z_][A-Za-z0-9_.]*\s*=.*")


def checked_commands(values: tuple[str, ...]) -> tuple[str, ...]:
    """Lines of a submit description. Raises ValueError for what is none, or would begin another job."""
    for value in values:
        if not _COMMAND.fullmatch(value) or value.endswith("\\"):
            raise ValueError("each is a line of a submit description, for instance `request_gpus = 1`")
    return values


class CondorTable(Table):
    """`[condor]`: the job of HTCondor's in which a desktop runs, and how Apptainer is called there."""

    time: Duration = key(
        0,
        "How long the job may run (allowed_execute_duration) when nobody says; 0 is no limit.",
        metavar="DURATION",
        ge=0,
    )
    memory: Size = key(
        0, "Memory of the job (request_memory); 0 is the guest's and what its helpers need.", metavar="SIZE"
    )
    cpus: int = key(0, "CPUs of the job (request_cpus); 0 is the guest's.", metavar="N", ge=0)
    disk: Size = key(4 << 30, "Disk of the job (request_disk): what the guest writes, and its files.", metavar="SIZE")
    account: Name = key("", "Group that is charged (accounting_group).")
    requirements: Line = key("", "What a node must have, beside the image: an expression, for instance `SevenLbdKvm`.")
    match_images: bool = key(
        True,
        "Whether a job names its image (+vm_name) and goes to nodes that advertise it; false where nodes do not run "
        "`7lbd advertise`.",
    )
    job_name: Line = key("7lbd", "The job's name (batch_name).", min_length=1)
    output: Line = key(
        "7lbd-$(ClusterId).$(ProcId).log",
        "The job's output (output, error); a path that is not absolute is where submit is called.",
    )
    commands: Annotated[Lines, AfterValidator(checked_commands)] = key(
        (), "Further lines of the submit description, for instance `request_gpus = 1`."
    )
    setup: Lines = key((), "Lines of shell that the job runs before Apptainer is called.")
    sif: Place = key("", "The SIF's path on the nodes; empty is the path of the one that renders.", metavar="FILE")
    apptainer: Line = key("apptainer", "The command that is Apptainer on the nodes, or its path.", min_length=1)
    binds: Binds = key(
        (), "What each session's container shows beside the home and the folders of this file: PATH[:SEEN_AS[:ro]]."
    )
