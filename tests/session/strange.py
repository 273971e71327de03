"""Strange nodes, made without privileges, and what a refusal must look like on all of them."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Sequence

from harness import Session

USAGE, IMAGE, NODE, RESOURCES, SHARE, BROKE, NO_SESSION = 2, 3, 4, 5, 6, 8, 9
"""Exit codes as docs/user.md has them."""


def node(changes: str) -> list[str]:
    """A prefix: the command runs on a node that shell commands have changed, in namespaces of its own.

    User and mount namespace, no new privilege, the same user: mounts and namespace limits can be made there.
    """
    return ["unshare", "--map-current-user", "--keep-caps", "--mount", "sh", "-ec", f'{changes}\nexec "$@"', "sh"]


def refusal(done: subprocess.CompletedProcess[str], code: int, says: Sequence[str]) -> str:
    """The message of a refusal: one, with a hint, with all of `says` in it, and the documented exit code."""
    told = done.stderr
    assert "Traceback" not in told, told
    assert done.returncode == code, told
    # Apptainer's own, of a file system that ended while it waited for it.
    lines = [line for line in told.splitlines() if not line.startswith("INFO:    Cleanup error: ")]
    begins = [number for number, line in enumerate(lines) if line.startswith("7lbd: ")]
    assert len(begins) == 1, f"not one message: {told}"
    hint = lines[begins[0] + 1 :]
    assert hint, f"no hint: {told}"
    more = [line for line in hint if not line.startswith("  ")]
    assert not more, f"more than a message and its hint: {more}, of {told}"
    missing = [words for words in says if words not in told]
    assert not missing, f"{missing} is not in: {told}"
    return told


def boots(session: Session) -> dict[str, object]:
    """Proves that a session comes up with all its helpers and ends in order; returns its last state."""
    session.wait_phase("booting")
    session.pid_of("sbin/smbd")
    session.send(signal.SIGTERM)
    assert session.wait_end() == 143, session.story()
    assert "Traceback" not in session.errors, session.errors
    return session.events[-1]
