"""What is said of guests in ten kinds of trouble: evidence made by hand, as such guests would give it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from good_findings import complete
from sevenlbd.images.description import Description
from sevenlbd.outside.acceptance.criteria.criterion import Criterion, Judgement, JudgementKind
from sevenlbd.outside.acceptance.criteria.every import ALL
from sevenlbd.outside.acceptance.criteria.evidence import (
    Certificate,
    ClockReading,
    Evidence,
    GuestFacts,
    SessionRecord,
)
from sevenlbd.outside.acceptance.criteria.node_facts import NodeFacts
from sevenlbd.wire.state import Phase, SessionState

NOW = time.time()
NODE = NodeFacts(True, "", "GenuineIntel", "Xeon", "0x1", ("vmx",), 8, "6.1.0")
BY_NAME = {criterion.name: criterion for criterion in ALL}


def facts(**values: str) -> GuestFacts:
    return GuestFacts({name.replace("__", "."): tuple(value.split("|")) for name, value in values.items() if value})


def state(ready: float, *, thawed: bool) -> SessionState:
    made = SessionState("one", "u", "h", "win11", "kvm", "tap", 1, "/s", phase=Phase.READY)
    made.phases = {"ready": ready}
    made.milestones = {"dhcp": 1.0, "rdp": 2.0} | ({"thawed": 0.1} if thawed else {})
    return made


def record(number: int, *, warm: bool) -> SessionRecord:
    """A session of a good Windows."""
    certificate = Certificate(f"{number:02X}", NOW + 1, NOW + 86400 * 180)
    made = state(1.0 if warm else 30.0, thawed=warm)
    made.certificate = certificate.fingerprint
    return SessionRecord(
        warm=warm,
        began=NOW,
        state=made,
        clocks={occasion: ClockReading(NOW, NOW + 0.5, NOW + 1) for occasion in ("start", "restart")}
        | {"drift-before": ClockReading(NOW, NOW, NOW), "drift-after": ClockReading(NOW, NOW + 0.1, NOW)},
        certificate=certificate,
        end_asked="button" if number == 2 else "agent",
        end_seconds=8.0,
        notice="",
        idle_cpu=0.05,
        facts={
            "chance": facts(random=f"r{number}", lease="86000"),
            "machine": facts(
                device__asked="1",
                driver="NetKVM 100.95",
                critical__asked="1",
                service__asked="1",
                secure_boot="on",
                tpm="on",
                bitlocker="off",
                power__standby="0",
                power__hibernate="0",
            ),
            "account": facts(
                account__enabled="yes",
                account__id="S-1-5-21-1-2-3-1001",
                account__expires="never",
                account__group="S-1-5-32-545|S-1-5-32-555",
            ),
            "setup": facts(
                setup__state="IMAGE_STATE_COMPLETE", setup__running="0", restart__asked="1", trouble__asked="1"
            ),
            "licence": facts(licence__status="1", licence__minutes="0"),
            "hygiene": facts(answer_file__asked="1", password__asked="1", old_log__asked="1"),
        },
    )


def good() -> Evidence:
    described = Description.model_validate(
        {"disk": "d.qcow2", "os": "windows", "firmware": "uefi-secure", "channels": ["agent"], "notice_hook": ["n"]}
        | {"exec_hook": ["e"], "exec_desktop": True}
    )
    cold = [record(1, warm=False), record(2, warm=False)]
    complete(cold[0])
    cold[0].more["exec"] = cold[0].more["exec-desktop"] = ""
    return Evidence(described, NODE, quick=False, cold=cold, warm=[record(3, warm=True), record(4, warm=True)])


def said(name: str, evidence: Evidence) -> Judgement:
    return BY_NAME[name].judge(evidence)


@pytest.mark.parametrize("criterion", ALL, ids=lambda criterion: criterion.name)
def test_a_good_guest_passes(criterion: Criterion) -> None:
    assert criterion.judge(good()).kind is JudgementKind.OK, criterion.judge(good())


@pytest.mark.parametrize("criterion", ALL, ids=lambda criterion: criterion.name)
def test_of_a_guest_that_never_came_nothing_is_ok_but_the_node(criterion: Criterion) -> None:
    nothing = SessionRecord(warm=False, failure="it was not ready within 5 s")
    evidence = replace(good(), cold=[nothing], warm=[], no_warm="the image has no warm state")
    judgement = criterion.judge(evidence)
    assert (judgement.kind is JudgementKind.OK) == (criterion.name in ("node.kvm", "node.cpu"))
    assert judgement.says


def test_names_are_given_once_and_in_groups() -> None:
    assert len(BY_NAME) == len(ALL)
    assert all(criterion.group and criterion.name.count(".") == 1 for criterion in ALL)


def tell(script: str, **values: str) -> Callable[[Evidence], None]:
    """A guest that says other things; an empty value is nothing said."""

    def broken(evidence: Evidence) -> None:
        for one in (*evidence.cold, *evidence.warm):
            kept = {**one.facts[script].values, **facts(**values).values}
            for name in [name.replace("__", ".") for name, value in values.items() if not value]:
                kept.pop(name, None)
            one.facts[script] = GuestFacts(kept)

    return broken


def slow_clock(evidence: Evidence) -> None:
    for one in (*evidence.cold, *evidence.warm):
        one.clocks["start"] = ClockReading(NOW, NOW - 3600, NOW + 1)


def same_certificate(evidence: Evidence) -> None:
    for one in evidence.cold:
        assert one.certificate
        one.certificate = replace(one.certificate, fingerprint="AA")


def other_pin(evidence: Evidence) -> None:
    last = evidence.warm[0].state
    assert last
    last.certificate = "BB"


def old_certificate(evidence: Evidence) -> None:
    for one in evidence.cold:
        assert one.certificate
        one.certificate = replace(one.certificate, begins=NOW - 86400 * 30)


def agent_gone(evidence: Evidence) -> None:
    evidence.cold[0].end_seconds = None


def deaf_to_the_button(evidence: Evidence) -> None:
    evidence.cold[1].end_seconds = None


def silent(evidence: Evidence) -> None:
    evidence.cold[0].notice = "it ended with 1: no display"


def runs_nothing(evidence: Evidence) -> None:
    evidence.cold[0].more["exec"] = "it ended with 125: no such account"


def shows_nothing(evidence: Evidence) -> None:
    evidence.cold[0].more["exec-desktop"] = "it ended with 1: "


def boots_anyway(evidence: Evidence) -> None:
    evidence.warm[0].state = state(30.0, thawed=False)


def busy(evidence: Evidence) -> None:
    evidence.warm[0].idle_cpu = 1.4


def refuses_flags(evidence: Evidence) -> None:
    evidence.cold[0].qemu_log = "qemu: warning: host doesn't support requested feature: CPUID.01H:ECX.avx"


@pytest.mark.parametrize(
    ("breakage", "name"),
    [
        (slow_clock, "clock.cold"),
        (slow_clock, "clock.warm"),
        (same_certificate, "certificate.own"),
        (other_pin, "certificate.pin"),
        (old_certificate, "certificate.made"),
        (agent_gone, "end.agent"),
        (deaf_to_the_button, "end.button"),
        (silent, "notice.shown"),
        (runs_nothing, "exec.runs"),
        (shows_nothing, "exec.desktop"),
        (boots_anyway, "warm.thaw"),
        (busy, "warm.idle"),
        (refuses_flags, "node.flags"),
        (tell("chance", random="same"), "warm.random"),
        (tell("chance", lease="30"), "warm.lease"),
        (tell("machine", device="Ethernet, code 28"), "boot.devices"),
        (tell("machine", critical="Microsoft-Windows-Kernel-Power, event 41"), "boot.errors"),
        (tell("machine", service="QEMU-GA, error 1053"), "boot.services"),
        (tell("machine", secure_boot="off"), "security.secure_boot"),
        (tell("machine", tpm="off"), "security.tpm"),
        (tell("machine", bitlocker="on, of 1 volumes"), "security.bitlocker"),
        (tell("machine", power__standby="1800"), "power.sleep"),
        (tell("account", account__enabled="no"), "account.exists"),
        (tell("account", account__group="S-1-5-32-545"), "account.groups"),
        (tell("account", account__expires="some day"), "account.expires"),
        (tell("setup", setup__state="IMAGE_STATE_UNDEPLOYABLE"), "setup.complete"),
        (tell("setup", setup__running="1"), "setup.complete"),
        (tell("setup", restart="Windows Update"), "setup.restart"),
        (tell("setup", trouble="7lbd: error: no such key (start.ps1 line 9)"), "setup.scripts"),
        (tell("licence", licence__status="5"), "licence.state"),
        (tell("licence", licence__minutes="1440"), "licence.days"),
        (tell("hygiene", answer_file="C:\\autounattend.xml"), "hygiene.answers"),
        (tell("hygiene", password="Winlogon, DefaultPassword"), "hygiene.passwords"),
        (tell("hygiene", old_log="Security"), "hygiene.logs"),
    ],
)
def test_trouble_is_found_and_named(breakage: Callable[[Evidence], None], name: str) -> None:
    evidence = good()
    breakage(evidence)
    judgement = said(name, evidence)
    assert judgement.kind is JudgementKind.FAIL, judgement
    others = {one.name for one in ALL if one.judge(evidence).kind is JudgementKind.FAIL} - {name}
    assert others <= {"clock.cold", "clock.warm", "certificate.pin"}, others


@pytest.mark.parametrize(
    "name", [one.name for one in ALL if one.group in ("setup", "security", "account", "hygiene", "licence")]
)
def test_what_the_guest_does_not_say_is_never_ok(name: str) -> None:
    evidence = good()
    for one in evidence.cold:
        one.facts = {script: GuestFacts(failure="the guest agent does not answer") for script in one.facts}
    judgement = said(name, evidence)
    assert judgement.kind is JudgementKind.CANNOT_TELL
    assert "agent" in judgement.says


def test_how_far_a_guest_came_is_told_of_all_starts() -> None:
    evidence = good()
    second = evidence.cold[1].state
    assert second
    second.milestones = {"dhcp": 3.0, "rdp": 8.0}
    assert said("boot.milestones", evidence).value == "dhcp 2.0 s, rdp 5.0 s (median of 2)"


def test_a_guest_that_tells_of_its_disk_alone_has_not_said_that_it_never_sleeps() -> None:
    evidence = good()
    tell("machine", power__standby="", power__hibernate="", power__disk="0")(evidence)
    assert said("power.sleep", evidence).kind is JudgementKind.CANNOT_TELL


@pytest.mark.parametrize("status", ["5", ""])
def test_an_evaluation_that_is_over_is_no_licence_without_an_end(status: str) -> None:
    """Windows then tells 0 minutes, as it does of a licence that has no end."""
    evidence = good()
    tell("licence", licence__status=status, licence__minutes="0")(evidence)
    assert said("licence.days", evidence).kind is JudgementKind.CANNOT_TELL


def test_what_comes_after_an_evaluation_is_said() -> None:
    evidence = good()
    tell("licence", licence__minutes="1440")(evidence)
    assert "every hour" in said("licence.days", evidence).says


@pytest.mark.parametrize(("guest", "offset"), [(5.0, 0.0), (4.0, 0.0), (12.0, 2.0), (1.0, -3.0)])
def test_what_the_question_took_does_not_count_as_an_error_of_the_clock(guest: float, offset: float) -> None:
    assert ClockReading(4.0, guest, 10.0).offset == offset
