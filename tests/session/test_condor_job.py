"""Jobs of the real HTCondor: files go there and come back, in a pool as sites have them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import condor
import harness
import pytest
from condor import CondorPool


@pytest.fixture(scope="module")
def pool(work: Path) -> Iterator[CondorPool]:
    """One pool for all of these tests: two nodes."""
    before = harness.my_processes()
    with condor.running(work / "p", nodes=("node1", "node2"), cpus=2, memory_mb=4000) as running:
        yield running
    assert not harness.wait_until_gone(harness.my_processes() - before)


def test_a_jobs_files_go_there_and_come_back_whole(pool: CondorPool) -> None:
    """The job starts the machine's own Apptainer, with the SIF."""
    given = hashlib.sha256(b"7lbd" * 250_000).digest() * 31_250
    (pool.jobs / "in.bin").write_bytes(given)
    job = pool.submit(
        "executable = /bin/sh\ntransfer_executable = false\nshould_transfer_files = YES\n"
        f"""arguments = "-c 'apptainer exec {harness.SIF} sha256sum in.bin; cp in.bin back.bin'"\n"""
        "transfer_input_files = in.bin\ntransfer_output_files = back.bin\noutput = sum.txt\nerror = err.txt\n"
        "request_memory = 100M\nrequest_disk = 10M\n"
    )
    assert pool.wait(job) == condor.COMPLETED
    assert pool.ad(job, "ExitCode") == ["0"]
    assert (pool.jobs / "back.bin").read_bytes() == given
    assert (pool.jobs / "sum.txt").read_text().split()[0] == hashlib.sha256(given).hexdigest()
