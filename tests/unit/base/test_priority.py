"""What is started for somebody in no hurry, in a process of its own: the tests go on as they are."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sevenlbd.base import priority

GIVES_WAY = """
import asyncio, os, sys
from sevenlbd.base import priority, process
from subprocess import run
async def look(hurry):
    child = await process.spawn(["/usr/bin/sleep", "30"], in_a_hurry=hurry)
    while "sleep" not in open(f"/proc/{child.pid}/comm").read():
        await asyncio.sleep(0.01)
    session = f"/proc/{child.pid}/autogroup"
    weighed = open(session).read().split()[-1] if os.path.exists(session) else "19"
    print("at once" if hurry or weighed == "19" else f"not yet: {weighed}")
    print(os.getpriority(os.PRIO_PROCESS, child.pid) - (own if hurry else 0))
    print(run(["/usr/bin/ionice", "-p", str(child.pid)], capture_output=True, text=True).stdout.strip())
    child.kill()
own = os.getpriority(os.PRIO_PROCESS, 0)
priority.let_children_give_way()
async def several():
    await asyncio.gather(look(False), look(False), look(False))
    await look(True)
asyncio.run(several())
print(os.getpriority(os.PRIO_PROCESS, 0) - own)
"""


@pytest.mark.parametrize("more", [0, 7, 19])
def test_what_is_started_gives_way_as_a_session_of_its_own_too_and_we_do_not(more: int) -> None:
    """By nice alone it would not, where the kernel weighs terminal sessions against each other.

    The kernel takes ten such orders a second: three at once meet its refusal. Whoever starts them may be nice already.
    """
    call = ["/usr/bin/nice", "-n", str(more), sys.executable, "-c", GIVES_WAY]
    done = subprocess.run(call, capture_output=True, text=True, check=True, timeout=300)
    *humble, _, hurried, _, ours = done.stdout.splitlines()
    assert sorted(humble) == sorted(["19", "idle", "at once"] * 3)
    assert (hurried, ours) == ("0", "0"), "who has to be quick is as we are"


def test_it_gives_way_as_much_when_whoever_starts_it_comes_before_others() -> None:
    """Only root can be less nice than 0, so this is counted: nice(1) adds to what there is."""
    priority.let_children_give_way()
    try:
        program, option, added, *_ = priority.prefix()
    finally:
        priority._in_force.clear()
    assert (program, option) == ("/usr/bin/nice", "-n")
    assert -20 + int(added) >= 19
