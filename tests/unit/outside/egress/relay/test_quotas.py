"""The token bucket shares what there is; the list of connections stays small and loses nothing from its sums."""

from __future__ import annotations

import asyncio
import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from egress_world import live
from sevenlbd.outside.egress.relay import journal
from sevenlbd.outside.egress.relay.journal import ConnectionRecord, Journal, Sheet
from sevenlbd.outside.egress.relay.quotas import Bucket, connections


def record(**changes: Any) -> ConnectionRecord:
    usual: dict[str, Any] = {
        "start": 0.0,
        "seconds": 1.5,
        "kind": "tcp",
        "host": "h",
        "address": "192.0.2.1",
        "port": 1,
    }
    return ConnectionRecord(**usual | {"up": 10, "down": 20, "end": "closed by guest"} | changes)


def opened(path: Path, limit: int = 0) -> Sheet:
    return Sheet(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600), limit)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@live
async def test_no_rate_is_no_limit() -> None:
    bucket = Bucket(0)
    assert bucket.take(1 << 40) == 1 << 40
    assert bucket.spend(1 << 40)


@live
async def test_a_bucket_gives_its_rate_to_those_who_wait_in_turn() -> None:
    for _ in range(10):
        got, lasted, stood = await drunk(Bucket(1_000_000))
        assert 0.8e6 * lasted < sum(got) < 1.2e6 * lasted + 100_000
        # What has gathered while nothing ran at all is the first one's.
        if stood < 0.05:
            break
    assert max(got) - min(got) < 0.2 * sum(got)


async def drunk(bucket: Bucket) -> tuple[list[int], float, float]:
    """What three got in a second, how long that was, and how long nobody had a turn on a busy machine."""
    got, stood = [0, 0, 0], 0.0

    async def drink(index: int) -> None:
        while True:
            got[index] += await bucket.taken(5000)

    began = last = time.monotonic()
    drinkers = [asyncio.create_task(drink(index)) for index in range(3)]
    while (now := time.monotonic()) - began < 1:
        stood, last = max(stood, now - last), now
        await asyncio.sleep(0.005)
    for drinker in drinkers:
        drinker.cancel()
    return got, time.monotonic() - began, stood


@live
async def test_what_is_not_used_is_there_for_the_next_one() -> None:
    bucket = Bucket(1000, burst=1000, quantum=10)
    assert bucket.take(1000) == 1000
    assert bucket.take(1000) == 0
    bucket.give_back(500)
    assert 500 <= bucket.take(1000) < 600


@live
async def test_nobody_who_comes_later_passes_those_who_wait() -> None:
    bucket = Bucket(1000, burst=1000, quantum=100)
    bucket.take(1000)
    first = asyncio.create_task(bucket.taken(100))
    await asyncio.sleep(0.01)
    assert bucket.take(1) == 0
    assert await first == 100


def test_connections_fit_into_the_nodes_descriptors() -> None:
    assert connections(256, 512) == 256
    assert 1 <= connections(10**9, 0) < 11_000


@live
async def test_a_flood_of_connections_makes_few_lines_and_right_sums(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_SUM_SECONDS", 0.2)
    path = tmp_path / "list"
    book = Journal("blue-fox", [opened(path)])
    for number in range(50_000):
        book.add(record(port=1 + number % 3))
        book.add(record(kind="connect", host=f"{number}.example.edu", up=0, down=0, end="not listed", refused=True))
    await asyncio.sleep(0.5)
    book.close()
    told = lines(path)
    assert len(told) < 1100
    assert path.stat().st_size < 300_000
    assert (book.connections, book.refused, book.up, book.down) == (50_000, 50_000, 500_000, 1_000_000)
    counts = [line.get("connections", 1) for line in told]
    assert sum(counts) == 100_000
    assert sum(line["up"] for line in told) == 500_000
    assert sum(count for line, count in zip(told, counts, strict=True) if line["refused"]) == 50_000


@live
async def test_nothing_that_a_guest_says_breaks_a_line(tmp_path: Path) -> None:
    path = tmp_path / "list"
    book = Journal("blue-fox", [opened(path)])
    nasty = 'x"\n{"session": "forged"}\r\x1b[2J\u202e\ud800' + "y" * 10_000
    book.add(record(host=nasty))
    book.close()
    (line,) = path.read_text(encoding="ascii").splitlines()
    assert json.loads(line)["session"] == "blue-fox"
    assert line.isprintable()
    assert len(line) < 2000


@live
async def test_a_list_with_a_limit_begins_anew(tmp_path: Path) -> None:
    path = tmp_path / "list"
    book = Journal("blue-fox", [opened(path, limit=10_000)])
    for _ in range(200):
        book.add(record())
    book.add(record(end="the last"))
    book.close()
    assert path.stat().st_size < 11_000
    assert lines(path)[-1]["end"] == "the last"


@live
async def test_a_file_that_hangs_holds_up_nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LAST_WORDS_SECONDS", 0.2)
    os.mkfifo(tmp_path / "hangs")
    reader = os.open(tmp_path / "hangs", os.O_RDONLY | os.O_NONBLOCK)
    hanging = Sheet(os.open(tmp_path / "hangs", os.O_WRONLY))
    path = tmp_path / "list"
    book = Journal("blue-fox", [hanging, opened(path)])
    began = time.monotonic()
    for _ in range(900):
        book.add(record())
    book.close()
    assert time.monotonic() - began < 30
    assert len(lines(path)) == 900
    os.close(reader)  # the thread's write fails now, and it ends


@live
async def test_a_full_disk_costs_lines_and_says_so(tmp_path: Path) -> None:
    before = threading.active_count()
    sheet = Sheet(os.open("/dev/full", os.O_WRONLY))
    for _ in range(5):
        sheet.add(b"{}\n")
    sheet.close()
    assert sheet.lost == 5
    assert threading.active_count() <= before + 1
