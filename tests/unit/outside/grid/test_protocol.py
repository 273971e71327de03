"""What a machine and the pool's service say to each other: a record that exists is within its limits, on both sides."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from sevenlbd.outside.grid import protocol, record_limits
from sevenlbd.outside.grid.machine_report import HeldImage, Owner, Report, RunningVm, VmPhase
from sevenlbd.outside.grid.protocol import (
    Demand,
    Images,
    OfferedFile,
    OfferedImage,
    PoolAddress,
    Waiting,
    WorkerOrder,
    WorkerPass,
)
from sevenlbd.wire.codec import Malformed

POOL = PoolAddress("pool.example.org:9618", "example.org")
WANTED = Waiting(POOL, (Demand("win11", 3, 2, 4 << 30, 10 << 30),), "0" * 64)
OFFERED = OfferedImage(
    "win11", "v1", "1" * 64, (OfferedFile("manifest.json", 900), OfferedFile("warm/memory", 5 << 30))
)
REPORT = Report(
    owner=Owner.ABSENT,
    lends=True,
    slots=2,
    vms=(RunningVm(1, "win11", "v1", VmPhase.BUSY, 60.0),),
    images=(HeldImage("win11", "v1", 5 << 30),),
    reason="it is night",
)


def told(value: Any, **changes: object) -> bytes:
    """A record as somebody else wrote it, who keeps to no limits."""
    table = json.loads(value)
    for path, new in changes.items():
        *above, last = path.split("__")
        inner = table
        for step in above:
            inner = inner[int(step) if step.isdigit() else step]
        inner[last] = new
    return json.dumps(table).encode()


def test_what_was_said_is_what_is_read() -> None:
    images = Images((OFFERED,), "ticket.1", 900.0)
    worker = WorkerPass(POOL, "eyJhbGciOiJIUzI1NiJ9.x-y_z", 600.0)
    assert protocol.WAITING_ANSWER.unpack(protocol.WAITING_ANSWER.pack(WANTED)) == WANTED
    assert protocol.IMAGES_ANSWER.unpack(protocol.IMAGES_ANSWER.pack(images)) == images
    assert protocol.REPORT.unpack(protocol.REPORT.pack(REPORT)) == REPORT
    assert protocol.WORKER_PASS.unpack(protocol.WORKER_PASS.pack(worker)) == worker


def test_an_image_of_more_bytes_than_can_be_reported_is_none() -> None:
    half = (1 << 53) - 1
    with pytest.raises(Malformed):
        protocol.IMAGES_ANSWER.unpack(
            told(
                protocol.IMAGES_ANSWER.pack(Images((OFFERED,), "t", 1.0)),
                images__0__files__0__size=half,
                images__0__files__1__size=half,
            )
        )


@pytest.mark.parametrize(
    "name", ["../../etc", "a/b", "", ".hidden", "Win11", "a" * 64, 'a"b', "a\nb", "a\0", "a..b", 7, None, ["win11"]]
)
def test_a_name_that_is_no_images_is_no_demand(name: object) -> None:
    with pytest.raises(Malformed):
        protocol.WAITING_ANSWER.unpack(told(protocol.WAITING_ANSWER.pack(WANTED), demands__0__vm_name=name))


@pytest.mark.parametrize(
    "name",
    ["../x", "/etc/passwd", "warm/../../x", "warm//memory", "a\\b\0", ".x", "warm/", "a/b/c/d/e", "warm", "x" * 200],
)
def test_a_file_lies_in_its_versions_folder(name: str) -> None:
    packed = protocol.IMAGES_ANSWER.pack(Images((OFFERED,), "t", 1.0))
    both = json.loads(packed)["images"][0]["files"]
    with pytest.raises(Malformed):
        protocol.IMAGES_ANSWER.unpack(told(packed, images__0__files=[*both, {"name": name, "size": 1}]))


@pytest.mark.parametrize("file", ["manifest.json", "Manifest.JSON"])
def test_no_file_of_a_version_stands_there_twice(file: str) -> None:
    with pytest.raises(Malformed):
        replace(OFFERED, files=(*OFFERED.files, OfferedFile(file, 1)))


def test_a_version_has_a_manifest() -> None:
    with pytest.raises(Malformed):
        replace(OFFERED, files=(OfferedFile("disk.qcow2", 1),))


@pytest.mark.parametrize("slot", [-1, 256, 1 << 52])
def test_a_machine_has_no_more_slots_than_it_can_report(slot: int) -> None:
    """Each that a token was given for is remembered."""
    with pytest.raises(Malformed):
        WorkerOrder("win11", slot)


@pytest.mark.parametrize("number", [-1, 1 << 60, 1.5, "3", None, True, float("nan"), float("inf")])
def test_a_number_that_makes_no_sense_is_refused(number: object) -> None:
    with pytest.raises(Malformed):
        protocol.WAITING_ANSWER.unpack(told(protocol.WAITING_ANSWER.pack(WANTED), demands__0__memory=number))


@pytest.mark.parametrize("since", [-1.0, float("nan"), float("inf"), 1e300])
def test_a_time_that_makes_no_sense_is_refused(since: float) -> None:
    with pytest.raises(Malformed):
        protocol.REPORT.unpack(told(protocol.REPORT.pack(REPORT), vms__0__since=since))


@pytest.mark.parametrize(
    "collector", ["pool.example.org", ":9618", "pool:0", "pool:70000", "a b:1", "pool:9618\n", "<1.2.3.4:1?x>", "a/b:1"]
)
def test_the_pool_is_an_address_and_a_port(collector: str) -> None:
    with pytest.raises(Malformed):
        PoolAddress(collector, "example.org")


@pytest.mark.parametrize("collector", ["127.0.0.1:9618", "[::1]:9618", "Pool.Example.org:1"])
def test_the_pool_may_be_given_by_number(collector: str) -> None:
    assert PoolAddress(collector, "example.org").collector == collector


@pytest.mark.parametrize("token", ["", "a b", "a\r\nHost: x", "ü", "x" * (9 << 10)])
def test_a_token_fits_a_header(token: str) -> None:
    with pytest.raises(Malformed):
        WorkerPass(POOL, token, 60.0)


def test_a_million_of_anything_is_too_many() -> None:
    for most, record, field in (
        (record_limits.MOST_DEMANDS, WANTED, "demands"),
        (record_limits.MOST_IMAGES, REPORT, "images"),
        (record_limits.MOST_SLOTS, REPORT, "vms"),
    ):
        with pytest.raises(Malformed):
            replace(record, **{field: getattr(record, field) * (most + 1)})


@pytest.mark.parametrize("body", [b"", b"[" * 100_000, b'{"a":' * 50_000, b"\xff", b"null", b"[]", b"7", b"9" * 5000])
def test_what_is_no_record_is_told(body: bytes) -> None:
    for codec in (protocol.WAITING_ANSWER, protocol.IMAGES_ANSWER, protocol.REPORT, protocol.PROBLEM):
        with pytest.raises(Malformed):
            codec.unpack(body)


def test_the_largest_record_of_each_kind_fits_its_body() -> None:
    name = "a" * 63
    demand = Demand(name, *[(1 << 53) - 1] * 4)
    wanted = replace(WANTED, demands=(demand,) * record_limits.MOST_DEMANDS)
    vms = (RunningVm(255, name, name, VmPhase.SUSPENDING, 1e15, 1 << 50, 1 << 50),) * record_limits.MOST_SLOTS
    report = replace(REPORT, vms=vms, images=(HeldImage(name, name, 1 << 50),) * 512)
    assert len(protocol.WAITING_ANSWER.pack(wanted)) <= protocol.MOST_BYTES[protocol.WAITING]
    assert len(protocol.REPORT.pack(report)) <= protocol.MOST_BYTES[protocol.STATE]


def test_a_pace_that_makes_no_sense_is_the_usual_one() -> None:
    read = protocol.WAITING_ANSWER.unpack(told(protocol.WAITING_ANSWER.pack(WANTED), pace={"poll": "now"}))
    assert read.pace == protocol.Pace()


@pytest.mark.parametrize("name", ["lab-01", "lab-01.example.org", "7"])
def test_a_machine_is_called_like_a_host(name: str) -> None:
    assert record_limits.is_machine(name)


@pytest.mark.parametrize("name", ["", "Lab", "a/b", "../x", "a..b", "-a", "a" * 64, "a b", "a\n"])
def test_a_machine_is_called_nothing_else(name: str) -> None:
    assert not record_limits.is_machine(name)
