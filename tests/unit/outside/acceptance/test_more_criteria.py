"""Desktop, files, disk and network: what a check says of an odd guest, told from evidence alone. No line ever lies."""

from __future__ import annotations

from typing import Any

import pytest
from good_findings import (
    DISK,
    FAILED,
    MB,
    REFUSED,
    SEEN,
    SENT,
    SHARED,
    TRIM,
    USABLE,
    WINDOWS_USER,
    facts_of,
)
from sevenlbd.images.description import OS, Description
from sevenlbd.outside.acceptance.criteria import (
    account_criteria,
    desktop_criteria,
    disk_criteria,
    files_criteria,
    network_criteria,
)
from sevenlbd.outside.acceptance.criteria.criterion import Criterion, Judgement, JudgementKind
from sevenlbd.outside.acceptance.criteria.evidence import Evidence, SessionRecord
from sevenlbd.outside.acceptance.criteria.node_facts import NodeFacts
from sevenlbd.outside.acceptance.criteria.observations import NetworkSeen, SharedFiles, Visited

OK, FAIL, CANNOT_TELL = JudgementKind.OK, JudgementKind.FAIL, JudgementKind.CANNOT_TELL
BY_NAME = {
    check.name: check
    for check in (
        *account_criteria.CRITERIA,
        *desktop_criteria.CRITERIA,
        *files_criteria.CRITERIA,
        *disk_criteria.CRITERIA,
        *network_criteria.CRITERIA,
    )
}
NODE = NodeFacts(True, "", "AuthenticAMD", "a CPU", "0x1", (), 4, "6.1")
EMULATED = NodeFacts(False, "no /dev/kvm", "AuthenticAMD", "a CPU", "0x1", (), 4, "6.1")


def evidence(
    more: dict[str, object] | None = None, *, windows: bool = False, node: NodeFacts = NODE, facts: Any = None
) -> Evidence:
    """Of one cold session in which this was found."""
    record = SessionRecord(warm=False)
    record.more = dict(more or {})
    record.facts = {name: facts_of(said) for name, said in (facts or {}).items()}
    return Evidence(Description(os=OS.WINDOWS if windows else OS.LINUX), node, quick=True, cold=[record])


def says(name: str, of: Evidence) -> Judgement:
    return BY_NAME[name].judge(of)


def visits(**told: Any) -> Evidence:
    node = told.pop("node", NODE)
    right = {"first": USABLE, "second": USABLE, "wrong": REFUSED, "after": USABLE}
    return evidence({f"desktop.{which}": Visited(report) for which, report in (right | told).items()}, node=node)


@pytest.mark.parametrize("check", BY_NAME.values(), ids=list(BY_NAME))
def test_of_a_session_of_which_nothing_is_known_nothing_is_said(check: Criterion) -> None:
    assert check.judge(evidence()).kind is CANNOT_TELL
    assert check.judge(evidence(windows=True)).kind is CANNOT_TELL
    broken = evidence()
    broken.cold[0].failure = "it was not ready within 600 s"
    assert check.judge(broken).kind is CANNOT_TELL


@pytest.mark.parametrize("name", [check.name for check in desktop_criteria.CRITERIA])
def test_a_good_desktop_passes(name: str) -> None:
    assert says(name, visits()).kind is OK


@pytest.mark.parametrize(
    ("name", "told", "kind"),
    [
        ("desktop.login", {"first": REFUSED}, FAIL),
        ("desktop.login", {"first": USABLE | {"outcome": "not usable", "words": "the picture stays dark"}}, FAIL),
        ("desktop.login", {"first": FAILED}, FAIL),
        ("desktop.login", {"first": USABLE | {"network_level": False}}, FAIL),
        ("desktop.first_log_on", {"first": USABLE | {"network_level": False}}, CANNOT_TELL),
        ("desktop.second_log_on", {"second": USABLE | {"network_level": False}}, CANNOT_TELL),
        ("desktop.wrong_password", {"wrong": USABLE | {"network_level": False}}, CANNOT_TELL),
        ("desktop.frames", {"first": USABLE | {"frames_per_second": 0.0}}, CANNOT_TELL),
        ("desktop.first_log_on", {"first": USABLE | {"usable": 61.0}}, FAIL),
        ("desktop.first_log_on", {"first": USABLE | {"usable": 61.0}, "node": EMULATED}, CANNOT_TELL),
        ("desktop.second_log_on", {"second": USABLE | {"usable": 21.0}}, FAIL),
        ("desktop.second_log_on", {"second": FAILED}, CANNOT_TELL),
        ("desktop.wrong_password", {"wrong": USABLE}, FAIL),
        ("desktop.wrong_password", {"wrong": USABLE | {"outcome": "not usable"}}, FAIL),
        ("desktop.wrong_password", {"wrong": FAILED}, CANNOT_TELL),
        ("desktop.wrong_password", {"first": REFUSED}, CANNOT_TELL),
        ("desktop.lock_out", {"after": REFUSED}, FAIL),
        ("desktop.lock_out", {"wrong": USABLE}, CANNOT_TELL),
        ("desktop.codec", {"first": USABLE | {"codecs": {"uncompressed bitmaps": {"updates": 1, "bytes": 9}}}}, FAIL),
        ("desktop.codec", {"first": USABLE | {"codecs": {}}}, CANNOT_TELL),
        ("desktop.codec", {"first": REFUSED}, CANNOT_TELL),
        ("desktop.frames", {"first": USABLE | {"frames_per_second": 3.0}}, FAIL),
        ("desktop.frames", {"first": USABLE | {"frames_per_second": 3.0}, "node": EMULATED}, CANNOT_TELL),
        ("desktop.frames", {"first": USABLE | {"frames_per_second": None}}, CANNOT_TELL),
    ],
)
def test_an_odd_desktop_is_named(name: str, told: dict[str, Any], kind: JudgementKind) -> None:
    assert says(name, visits(**told)).kind is kind


def test_the_codec_is_told_in_shares_of_what_came() -> None:
    assert says("desktop.codec", visits()).value == "RemoteFX 90 %, RDP 6 planar bitmaps 10 %"


def shares(shared: SharedFiles = SHARED, node: NodeFacts = NODE, **seen: str) -> Evidence:
    said = {name.replace("__", "."): value for name, value in seen.items()}
    return evidence({"files": shared}, node=node, facts={"files": {"files.asked": "1"} | SEEN | said})


@pytest.mark.parametrize("check", files_criteria.CRITERIA, ids=lambda check: check.name)
def test_a_good_share_passes_on_linux_and_on_windows(check: Criterion) -> None:
    if "linux" in check.systems:
        assert check.judge(shares()).kind is OK
    facts = {"files": {"files.asked": "1", "dialect": "3.1.1", "signed": "yes"}, "files_user": WINDOWS_USER}
    assert check.judge(evidence({"files": SHARED}, windows=True, facts=facts)).kind is OK


@pytest.mark.parametrize(
    ("name", "seen", "kind"),
    [
        ("files.dialect", {"dialect": "302"}, FAIL),
        ("files.signing", {"signed": "no"}, FAIL),
        ("files.down", {"read__digest": "bb"}, FAIL),
        ("files.down", {"read__milliseconds": "60000"}, FAIL),
        ("files.up", {"shared": SharedFiles(1 << 30, "aa", "cc", 0o644, 0o755)}, FAIL),
        ("files.up", {"write__milliseconds": "60000", "node": EMULATED}, CANNOT_TELL),
        ("files.modes", {"shared": SharedFiles(1, "aa", "aa", 0o755, 0o755)}, FAIL),
        ("files.modes", {"shared": SharedFiles(1, "aa", "aa", 0o644, 0o777)}, FAIL),
        ("files.modes", {"shared": SharedFiles(1, "aa", "", None, None)}, CANNOT_TELL),
        ("files.program", {"program": "refused"}, FAIL),
    ],
)
def test_an_odd_share_is_named(name: str, seen: dict[str, Any], kind: JudgementKind) -> None:
    assert says(name, shares(**seen)).kind is kind


def test_a_guest_without_the_drive_fails_that_line_and_cannot_tell_the_others() -> None:
    none = evidence({"files": SharedFiles(1, "aa", "", None, None)}, facts={"files": {"files.asked": "1"}})
    assert says("files.drive", none).kind is FAIL
    others = [name for name in BY_NAME if name.startswith("files.") and name != "files.drive"]
    assert {says(name, none).kind for name in others} == {CANNOT_TELL}


def test_a_drive_of_the_internets_zone_or_one_that_explorer_hides_is_named() -> None:
    facts = {"files": {"files.asked": "1"}, "files_user": WINDOWS_USER | {"zone": "Internet", "shell": "no"}}
    odd = evidence({"files": SHARED}, windows=True, facts=facts)
    assert says("files.zone", odd).kind is FAIL
    assert says("files.drive", odd).kind is FAIL


@pytest.mark.parametrize(
    ("seen", "kind"),
    [({}, OK), ({"secret": "Key not valid for use in specified state."}, FAIL), ({"secret": None}, CANNOT_TELL)],
)
def test_an_account_whose_key_is_of_another_password_is_named(seen: dict[str, str | None], kind: JudgementKind) -> None:
    told = {name: value for name, value in (WINDOWS_USER | seen).items() if value is not None}
    odd = evidence(windows=True, facts={"files_user": told})
    assert says("account.secrets", odd).kind is kind


def trimmed(more: dict[str, int] | None = None) -> Evidence:
    return evidence({**DISK, **TRIM, **(more or {})}, facts={"trim": {"trim.done": "free"}})


@pytest.mark.parametrize("check", disk_criteria.CRITERIA, ids=lambda check: check.name)
def test_a_modest_disk_passes(check: Criterion) -> None:
    assert check.judge(trimmed()).kind is OK


@pytest.mark.parametrize(
    ("name", "more", "kind"),
    [
        ("disk.boot", {"overlay.boot": 3000 * MB}, FAIL),
        ("disk.log_on", {"overlay.log-on": 2000 * MB}, FAIL),
        ("disk.idle", {"overlay.idle": 2000 * MB}, FAIL),
        ("disk.trim", {"trim.after": 299 * MB}, FAIL),
        ("disk.trim", {"trim.full": 160 * MB}, CANNOT_TELL),
    ],
)
def test_a_greedy_disk_is_named(name: str, more: dict[str, int], kind: JudgementKind) -> None:
    assert says(name, trimmed(more)).kind is kind


def test_a_guest_that_cannot_trim_is_not_said_to() -> None:
    assert says("disk.trim", evidence({**DISK, **TRIM}, facts={"trim": {"trim.done": "fill"}})).kind is CANNOT_TELL


def online(ports: tuple[int, ...] = (3389,), packets: dict[str, int] | None = None) -> Evidence:
    return evidence({"network": NetworkSeen("1-65535", ports, 60.0, SENT | (packets or {}))})


@pytest.mark.parametrize("check", network_criteria.CRITERIA, ids=lambda check: check.name)
def test_a_quiet_guest_passes(check: Criterion) -> None:
    assert check.judge(online((135, 445, 3389, 49668))).kind is OK


def test_other_ways_in_are_named() -> None:
    found = says("network.ports", online((22, 3389, 5900)))
    assert found.kind is FAIL
    assert "22, 5900" in found.says
    assert says("network.ports", online(())).kind is FAIL


def test_a_guest_that_looks_for_the_world_is_named_with_where() -> None:
    found = says("network.sent", online(packets={"arp 169.254.100.1": 40, "tcp 20.42.65.90:443": 25}))
    assert found.kind is FAIL
    assert "arp 169.254.100.1 (40), tcp 20.42.65.90:443 (25)" in found.value
    assert says("network.sent", online(packets={"tcp 20.42.65.90:443": 5})).kind is OK
    assert says(
        "network.sent", evidence({"network": NetworkSeen(failure="the wall cannot be entered")})
    ).says.startswith("the wall")
