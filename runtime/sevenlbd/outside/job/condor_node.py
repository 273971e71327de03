"""`render condor-node`: how an HTCondor node offers this appliance, and its owner's policy. Text, for people to read.

What is decided by hours and log-ins is decided by `advertise` on the node, with the code that all borrowers share; the
configuration asks for its answer, and has only the clock to look at between two of them. It adds to what a site has:
START and PREEMPT keep their own conditions. Source: HTCondor's manual, Configuration Macros.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from ... import __version__
from ...base.errors import ExitCode, Refusal
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser
from ..console import terminal
from ..owner import advertised
from ..site import appliance_call, site_tables
from ..site.owner_table import OwnerTable

_PERIOD = 60  # seconds: a probe costs a third of one
_STALE = 5 * _PERIOD  # a probe that was late four times is believed to be dead
# Seconds: of its time to leave a startd takes five to look at its policy again (POLLING_INTERVAL), and some to kill.
_SLACK = 10
_NICEST = 19  # setpriority(2)


def condor_node(context: CommandContext) -> int:
    """Print the configuration."""
    site = site_tables.read(context.here)
    table = site.job_table("condor" if "condor" in site.said else "slurm")
    command = context.options.command or appliance_call.command(table, context.here)
    if not command.startswith("/") or not command.isprintable():
        what = f"{command!r} is not a path from the root, on one line"
        raise Refusal(ExitCode.USAGE, what, hint="--command /apps/7lbd/7lbd")
    terminal.write(text(site.owner, command))
    return ExitCode.OK


def text(owner: OwnerTable, command: str) -> str:
    """The file. `command` is the `7lbd` command's path on the nodes."""
    quiet = f" && {_quiet(owner)}" if owner.load else ""
    return _TEXT.format(
        version=__version__,
        command=command.replace("$", "$(DOLLAR)"),
        period=_PERIOD,
        lent=_lent(owner),
        more=f"MY.{advertised.MAY_BEGIN} =?= True{quiet}",
        vacate=math.ceil(max(owner.grace - _SLACK, owner.grace / 2)),
        reserved="\n".join(_reserved(owner)),
        nicest=_NICEST,
    )


def _lent(owner: OwnerTable) -> str:
    """Whether work may be there now. Of the machine's own ad only: a job's could say the same names."""
    until, grace = f"MY.{advertised.UNTIL}", math.ceil(owner.grace)
    return (
        f"((MY.{advertised.ALLOWS} =?= True && "
        # Neither too old, nor of a clock that was ahead and would be believed until then.
        f"(time() - MY.{advertised.ASKED}) < {_STALE} && (MY.{advertised.ASKED} - time()) < {_PERIOD} && "
        f"({until} =?= undefined || time() < {until} - {grace})) =?= True)"
    )


def _quiet(owner: OwnerTable) -> str:
    return f"((MY.TotalLoadAvg - MY.TotalCondorLoadAvg) <= {owner.load} * MY.TotalCpus) =!= False"


def _reserved(owner: OwnerTable) -> Iterator[str]:
    yield f"RESERVED_MEMORY = {math.ceil(owner.memory / (1 << 20))}"
    if owner.cpus:
        yield f"NUM_CPUS = max({{1, $(DETECTED_CPUS) - {owner.cpus}}})"


_TEXT = """\
# 7lbd on an HTCondor node. Made by: 7lbd render condor-node ({version}), of the site's table [owner]
#
# Put it into the configuration folder of each node, after the site's own, as 70-7lbd, and call condor_restart -startd.
# Made again, it takes the place of the old one; nothing in it is to be changed by hand.

# The `7lbd` command (7lbd render command), which shows the node's own tree to the probe.
SEVENLBD_COMMAND = {command}

# What the node offers, and whether its owner lends it.
STARTD_CRON_JOBLIST = $(STARTD_CRON_JOBLIST:) SEVENLBD
STARTD_CRON_SEVENLBD_EXECUTABLE = $(SEVENLBD_COMMAND)
STARTD_CRON_SEVENLBD_ARGS = advertise
STARTD_CRON_SEVENLBD_MODE = Periodic
STARTD_CRON_SEVENLBD_PERIOD = {period}s
# One that hangs is ended, and its answer is too old then.
STARTD_CRON_SEVENLBD_KILL = True

# What jobs of the container universe see of the node's devices, where it has them.
if defined SINGULARITY_BIND_EXPR
SINGULARITY_BIND_EXPR = strcat($(SINGULARITY_BIND_EXPR), " /dev/kvm /dev/net/tun")
else
SINGULARITY_BIND_EXPR = "/dev/kvm /dev/net/tun"
endif

# The owner. An answer that is too old is none, and without one nothing is lent.
SEVENLBD_LENT = {lent}
START = ($(START:True)) && $(SEVENLBD_LENT) && {more}
PREEMPT = ($(PREEMPT:False)) || ($(SEVENLBD_LENT) =!= True)
# What has to go is told so, and ended when its time is over; stopped jobs would keep the owner's memory.
WANT_SUSPEND = False
WANT_VACATE = True
KILL = False
MAXJOBRETIREMENTTIME = 0
MACHINEMAXVACATETIME = {vacate}

# What is left to the owner, and who gives way.
{reserved}
JOB_RENICE_INCREMENT = {nicest}
"""


def _options(parser: Parser) -> None:
    parser.add_argument(
        "--command",
        metavar="FILE",
        default="",
        help="the `7lbd` command on the nodes; otherwise `7lbd` beside the SIF",
    )


COMMANDS = {"render condor-node": Command(condor_node, _options)}
