"""`render grid-unit`: the coordinator as a service of its user's own systemd (systemd.service(5)). Text, for people.

KillMode=mixed tells the coordinator alone that it ends, so that it takes its VMs down in order; what is left when its
time is over, systemd kills.
"""

from __future__ import annotations

import math

from .... import __version__
from ....base.errors import ExitCode, Refusal
from ...cli.command import Command, CommandContext
from ...cli.parser import Parser
from ...console import terminal
from ...site import appliance_call, site_tables

NAME = "7lbd-grid.service"
_SLACK = 30  # seconds beyond the grace: what the coordinator itself takes to kill, clean up and end


def grid_unit(context: CommandContext) -> int:
    """Print the unit."""
    site = site_tables.read(context.here)
    table = site.only_table
    command = context.options.command or appliance_call.command(table, context.here)
    if not command.startswith("/") or not command.isprintable() or set(command) & set("\"'\\ "):
        what = f"{command!r} is not a path from the root without blanks and quotes"
        raise Refusal(ExitCode.USAGE, what, hint="--command /apps/7lbd/7lbd")
    terminal.write(text(command, site.owner.grace))
    return ExitCode.OK


def text(command: str, grace: float) -> str:
    """The file. `command` is the `7lbd` command's path; `grace` in seconds."""
    escaped = command.replace("%", "%%").replace("$", "$$")
    return _TEXT.format(version=__version__, command=escaped, name=NAME, seconds=math.ceil(grace) + _SLACK)


_TEXT = """\
# The grid's coordinator on this machine. Made by: 7lbd render grid-unit ({version})
#
# As the user that lends the machine, without any rights of root:
#   mkdir -p ~/.config/systemd/user
#   {command} render grid-unit > ~/.config/systemd/user/{name}
#   systemctl --user daemon-reload
#   systemctl --user enable --now {name}
# So that it runs while that user is not logged in, once, by the machine's administrator:
#   loginctl enable-linger USER
# Without systemd, a line of that user's crontab; a second coordinator refuses to begin:
#   */5 * * * * {command} grid coordinator >/dev/null 2>&1

[Unit]
Description=7lbd: this machine is lent to a grid while its owner does not need it
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={command} grid coordinator
Restart=on-failure
RestartSec=60
KillMode=mixed
TimeoutStopSec={seconds}
Nice=19
IOSchedulingClass=idle
CPUWeight=1
IOWeight=1
OOMScoreAdjust=1000
UMask=0077

[Install]
WantedBy=default.target
"""


def _options(parser: Parser) -> None:
    parser.add_argument(
        "--command", metavar="FILE", default="", help="the `7lbd` command there; otherwise `7lbd` beside the SIF"
    )


COMMANDS = {"render grid-unit": Command(grid_unit, _options)}
