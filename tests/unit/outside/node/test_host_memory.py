"""The node's memory, from files as kernels write them."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.outside.node import host_memory
from sevenlbd.outside.node.host_memory import HostMemory

MEMINFO = "MemTotal:       16384000 kB\nMemFree:          204800 kB\nMemAvailable:    4096000 kB\n"
PRESSURE = "some avg10=12.50 avg60=1.00 avg300=0.00 total=77\nfull avg10=7.25 avg60=0.10 avg300=0.00 total=5\n"


def test_what_could_be_had_and_what_is_lost(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    assert host_memory.look(tmp_path) == HostMemory(4000 << 20)
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "memory").write_text(PRESSURE)
    assert host_memory.look(tmp_path) == HostMemory(4000 << 20, 0.0725)


@pytest.mark.parametrize("text", [None, "", "MemTotal: 1 kB\n", "MemAvailable: lots\n", "MemAvailable:\n"])
def test_what_cannot_be_told_is_not_guessed(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / "meminfo").write_text(text)
    assert host_memory.look(tmp_path) is None


@pytest.mark.parametrize("text", ["", "full", "full avg10=x", "full avg60=1.0", "some avg10=99.0"])
def test_a_kernel_without_pressure_says_nothing_of_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "pressure").mkdir()
    (tmp_path / "pressure" / "memory").write_text(text)
    assert host_memory.look(tmp_path) == HostMemory(4000 << 20)
