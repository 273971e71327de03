"""A kernel that stands still is known by its own words, said twice; the machine is then reset, and only then."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from sevenlbd.inside import standstill

SAID = "[   22.8] rcu: rcu_preempt kthread timer wakeup didn't happen for 5251 jiffies! g-1151 f0x0\n"


def resets(log: Path, monkeypatch: pytest.MonkeyPatch, later: str = "") -> int:
    """How often a machine is reset whose log is this, and has more after some looks at it."""
    monkeypatch.setattr(standstill, "_LOOK_SECONDS", 0.01)
    count = 0

    async def reset() -> None:
        nonlocal count
        count += 1

    async def watch() -> None:
        watching = asyncio.create_task(standstill.mend_once(log, reset))
        for _ in range(5):
            await asyncio.sleep(0.02)
        if later:
            log.write_text(log.read_text() + later)
        await asyncio.wait([watching], timeout=0.3)
        watching.cancel()

    asyncio.run(watch())
    return count


def test_no_log_no_words_or_one_report_is_no_standstill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "serial.log"
    assert resets(log, monkeypatch) == 0
    log.write_text("Debian GNU/Linux 13\n" * 1000)
    assert resets(log, monkeypatch) == 0
    log.write_text(SAID)
    assert resets(log, monkeypatch) == 0


def test_the_second_report_resets_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "serial.log"
    log.write_text(SAID)
    assert resets(log, monkeypatch, later=SAID * 5) == 1
