"""The files that both sides touch: each is made outside, empty, and mounted inside by itself.

No folder of the node's can be written to inside, but those that are shared with the guest. So whoever has taken over a
process in there can put nothing in another file's place: no link, no pipe, no name. docs/theory.md has the whole list.
"""

from __future__ import annotations

import os
from pathlib import Path

from .plan import Plan

LOGS = Path("logs")
KEEPER_LOG = LOGS / "keeper.log"
QEMU_LOG = LOGS / "qemu.log"
SERIAL_LOG = LOGS / "serial.log"
SWTPM_LOG = LOGS / "swtpm.log"
DNSMASQ_LOG = LOGS / "dnsmasq.log"
SMBD_LOG = LOGS / "smbd.log"
SMBD_OUT = LOGS / "smbd.out"
GATEWAY_LOG = LOGS / "gateway.log"
STUNNEL_LOG = LOGS / "stunnel.log"
OPENVPN_LOG = LOGS / "openvpn.log"
ALL_LOGS = (
    *(KEEPER_LOG, QEMU_LOG, SERIAL_LOG, SWTPM_LOG, DNSMASQ_LOG),
    *(SMBD_LOG, SMBD_OUT, GATEWAY_LOG, STUNNEL_LOG),
)
SERIAL_LINE = "serial"
"""The connector that leads to the guest's serial line: bound outside, as all are, served by QEMU."""
SCREEN = Path("console.png")
"""The machine's last screen, of a desktop that was not ready in time."""
OVERLAY = Path("overlay.qcow2")
"""The disk, where nothing says that it lies elsewhere."""
VARIABLES = Path("variables.fd")
"""The UEFI variables as the machine left them; when it is frozen or suspended, or what it wrote is to last."""
CHECKPOINT = Path("checkpoint.qcow2")
"""The disk of a machine that is saved while it runs, as it was at that moment."""
MEMORY, STATE = Path("memory"), Path("state")
"""Of a machine that is frozen: its memory, and QEMU's stream of its devices; of one that is suspended, of all."""
IN_MEMORY = (MEMORY, STATE, VARIABLES)
"""Of an encrypted session no files of the node's, but memory that both sides hold (outside/session/held_memory.py)."""
KEPT_INSIDE = (SERIAL_LOG, SCREEN)
"""What such a guest shows: in the session's own memory behind the wall, and gone with it."""


def of(plan: Plan) -> tuple[Path, ...]:
    """Those of this session, in its folder. The disk is not among them: it may lie anywhere (`Plan.overlay`)."""
    more = [*([MEMORY] if plan.freeze else []), *([OPENVPN_LOG] if plan.project else [])]
    names = (*ALL_LOGS, SCREEN, VARIABLES, STATE, CHECKPOINT, *more)
    return tuple(name for name in names if not (plan.encrypted and name in (*IN_MEMORY, *KEPT_INSIDE)))


def make(folder: Path, plan: Plan) -> None:
    """Make them in the session's folder, which nobody inside has seen yet, and its own shares. Raises OSError."""
    for path in (plan.batch.job, plan.batch.work) if plan.batch else ():
        if path:
            Path(path).mkdir(mode=0o700)
    for name in of(plan):
        os.close(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
