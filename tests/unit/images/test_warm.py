"""Warm states: what must be equal, and what of a folder is believed."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sevenlbd.images import layout, warm
from sevenlbd.images.warm import Needs, WarmError, WarmState

NEEDS = Needs(
    qemu="1:10.0.2",
    machine="pc-q35-10.0",
    accel="kvm",
    cpu="Westmere",
    cpus=4,
    memory=64 << 20,
    network="tap",
    firmware="uefi",
    disk_bus="virtio",
    nic="virtio",
    display="std",
    layers=(1000, 2000),
    vendor="GenuineIntel",
)


@pytest.fixture
def image(tmp_path: Path) -> Path:
    folder = tmp_path / "warm"
    folder.mkdir()
    with (folder / layout.WARM_MEMORY).open("wb") as memory:
        memory.truncate(NEEDS.memory)
    (folder / layout.WARM_STATE).write_bytes(b"devices")
    (folder / layout.VARIABLES).write_bytes(b"variables")
    command = ["qemu-img", "create", "-q", "-f", "qcow2", str(folder / layout.DISK), "1M"]
    subprocess.run(command, check=True)
    warm.write(WarmState(folder, NEEDS, "AA:BB"))
    return tmp_path


def test_a_warm_state_comes_back_as_it_was_written(image: Path) -> None:
    found = warm.read(image)
    assert found == WarmState(image / "warm", NEEDS, "AA:BB")
    assert found.variables == image / "warm" / layout.VARIABLES


def test_an_image_without_one_has_none(tmp_path: Path) -> None:
    assert warm.read(tmp_path) is None


def test_a_half_made_one_without_its_record_is_none(image: Path) -> None:
    (image / "warm" / layout.WARM_RECORD).unlink()
    assert warm.read(image) is None


def test_what_equals_does_not_differ() -> None:
    assert NEEDS.differences(NEEDS) == []


@pytest.mark.parametrize(
    ("here", "says"),
    [
        (replace(NEEDS, qemu="1:11.0"), "QEMU 1:10.0.2 when frozen, 1:11.0 here"),
        (replace(NEEDS, machine="pc-q35-9.2"), "machine type pc-q35-10.0 when frozen, pc-q35-9.2 here"),
        (replace(NEEDS, accel="tcg"), "accelerator kvm when frozen, tcg here"),
        (replace(NEEDS, cpu="host"), "CPU model Westmere when frozen, host here"),
        (replace(NEEDS, cpus=2), "CPUs 4 when frozen, 2 here"),
        (replace(NEEDS, memory=4 << 30), "memory 0.1 GiB when frozen, 4.0 GiB here"),
        (replace(NEEDS, network="user"), "network tap when frozen, user here"),
        (replace(NEEDS, firmware="bios"), "firmware uefi when frozen, bios here"),
        (replace(NEEDS, disk_bus="ahci"), "disk bus virtio when frozen, ahci here"),
        (replace(NEEDS, nic="e1000e"), "network card virtio when frozen, e1000e here"),
        (replace(NEEDS, display="virtio"), "display std when frozen, virtio here"),
        (replace(NEEDS, vendor="AuthenticAMD"), "the CPU's vendor GenuineIntel when frozen, AuthenticAMD here"),
        (replace(NEEDS, layers=(1000,)), "size of the disk's files 1000, 2000 when frozen, 1000 here"),
    ],
)
def test_every_difference_is_told(here: Needs, says: str) -> None:
    assert NEEDS.differences(here) == [says]


def test_a_state_of_before_the_vendor_was_written_down_fits_no_cpu_but_fits_emulation(image: Path) -> None:
    path = image / "warm" / layout.WARM_RECORD
    record = json.loads(path.read_text())
    del record["needs"]["vendor"]
    path.write_text(json.dumps(record))
    old = warm.read(image)
    assert old
    assert old.needs.differences(NEEDS) == ["the CPU's vendor unknown when frozen, GenuineIntel here"]
    assert replace(old.needs, accel="tcg").differences(replace(NEEDS, accel="tcg", vendor="")) == []


def _record(folder: Path, **changes: object) -> None:
    path = folder / layout.WARM_RECORD
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _link(path: Path, target: str) -> None:
    path.unlink()
    path.symlink_to(target)


def _data_elsewhere(path: Path) -> None:
    path.unlink()
    made = ["qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={path.with_name('data')}", str(path), "1M"]
    subprocess.run(made, check=True)


@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (lambda folder: (folder / layout.WARM_RECORD).write_text("{"), "cannot be read"),
        (lambda folder: (folder / layout.WARM_RECORD).write_text("[]"), "cannot be read"),
        (lambda folder: (folder / layout.WARM_RECORD).write_text("[" * 100_000), "cannot be read"),
        (lambda folder: _record(folder, schema=2), "a format that this 7lbd does not know"),
        (lambda folder: _record(folder, needs={}), "cannot be read"),
        (lambda folder: _record(folder, needs={"whatever": 1, "layers": []}), "cannot be read"),
        (lambda folder: (folder / layout.WARM_MEMORY).unlink(), "No such file"),
        (lambda folder: (folder / layout.WARM_STATE).unlink(), "No such file"),
        (lambda folder: (folder / layout.VARIABLES).unlink(), "No such file"),
        (lambda folder: os.truncate(folder / layout.WARM_MEMORY, 4096), "not the size of the memory"),
        (lambda folder: _link(folder / layout.WARM_MEMORY, "/etc/hostname"), "not a file that you can read"),
        (lambda folder: _link(folder / layout.DISK, "/etc/hostname"), "not a file that you can read"),
        (lambda folder: (folder / layout.WARM_STATE).chmod(0), "not a file that you can read"),
        (lambda folder: (folder / layout.DISK).write_bytes(b"noise"), "qcow2 header"),
        (lambda folder: _data_elsewhere(folder / layout.DISK), "keeps its data in another file"),
    ],
)
def test_what_is_wrong_with_a_warm_state_is_told(image: Path, harm: Callable[[Path], object], says: str) -> None:
    harm(image / "warm")
    with pytest.raises(WarmError, match=says):
        warm.read(image)


@pytest.mark.parametrize(
    ("frozen", "here", "fits"),
    [
        ("", "", True),
        ("ipv4", "", True),
        ("ipv6", "ipv4", True),
        ("", "ipv4", False),
        ("ipv4", "ipv6", False),
        ("x", "", False),
    ],
)
def test_a_guest_that_was_told_of_ways_out_fits_a_session_without_but_not_the_other_way_round(
    frozen: str, here: str, fits: bool
) -> None:
    unlike = replace(NEEDS, egress=frozen).differences(replace(NEEDS, egress=here))
    assert (not unlike) == fits
    assert fits or "ways out" in unlike[0]
