"""Code that runs in a session as that of a process which was taken over: same user, namespaces and root.

Entering a user namespace gives every capability in it; exec takes them all away again from who is not root there
(user_namespaces(7)), so that what runs has as few as the session's own processes.
"""

from __future__ import annotations

import json
import subprocess
import textwrap
from typing import Any

from harness import Session

AS = {"gateway": "sevenlbd.inside.gateway", "smbd": "/usr/sbin/smbd"}
"""Who is taken over: the process that strangers talk to, and the one that the guest talks to."""


def pid(session: Session, who: str) -> int:
    """Of one of the session's processes, by name."""
    return session.pid_by_name(AS[who])


def run(session: Session, who: str, code: str, *arguments: object, timeout: float = 60) -> Any:
    """Run Python `code`, which finds `given` and leaves what it found in `found`; returns that."""
    target = str(pid(session, who))
    enter = ["nsenter", "-t", target, *("-U", "-m", "-n", "-p", "-i", "-u"), "--preserve-credentials", "-r", "-w"]
    whole = "\n".join(
        (
            "import ctypes, errno, json, os, socket, stat, sys",
            "given = json.loads(sys.argv[1])",
            "found = None",
            textwrap.dedent(code),
            "print(json.dumps(found))",
        )
    )
    command = [*enter, "/usr/bin/python3", "-I", "-c", whole, json.dumps([str(one) for one in arguments])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
