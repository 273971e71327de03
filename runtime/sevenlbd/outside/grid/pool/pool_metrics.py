"""OpenMetrics of the pool, made when they are asked for. Names and units: openmetrics.io, and Prometheus' guide."""

from __future__ import annotations

import os
import resource
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

from ..machine_report import Owner, VmPhase
from . import codes, pool_overview
from .machine_api import PoolParts

_P = "sevenlbd_grid"


def text(parts: PoolParts) -> tuple[bytes, str]:
    """All metrics and their content type."""
    registry = CollectorRegistry()
    registry.register(_Pool(parts))
    return generate_latest(registry), CONTENT_TYPE_LATEST  # type: ignore[no-untyped-call]  # the library has no types there


class _Pool(Collector):
    """What is known of the pool at this moment."""

    def __init__(self, parts: PoolParts) -> None:
        self._parts = parts

    def describe(self) -> list[Metric]:
        """prometheus_client's callback: nothing is registered ahead."""
        return []

    def collect(self) -> Iterator[Metric]:
        """prometheus_client's callback."""
        yield from self._sums()
        yield from self._by_machine()
        yield from self._images_and_jobs()
        yield from self._of_service()

    def _sums(self) -> Iterator[Metric]:
        rows = pool_overview.machines(self._parts)
        totals = self._parts.fleet.totals()
        revoked = sum(bool(row["revoked"]) for row in rows)
        states = {"here": totals.machines, "away": max(0, len(rows) - revoked - totals.machines), "revoked": revoked}
        yield _gauge("machines", "Enrolled machines.", "state", states)
        yield GaugeMetricFamily(f"{_P}_machines_lending", "Those that lend themselves now.", value=totals.lending)
        owners = {owner.value: totals.owners.get(owner, 0) for owner in Owner}
        yield _gauge("owners", "Whether their owners are there.", "owner", owners)
        yield GaugeMetricFamily(f"{_P}_slots", "Slots of machines that are here.", value=totals.slots)
        yield _gauge("vms", "VMs.", "phase", {phase.value: totals.vms.get(phase, 0) for phase in VmPhase})
        yield GaugeMetricFamily(f"{_P}_codes", "Enrolment codes not yet used.", value=codes.waiting(self._parts.place))

    def _by_machine(self) -> Iterator[Metric]:
        """Since each coordinator's own start, so that they are counters of theirs."""
        told = {
            "evictions": CounterMetricFamily(f"{_P}_evictions", "VMs that had to leave.", labels=["machine"]),
            "started": CounterMetricFamily(f"{_P}_vms_started", "VMs started.", labels=["machine"]),
            "failures": CounterMetricFamily(f"{_P}_failures", "VMs and fetches that failed.", labels=["machine"]),
            "fetched": CounterMetricFamily(f"{_P}_fetched_bytes", "Bytes of images fetched.", labels=["machine"]),
        }
        for name, report, _, here in self._parts.fleet.reports():
            for field, family in told.items():
                if here:
                    family.add_metric([name], getattr(report, field))
        yield from told.values()

    def _images_and_jobs(self) -> Iterator[Metric]:
        totals = self._parts.fleet.totals()
        copies = GaugeMetricFamily(f"{_P}_image_copies", "Machines that hold it.", labels=["image", "version"])
        for (name, version), count in totals.copies.items():
            copies.add_metric([name, version], count)
        yield copies
        idle = Counter[str]()
        for demand in self._parts.demand.last:
            idle[demand.vm_name] += demand.jobs
        yield _gauge("jobs_idle", "Idle jobs that name an image.", "image", idle)
        yield _gauge("image_vms", "VMs of it.", "image", totals.vms_of)

    def _of_service(self) -> Iterator[Metric]:
        answers = CounterMetricFamily(f"{_P}_answers", "By route and HTTP status.", labels=["route", "status"])
        for (route, status), count in self._parts.answered.items():
            answers.add_metric([route, str(status)], count)
        yield answers
        seconds = CounterMetricFamily(f"{_P}_answer_seconds", "Time that answers took.", labels=["route"])
        for route, value in self._parts.seconds.items():
            seconds.add_metric([route], value)
        yield seconds
        parts = self._parts
        yield CounterMetricFamily(f"{_P}_image_sent_bytes", "Bytes of images sent.", value=parts.throttle.sent)
        yield GaugeMetricFamily(f"{_P}_image_streams", "Pieces on their way.", value=parts.throttle.streams)
        yield CounterMetricFamily(
            f"{_P}_queue_questions", "How often the queue was asked.", value=parts.demand.questions
        )
        yield GaugeMetricFamily(f"{_P}_queue_answers", "Whether it answers.", value=not parts.demand.trouble)
        yield CounterMetricFamily(f"{_P}_worker_tokens", "Tokens made for VMs.", value=parts.workers.made)
        used = resource.getrusage(resource.RUSAGE_SELF)
        yield CounterMetricFamily(f"{_P}_cpu_seconds", "CPU time of the service.", value=used.ru_utime + used.ru_stime)
        yield GaugeMetricFamily(f"{_P}_resident_bytes", "Memory of the service.", value=_resident())


def _gauge(name: str, about: str, label: str, values: Mapping[str, int]) -> Metric:
    family = GaugeMetricFamily(f"{_P}_{name}", about, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


def _resident() -> int:
    """proc_pid_statm(5)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
