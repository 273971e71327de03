"""The user's files for the guest: smbd as the user, for one account with the session's password.

Shares are served from where the user sees them, so that absolute symbolic links inside a share work.
"""

from __future__ import annotations

from ...base.process import finish
from ...wire.inner_files import PRIVATE, SMB_CONFIGURATION, WITH_CHARSET
from ...wire.plan import Plan
from . import umask

SAMBA = PRIVATE / "samba"


async def add_account(plan: Plan) -> None:
    """Give the session's account its password, by standard input only. Raises RuntimeError."""
    for folder in (SAMBA, SAMBA / "ncalrpc"):
        folder.mkdir(mode=0o700)
    # smbd would make it, and refuse what the user's umask makes of it.
    (SAMBA / "msg.lock").mkdir()
    (SAMBA / "msg.lock").chmod(0o755)
    command = [*WITH_CHARSET, "/usr/bin/pdbedit", f"--configfile={SMB_CONFIGURATION}", "-a", "-t", "-u", plan.user]
    await finish(command, stdin=f"{plan.password}\n{plan.password}\n".encode())


def smbd(plan: Plan) -> list[str]:
    """The command that serves the shares."""
    command = [
        *WITH_CHARSET,
        "/usr/sbin/smbd",
        "--foreground",
        "--no-process-group",
        f"--log-basename={SAMBA}",
        f"--configfile={SMB_CONFIGURATION}",
    ]
    return umask.under(plan.umask, command)
