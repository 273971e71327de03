"""The measurements' own sums: medians, ratios, promises, what dd and /proc say."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench import peer, relays, websocket
from tests.bench.__main__ import measured
from tests.bench.images import boot_sector
from tests.bench.measure import Bench, Figure, table
from tests.bench.memory import by_kind
from tests.bench.relay import Run
from tests.bench.share import rate


def quiet(_: str) -> None:
    pass


def test_a_figure_is_its_median_and_keeps_its_promise_or_not() -> None:
    assert Figure("start", "s", (0.7, 0.9, 5.0), limit=1.0).holds
    assert not Figure("start", "s", (0.7, 1.2, 5.0), limit=1.0).holds
    assert Figure("rate", "times", (1.4, 1.6, 1.7), least=1.5).holds
    assert not Figure("rate", "times", (1.4,), least=1.5).holds
    assert Figure("size", "MB", (3.0,)).holds is None


def test_variants_take_turns() -> None:
    order: list[str] = []
    bench = Bench(quick=False, tell=quiet)
    bench.in_turns({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, bench.rounds(2))
    assert order == ["a", "b", "a", "b"]


def test_so_many_rounds_as_are_asked_for_and_each_as_large_as_ever() -> None:
    bench = Bench(quick=False, tell=quiet, so_often=2)
    assert (bench.rounds(7, 3), bench.amount(50, 4)) == (2, 50)
    assert Bench(quick=True, tell=quiet).rounds(7, 3) == 3


def test_one_that_fails_keeps_its_own_figures_and_the_others(capsys: pytest.CaptureFixture[str]) -> None:
    def good(bench: Bench) -> None:
        bench.add("x", "s", [1.0])

    def bad(bench: Bench) -> None:
        good(bench)
        raise AssertionError("the relay hung up")

    results, failed = measured({"first": good, "second": bad, "third": good}, quick=True)
    assert failed == ["second"]
    assert {name: len(figures) for name, figures in results.items()} == {"first": 1, "second": 1, "third": 1}
    assert "the relay hung up" in capsys.readouterr().err


def test_a_ratio_is_taken_round_by_round() -> None:
    bench = Bench(quick=False, tell=quiet)
    bench.compare("x", [2.0, 40.0, 6.0], [1.0, 10.0, 2.0])
    assert bench.figures[0].samples == (2.0, 4.0, 3.0)
    assert bench.figures[0].value == 3.0


def test_the_table_says_what_is_missed() -> None:
    text = table({"start": [Figure("exec", "s", (1.5, 1.6, 1.7), limit=1.0)]})
    assert "1.60 s" in text
    assert "<= 1.00 MISSED" in text
    assert ">= 1.50 holds" in table({"relay": [Figure("x", "times", (1.5,), least=1.5)]})


def test_memory_is_added_up_by_kind() -> None:
    lines = {
        1: "Apptainer runtime parent: 7lbd.sif",
        2: "/usr/bin/python3 -IS /usr/bin/7lbd run",
        3: "/usr/bin/python3 -IS /usr/lib/7lbd/sevenlbd/start.py sevenlbd.inside 64",
        4: "/usr/bin/python3 -IS /usr/lib/7lbd/sevenlbd/start.py sevenlbd.inside.gateway 7=a:1",
        5: "/usr/bin/qemu-system-x86_64 -name 7lbd-x",
        6: "smbd: notifyd .",
        7: "/usr/sbin/smbd --foreground",
    }
    kinds = by_kind(lines, dict.fromkeys(lines, 1.0))
    assert kinds == {"apptainer": 1, "supervisor": 1, "keeper": 1, "gateway": 1, "qemu": 1, "smbd": 2}


def test_dds_rate_is_read() -> None:
    assert rate("209715200 bytes (210 MB, 200 MiB) copied, 2.0 s, 105 MB/s") == pytest.approx(104.8576)


def test_the_boot_sector_is_one(tmp_path: Path) -> None:
    disk = (boot_sector(tmp_path / "image") / "disk.raw").read_bytes()
    assert disk[510:512] == b"\x55\xaa"
    assert disk[:3] == b"\xba\xf8\x03"


@pytest.mark.parametrize(("length", "header"), [(1, 2), (125, 2), (126, 4), (65535, 4), (65536, 10)])
def test_a_clients_frame_is_masked_and_tells_its_length(length: int, header: int) -> None:
    payload = bytes(n % 251 for n in range(length))
    frame = websocket.frame(payload)
    mask, masked = frame[header : header + 4], frame[header + 4 :]
    assert frame[0] == 0x82
    assert frame[1] & 0x80
    assert int.from_bytes(frame[2:header], "big") == (length if header > 2 else 0)
    assert bytes(byte ^ mask[n % 4] for n, byte in enumerate(masked)) == payload


def test_the_peer_does_what_it_is_asked() -> None:
    with relays.peer() as folder:
        with relays.direct(folder, peer.ECHO) as wire:
            wire.sendall(b"hello")
            assert wire.recv(100) == b"hello"
        with relays.direct(folder, peer.BLAST) as wire:
            assert len(wire.recv(1 << 16)) > 1000


def test_a_rounds_rate_and_cost() -> None:
    run = Run(bytes=3_000_000_000, seconds=2.0, cpu=1.5)
    assert (run.rate, run.cost, run.busy) == (1500.0, 0.5, 75.0)
