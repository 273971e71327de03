"""Names of what lies on the shares of a session that runs commands: the contract of docs/exec.md."""

from __future__ import annotations

JOB, WORK = "job", "work"
"""The shares; and, in the session's folder, the folders that they are."""
ORDER, ENDED = "order.json", "ended.json"
STOP, KILL = "stop", "kill"
"""Files of a job: their being there is the order."""
