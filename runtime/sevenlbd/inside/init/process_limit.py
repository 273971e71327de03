"""How many processes a session may have: the node's numbers for them are everybody's.

What a guest can have started (a server's children, one for each connection), or a server that was taken over, ends at
these limits. Linux counts by user namespace from 5.14 on (commit 21d1c5e386bc, RLIMIT_NPROC on top of ucounts). Older
kernels count all that the user has on the node, her other jobs among them: there, no limit of ours is set.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Sequence

SESSION = 2048
"""Processes and threads: QEMU has one for each CPU of the guest, and up to 64 that wait for disks."""
SERVERS = 1024
"""What a server may not go beyond, so that the machine and the keeper have some left."""
_OURS = 4  # the process before the wall, this one, the one that is tried, and one more


def limit_session() -> None:
    """For this process, PID 1 of the session, and all that it starts, where the kernel counts them apart."""
    if _counted_apart():
        _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
        most = SESSION if hard == resource.RLIM_INFINITY else min(hard, SESSION)
        resource.setrlimit(resource.RLIMIT_NPROC, (most, most))


def limited(command: Sequence[str]) -> list[str]:
    """`command` under a server's limit (prlimit(1)), if the session has one."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    if soft != SESSION:
        return list(command)
    return ["/usr/bin/prlimit", f"--nproc={SERVERS}:{SERVERS}", "--", *command]


def _counted_apart() -> bool:
    """Whether a limit that is right for these namespaces, and below what the user has on the node, lets us fork."""
    before = resource.getrlimit(resource.RLIMIT_NPROC)
    resource.setrlimit(resource.RLIMIT_NPROC, (_OURS, before[1]))
    try:
        child = os.fork()
    except BlockingIOError:
        return False
    finally:
        resource.setrlimit(resource.RLIMIT_NPROC, before)
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    return True
