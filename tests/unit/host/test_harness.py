"""What the harness of the promises draws and concludes: by seed alone, and by a stated test."""

from __future__ import annotations

import math
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "session"))

from tests.faults import draws
from tests.soak import sampling, slope
from tests.soak.__main__ import summed


def test_a_seed_is_a_round_and_nothing_else_is() -> None:
    rounds = [draws.of(seed) for seed in range(500)]
    random.seed(3)
    assert [draws.of(seed) for seed in range(500)] == rounds
    faults = [fault for one in rounds for fault in one.faults]
    assert {fault.deed for fault in faults} == {*draws.DEEDS, draws.KILL_ALL}
    assert {fault.role for fault in faults if fault.deed == "kill"} == set(draws.ROLES)
    assert {fault.phase for fault in faults} == set(draws.PHASES)
    assert {one.sessions for one in rounds} == {1, 2}
    assert any(one.uptime for one in rounds)


def noise(count: int, per_hour: float, seed: int) -> list[tuple[float, float]]:
    drawn = random.Random(seed)
    return [(number / 60, 100 + drawn.gauss(0, 2) + per_hour * number / 60) for number in range(count)]


def test_what_grows_is_told_and_what_is_flat_is_not() -> None:
    assert slope.of(noise(240, 2.0, 1)).grows(1.0)
    assert slope.of(noise(240, 2.0, 1)).per_hour == pytest.approx(2.0, abs=0.4)
    flat = [slope.of(noise(240, 0.0, seed)) for seed in range(50)]
    assert sum(trend.grows(0.0) for trend in flat) <= 3
    assert not slope.of(noise(240, -2.0, 1)).grows(0.0)


def test_one_spike_is_no_trend_and_a_step_each_hour_is() -> None:
    spike = [(hour / 60, 500.0 if hour == 200 else 7.0) for hour in range(240)]
    assert not slope.of(spike).grows(0.0)
    steps = [(minute / 60, 7.0 + minute // 60) for minute in range(240)]
    assert slope.of(steps).grows(0.5)


def test_too_few_samples_say_nothing() -> None:
    assert not slope.of([(0.0, 1.0), (1.0, 9.0)]).grows(0.0)
    assert not slope.of([]).grows(0.0)


def test_a_crowd_of_twenty_thousand_tells_a_leak_from_an_allocator_that_fills_up() -> None:
    """Forty samples, with what lingers on top of them."""
    drawn = random.Random(1)
    hours = [number * 20_000 / 40 / slope.VISITORS_AN_HOUR for number in range(40)]
    lingering = [drawn.choice((0.0, 0.0, 0.5, 1.0)) for _ in hours]

    def trend(level: Callable[[float], float]) -> slope.Trend:
        return slope.of([(hour, 26.0 + level(hour) + more) for hour, more in zip(hours, lingering, strict=True)])

    assert trend(lambda hour: hour * slope.VISITORS_AN_HOUR / 1024).grows(1.0), "1 KiB a visitor is 1.6 MiB an hour"
    assert trend(lambda hour: 0.5 * (hour // 0.25)).grows(1.0)
    assert not trend(lambda hour: 0.5 * min(hour // 0.25, 4)).grows(1.0), "steps that end are none"
    assert not trend(lambda hour: 2 - 2 * math.exp(-hour)).grows(1.0)


def piece(number: int, hours: float, per_hour: float) -> list[dict[str, float]]:
    """200 samples of one name."""
    at = [hours * one / 200 for one in range(200)]
    return [{"piece": number, "hours": hour, "gateway memory": 30 + per_hour * hour} for hour in at]


def test_a_short_piece_does_not_hide_the_growth_of_a_long_one() -> None:
    table, is_growing = summed(piece(1, 0.12, 20.0) + piece(2, 8.0, 5.0))
    assert is_growing
    assert "| gateway memory | 53.9 | +5.00 | 0.000 | GROWS |" in table.splitlines()
    table, is_growing = summed(piece(1, 0.12, 20.0) + piece(2, 8.0, 0.0))
    assert not is_growing
    assert "| +0.00 | 1.000 | flat |" in table
    table, is_growing = summed(piece(1, 0.12, 20.0))
    assert not is_growing
    assert "too short" in table, "which is not flat"


def test_a_process_that_is_not_seen_fails_the_run_instead_of_being_flat(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampling, "_NAMES", {"smbd": "sbin/smbd"})
    own = os.getpid()
    with pytest.raises(AssertionError, match="there is no smbd"):
        sampling.of_processes({own: "bash"})
    found = sampling.of_processes({own: "sbin/smbd", 1 << 22: "sbin/smbd of a client that has just gone"})
    assert found["smbd memory"] > 0
    assert found["smbd descriptors"] > 0
    for measured in ("_private", "_descriptors"):
        with monkeypatch.context() as patch:
            patch.setattr(sampling, measured, lambda _: 0.0)
            with pytest.raises(AssertionError, match="of smbd cannot be read"):
                sampling.of_processes({own: "sbin/smbd"})
