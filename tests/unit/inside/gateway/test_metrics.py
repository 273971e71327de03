"""Metrics: parsed back by prometheus_client, and told apart from what they must not hold."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway_world import TOKENS, World, lived
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sevenlbd.inside.gateway import authentication, metrics

SMBSTATUS = (
    'some notice\n{"timestamp": "x", "SMB2 Calls": {"smb2_read": {"count": 7, "time": 1}, "smb2_write": {"count": 2}}}'
)


async def samples(world: World) -> dict[str, dict[str, float]]:
    """Values by sample name, then by labels' values joined."""
    async with world.client.get(world.url("metrics"), headers=world.headers("status")) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        text = await answer.text()
    for secret in ("pass-word", "/tmp/7lbd", TOKENS["desktop"]):
        assert secret not in text
    found: dict[str, dict[str, float]] = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]  # the library has no types there
        for sample in family.samples:
            found.setdefault(sample.name, {})["/".join(sample.labels.values())] = sample.value
    return found


@lived()
async def test_connections_and_bytes_are_counted(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication.Guesses, "DELAY_SECONDS", 0.0)
    async with world.console() as ws:
        await ws.receive()
        await ws.send_bytes(b"12345")
        await ws.receive()
        await world.status_of("GET", "console", world.headers("console"))
        await world.status_of("POST", "login", data={"token": "wrong"})
        found = await samples(world)
    assert found["sevenlbd_connections"]["console"] == 1
    assert found["sevenlbd_connections_opened_total"]["console"] == 1
    assert found["sevenlbd_relayed_bytes_total"]["console/up"] == 5
    assert found["sevenlbd_relayed_bytes_total"]["console/down"] == 17
    assert found["sevenlbd_page_loads_total"][""] == 1
    assert found["sevenlbd_failed_logins_total"][""] == 1
    assert found["sevenlbd_phase_seconds"] == {"booting": 0.5, "guest-up": 3.0, "ready": 4.0}
    assert found["sevenlbd_milestone_seconds"] == {"rdp": 4.0}
    assert found["sevenlbd_session_info"] == {"kvm/node7/blue-fox/demo/tap/ready": 1.0}


def make_proc(folder: Path) -> Path:
    for pid, name in ((1, "python3"), (17, "qemu-system-x86"), (18, "smbd")):
        process = folder / str(pid)
        process.mkdir()
        (process / "comm").write_text(f"{name}\n")
        (process / "stat").write_text(f"{pid} (a ) name) S {' '.join(str(n) for n in range(4, 53))}")
        (process / "statm").write_text("1000 500 10 1 0 100 0\n")
    return folder


@lived()
async def test_the_machine_is_measured_from_proc(world: World, tmp_path: Path) -> None:
    text, _ = await metrics.text(world.gate, make_proc(tmp_path))
    lines = text.decode().splitlines()
    assert "sevenlbd_vm_cpu_seconds_total 0.29" in lines  # fields 14 and 15
    assert "sevenlbd_vm_resident_bytes 2.048e+06" in lines


@lived()
async def test_without_a_machine_there_is_no_such_metric(world: World, tmp_path: Path) -> None:
    text, _ = await metrics.text(world.gate, tmp_path)
    assert b"sevenlbd_vm" not in text
    assert text.endswith(b"# EOF\n")


def test_smbds_operations_are_read() -> None:
    assert metrics._counts(SMBSTATUS) == {"read": 7, "write": 2}


_ENDLESS = '{"SMB2 Calls": {"smb2_read": {"count": 1e999}}}'
_DEEP = '{"a":' * 100_000


@pytest.mark.parametrize(
    "printed",
    ["", "{", "{}", "null", '{"SMB2 Calls": []}', '{"SMB2 Calls": {"smb2_read": 7}}', _ENDLESS, _DEEP],
)
def test_nothing_of_smbds_is_nothing(printed: str) -> None:
    assert metrics._counts(printed) == {}


@lived()
async def test_smbds_operations_are_told(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def finish(command: list[str]) -> str:
        assert command[-2:] == ["--profile", "--json"]
        return SMBSTATUS

    monkeypatch.setattr(metrics, "finish", finish)
    assert (await samples(world))["sevenlbd_smb_operations_total"] == {"read": 7.0, "write": 2.0}
