"""`render grid-pool-unit`: a systemd unit that keeps the pool's service. Text, for people (systemd.service(5))."""

from __future__ import annotations

import os
import re

from .... import __version__
from ....base import heartbeat
from ....base.errors import ExitCode, Refusal
from ...cli.command import Command, CommandContext
from ...cli.parser import Parser
from ...console import terminal
from ...site import appliance_call, site_tables

_PLAIN = re.compile(r"/[A-Za-z0-9._/+-]+")
_USER = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")


def unit(context: CommandContext) -> int:
    """Print it."""
    site = site_tables.read(context.here)
    command = context.options.command or appliance_call.command(site.job_table("condor"), context.here)
    if not _PLAIN.fullmatch(command):
        what = f"{command!r} is not a path from the root that a unit takes as it is"
        raise Refusal(ExitCode.USAGE, what, hint="--command /apps/7lbd/7lbd")
    user = site.pool.user or heartbeat.user_name()
    if not _USER.fullmatch(user) or (user == "root" and os.getuid() == 0 and not site.pool.user):
        what = f"the service is to run as an ordinary account, and `{user[:80]}` is none"
        raise Refusal(ExitCode.USAGE, what, hint="`user` of the table [pool]; it must be able to read the signing key")
    terminal.write(_TEXT.format(version=__version__, command=command, user=user))
    return ExitCode.OK


_TEXT = """\
# The pool's service of 7lbd. Made by: 7lbd render grid-pool-unit ({version}), of the site's table [pool]
#
# On the pool's host: put it into /etc/systemd/system as 7lbd-grid-pool.service, and
# systemctl daemon-reload && systemctl enable --now 7lbd-grid-pool
[Unit]
Description=What borrowed machines ask: 7lbd grid pool
After=network-online.target condor.service
Wants=network-online.target

[Service]
User={user}
ExecStart={command} grid pool
# It holds up nobody: machines keep their VMs while it is away.
Restart=always
RestartSec=5
TimeoutStopSec=30
UMask=0077
LimitNOFILE=8192

[Install]
WantedBy=multi-user.target
"""


def _options(parser: Parser) -> None:
    parser.add_argument(
        "--command",
        metavar="FILE",
        default="",
        help="the `7lbd` command on the pool's host; otherwise `7lbd` beside the SIF",
    )


COMMANDS = {"render grid-pool-unit": Command(unit, _options)}
