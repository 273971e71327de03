"""What a node is, as its kernel tells."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.outside.node import abilities


@pytest.mark.parametrize(
    ("text", "vendor"),
    [
        ("processor\t: 0\nvendor_id\t: AuthenticAMD\ncpu family\t: 25\nvendor_id\t: X\n", "AuthenticAMD"),
        ("vendor_id\t: GenuineIntel\n", "GenuineIntel"),
        ("processor\t: 0\nBogoMIPS\t: 50\n", ""),
    ],
)
def test_the_cpu_says_whose_it_is(text: str, vendor: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpuinfo").write_text(text)
    monkeypatch.setattr(abilities, "_CPUINFO", tmp_path / "cpuinfo")
    assert abilities.cpu_vendor() == vendor
