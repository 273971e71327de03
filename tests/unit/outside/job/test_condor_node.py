"""An HTCondor node's configuration, as text; what a real startd makes of it is looked at in a pool."""

from __future__ import annotations

import re

from sevenlbd.outside.job import condor_node
from sevenlbd.outside.owner import advertised, lending
from sevenlbd.outside.site.owner_table import OwnerTable


def lines(owner: OwnerTable, command: str = "/apps/7lbd/7lbd") -> dict[str, str]:
    text = condor_node.text(owner, command)
    pairs = [line.split(" = ", 1) for line in text.splitlines() if " = " in line and line[0] != "#"]
    assert all(len(pair) == 2 for pair in pairs)
    return dict(pairs)


def test_the_owners_numbers_are_in_it() -> None:
    told = lines(OwnerTable(grace=120.5, memory=(4 << 30) + 1, cpus=2, load=0.3))
    assert told["MACHINEMAXVACATETIME"] == "111", "and ten seconds to notice it and to kill"
    assert lines(OwnerTable(grace=8))["MACHINEMAXVACATETIME"] == "4"
    assert told["RESERVED_MEMORY"] == "4097"
    assert told["NUM_CPUS"] == "max({1, $(DETECTED_CPUS) - 2})"
    assert "<= 0.3 * MY.TotalCpus" in told["START"]
    assert "NUM_CPUS" not in lines(OwnerTable())
    assert "LoadAvg" not in lines(OwnerTable())["START"]


def test_a_site_keeps_its_own_conditions() -> None:
    told = lines(OwnerTable())
    assert told["START"].startswith("($(START:True)) && ")
    assert told["PREEMPT"].startswith("($(PREEMPT:False)) || ")
    assert told["STARTD_CRON_JOBLIST"].startswith("$(STARTD_CRON_JOBLIST:) ")


def test_a_job_cannot_say_that_the_machine_is_lent() -> None:
    """Its own ad is looked into for names that the machine's does not have, unless told not to."""
    text = condor_node.text(OwnerTable(load=1), "/apps/7lbd/7lbd")
    told = set(advertised.of_node(OwnerTable().policy()))
    asked = re.findall(r"(\w+\.)?(\w+)", text)
    used = {(scope, name) for scope, name in asked if name in told or name.endswith("LoadAvg")}
    assert {scope for scope, _ in used} == {"MY."}
    assert {name for _, name in used} >= told - {advertised.LOGGED_IN}


def test_a_commands_path_is_taken_as_it_is() -> None:
    assert lines(OwnerTable(), "/a b/$(HOME)/7lbd")["SEVENLBD_COMMAND"] == "/a b/$(DOLLAR)(HOME)/7lbd"


def test_it_leaves_when_whoever_else_asks_would_have_to() -> None:
    """The one expression and the function for other borrowers begin at the same second."""
    until = 1_795_600_000.0
    policy = OwnerTable(grace=90).policy()
    lent = lending.LendingDecision(True, until, "", True)
    assert f"time() < MY.{advertised.UNTIL} - 90" in lines(OwnerTable(grace=90))["SEVENLBD_LENT"]
    assert [lending.must_leave(policy, lent, until - 90 - wait) for wait in (1, 0)] == [False, True]
