"""Giving way: what is started for somebody who is in no hurry, beside others who are.

Least CPU priority (nice 19) and the idle class of disk I/O come by the command. The kernel weighs whole terminal
sessions against each other, too (sched(7), autogroup), and there a nice value says nothing outside of its own session:
so each program that is started in a session of its own has that session weighed least. Whoever starts them stays as he
is: he has to be quick when they are to leave.
"""

from __future__ import annotations

_NICEST = "19"  # setpriority(2)
_FROM_ANY = "39"  # nice(1) adds: from -20, too, which an administrator's own programs may have, that is 19 at least
# The kernel takes ten such orders a second from all users together (kernel/sched/autogroup.c): the first free moment is
# waited for, three seconds at most. By the program itself, before it becomes what it is to be: nobody may give such an
# order for one that holds secrets (PR_SET_DUMPABLE(2const)).
_WEIGHED_LEAST = f"""
own=/proc/self/autogroup tries=100
while [ -w $own ] && [ $tries -gt 0 ] && ! echo {_NICEST} >$own; do
    tries=$((tries - 1))
    sleep 0.03
done 2>/dev/null
exec "$@"
"""
_COMMAND = (
    "/usr/bin/nice",
    "-n",
    _FROM_ANY,
    "/usr/bin/ionice",
    "-c",
    "idle",
    "-t",
    "--",
    "/bin/sh",
    "-c",
    _WEIGHED_LEAST,
    "sh",
)
_in_force: list[str] = []
"""What stands before each command; nothing for who does not give way."""


def let_children_give_way() -> None:
    """From now on, all that is started here and not in a hurry. What the kernel does not offer is done without."""
    _in_force[:] = _COMMAND


def prefix() -> list[str]:
    """What stands before a command that is started in a session of its own."""
    return list(_in_force)
