"""Giving way: what is started for somebody who is in no hurry, beside others who are.

Least CPU priority (nice 19) and the idle class of disk I/O come by the command. The kernel weighs whole terminal
sessions against each other, too (sched(7), autogroup), and there a nice value says nothing outside of its own session:
so each program that is started in a session of its own has that session weighed least. Whoever starts them stays as he
is: he has to be quick when they are to leave.
"""

from __future__ import annotations

from pathlib import Path

_NICEST = "19"  # setpriority(2)
_COMMAND = ("/usr/bin/nice", "-n", _NICEST, "/usr/bin/ionice", "-c", "idle", "-t", "--")
# The kernel takes ten such orders a second from all users together (kernel/sched/autogroup.c).
_AGAIN_SECONDS, _TRIES = 0.13, 100
_in_force: list[str] = []
"""What stands before each command; nothing for who does not give way."""


def let_children_give_way() -> None:
    """From now on, all that is started here and not in a hurry. What the kernel does not offer is done without."""
    _in_force[:] = _COMMAND


def prefix() -> list[str]:
    """What stands before a command."""
    return list(_in_force)


def settle(pid: int, proc: Path = Path("/proc"), tries: int = _TRIES) -> None:
    """A program has been started in a session of its own, by such a command, in this event loop."""
    if not _in_force:
        return
    try:
        (proc / str(pid) / "autogroup").write_text(_NICEST)
    except BlockingIOError:
        import asyncio  # whoever calls has it; a session's check has not, and does without its 30 ms

        if tries:
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, settle, pid, proc, tries - 1)
    except OSError:
        return
