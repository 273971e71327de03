"""A command in a machine that is there, before it is in the guest."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
from sevenlbd.outside.batch.attached import GuestJob
from sevenlbd.outside.batch.order import Order
from sevenlbd.outside.batch.request import JobRequest
from sevenlbd.outside.batch.sinks import Raw
from sevenlbd.wire.job_files import JOB, WORK


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_its_inputs_are_brought_is_its_end_before_it_began(tmp_path: Path, number: int) -> None:
    for name in (JOB, WORK, "case"):
        (tmp_path / name).mkdir()
    (tmp_path / "case" / "large").write_text("7")
    job = GuestJob(tmp_path, JobRequest(Order(("x",)), inputs=(str(tmp_path / "case"),)), Raw(), windows=False)
    job.urge(number)
    end = job.run()
    assert (end.code, end.own, end.said) == (128 + number, False, "it was interrupted before it began")
    assert list((tmp_path / WORK).iterdir()) == []
    assert list((tmp_path / JOB).iterdir()) == [], "nothing was ordered in the guest"
