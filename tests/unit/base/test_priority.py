"""What is started for somebody in no hurry, in a process of its own: the tests go on as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sevenlbd.base import priority

GIVES_WAY = """
import asyncio, os, sys
from sevenlbd.base import priority, process
from subprocess import run
async def look(hurry):
    child = await process.spawn(["/usr/bin/sleep", "30"], in_a_hurry=hurry)
    while "sleep" not in open(f"/proc/{child.pid}/comm").read():
        await asyncio.sleep(0.01)
    told = lambda: open(f"/proc/{child.pid}/autogroup").read().split()[-1]
    while not hurry and os.path.exists("/proc/self/autogroup") and told() != "19":
        await asyncio.sleep(0.01)  # the kernel takes ten such orders a second
    print(os.getpriority(os.PRIO_PROCESS, child.pid) - own)
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


def test_what_is_started_gives_way_as_a_session_of_its_own_too_and_we_do_not() -> None:
    """By nice alone it would not, where the kernel weighs terminal sessions against each other."""
    done = subprocess.run([sys.executable, "-c", GIVES_WAY], capture_output=True, text=True, check=True, timeout=60)
    *humble, hurried, _, ours = done.stdout.splitlines()
    assert sorted(humble) == sorted([str(19 - os.getpriority(os.PRIO_PROCESS, 0)), "idle"] * 3)
    assert (hurried, ours) == ("0", "0"), "who has to be quick is as we are"


def test_who_does_not_give_way_touches_nothing(tmp_path: Path) -> None:
    assert priority.prefix() == []
    (tmp_path / "7").mkdir()
    priority.settle(7, tmp_path)
    assert list((tmp_path / "7").iterdir()) == []
