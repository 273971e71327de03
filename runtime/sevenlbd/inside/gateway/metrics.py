"""OpenMetrics, made when they are asked for. The names and units follow openmetrics.io and Prometheus' naming guide."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ...base.process import finish
from ...wire.inner_files import SMB_CONFIGURATION, WITH_CHARSET
from .gate import Gate

log = logging.getLogger(__name__)

_SMB_SECONDS = 5.0  # half of what Prometheus waits for everything (scrape_timeout)
_SMB = "SMB2 Calls"
_one_at_a_time = asyncio.Semaphore(1)


async def text(gate: Gate, proc: Path = Path("/proc")) -> tuple[bytes, str]:
    """All metrics and their content type."""
    registry = CollectorRegistry()
    registry.register(_Session(gate, await _smb_operations(), proc))
    return generate_latest(registry), CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]  # the library has no types there


class _Session(Collector):
    """What is known of the session at this moment."""

    def __init__(self, gate: Gate, smb: Mapping[str, int], proc: Path) -> None:
        self._gate, self._smb, self._proc = gate, smb, proc

    def describe(self) -> list[Metric]:
        """prometheus_client's callback: nothing is registered ahead."""
        return []

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's callback."""
        yield from self._life()
        yield from self._connections()
        yield from self._visits()
        yield from self._machine()
        operations = CounterMetricFamily("sevenlbd_smb_operations", "SMB2 requests served.", labels=["operation"])
        for name, count in self._smb.items():
            operations.add_metric([name], count)
        yield operations

    def _life(self) -> Iterator[Metric]:
        state = self._gate.state
        info = InfoMetricFamily("sevenlbd_session", "The session.")
        names = ("id", "image", "host", "accel", "network", "phase")
        info.add_metric([], {name: str(state.get(name, "")) for name in names})
        yield info
        phases = GaugeMetricFamily(
            "sevenlbd_phase_seconds", "When each phase began, since the start.", labels=["phase"]
        )
        for phase, seconds in state.get("phases", {}).items():
            phases.add_metric([phase], seconds)
        yield phases
        steps = GaugeMetricFamily(
            "sevenlbd_milestone_seconds", "When each milestone was reached.", labels=["milestone"]
        )
        for name, seconds in state.get("milestones", {}).items():
            steps.add_metric([name], seconds)
        yield steps

    def _connections(self) -> Iterator[Metric]:
        now = GaugeMetricFamily("sevenlbd_connections", "Open now.", labels=["connector"])
        opened = CounterMetricFamily("sevenlbd_connections_opened", "Opened so far.", labels=["connector"])
        moved = CounterMetricFamily(
            "sevenlbd_relayed_bytes", "Relayed; down is from the guest.", labels=["connector", "direction"]
        )
        for name, traffic in self._gate.traffic.items():
            now.add_metric([name], traffic.now)
            opened.add_metric([name], traffic.opened)
            moved.add_metric([name, "down"], traffic.down)
            moved.add_metric([name, "up"], traffic.up)
        now.add_metric(["status"], self._gate.watchers(stream=True))
        yield from (now, opened, moved)

    def _visits(self) -> Iterator[Metric]:
        counters = self._gate.counters
        yield CounterMetricFamily("sevenlbd_page_loads", "Pages given out.", value=counters.pages)
        yield CounterMetricFamily("sevenlbd_failed_logins", "Wrong keys.", value=counters.failed_logins)
        refused = CounterMetricFamily("sevenlbd_refused_requests", "Not served, by HTTP status.", labels=["status"])
        for status, count in counters.refused.items():
            refused.add_metric([str(status)], count)
        yield refused

    def _machine(self) -> Iterator[Metric]:
        """Of QEMU's process; nothing when there is none (any more)."""
        with suppress(OSError, StopIteration, IndexError, ValueError):
            qemu = next(path for path in self._proc.glob("[0-9]*") if _name(path).startswith("qemu-system"))
            # proc_pid_stat(5): 14 and 15 are user and system time; field 2, the name, may hold anything.
            fields = (qemu / "stat").read_text().rpartition(")")[2].split()
            seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
            pages = int((qemu / "statm").read_text().split()[1])
            yield CounterMetricFamily("sevenlbd_vm_cpu_seconds", "CPU time of the machine.", value=seconds)
            yield GaugeMetricFamily(
                "sevenlbd_vm_resident_bytes", "Memory of the machine.", value=pages * os.sysconf("SC_PAGE_SIZE")
            )


def _name(process: Path) -> str:
    try:
        return (process / "comm").read_text()
    except OSError:
        return ""


async def _smb_operations() -> dict[str, int]:
    """What smbd has counted, by smbstatus(1). It insists on being root, so it is, in a user namespace of its own."""
    command = ["/usr/bin/unshare", "--user", "--map-root-user", *WITH_CHARSET, "/usr/bin/smbstatus"]
    command += [f"--configfile={SMB_CONFIGURATION}", "--profile", "--json"]
    try:
        async with asyncio.timeout(_SMB_SECONDS), _one_at_a_time:
            return _counts(await finish(command))
    except (OSError, RuntimeError, TimeoutError) as error:
        log.warning("no counts from smbd: %s", type(error).__name__)
        return {}


def _counts(printed: str) -> dict[str, int]:
    """Operations with their counts, from smbstatus' JSON; it may say something before it."""
    try:
        calls = json.loads(printed[printed.index("{") :]).get(_SMB, {})
        return {name.removeprefix("smb2_"): int(call["count"]) for name, call in calls.items()}
    except (ValueError, OverflowError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
