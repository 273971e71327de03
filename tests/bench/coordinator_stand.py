"""Inside the SIF: a coordinator that has nothing to do, beside a pool's service: coordinator_stand FOLDER SECONDS."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from sevenlbd.outside.grid import membership
from sevenlbd.outside.grid.membership import Membership

from .pool_stand import cpu, prepare, resident, service

_BEGINS = 60.0  # seconds for its first words to the service, on a busy machine


def main(folder: Path, seconds: float) -> None:
    """Print what it took, as JSON."""
    (token,) = prepare(folder, 1)
    with service(folder) as (_, said):
        lender = folder / "lender"
        member = Membership(f"https://127.0.0.1:{said['port']}", "lab-0", said["pin"])
        membership.write(membership.folder(str(lender), {}), member, token)
        call = [sys.executable, "-m", "sevenlbd", "grid", "coordinator", "--state-dir", str(lender)]
        began = time.monotonic()
        with subprocess.Popen(call, stdout=sys.stderr, env=os.environ | {"HOME": str(folder)}) as running:
            try:
                _wait_for_its_word(membership.folder(str(lender), {}) / "token", token, running)
                first, before = time.monotonic() - began, cpu(running.pid)
                time.sleep(seconds)
                used = cpu(running.pid) - before
                assert running.poll() is None, "it has ended"
                memory = {"resident": resident(running.pid), "proportional": _proportional(running.pid)}
            finally:
                running.terminate()
    print(json.dumps({"first": first, "cpu": used / seconds, **memory}))


def _wait_for_its_word(file: Path, token: str, running: subprocess.Popen[bytes]) -> None:
    """Each answer of the service's renews the machine's token."""
    deadline = time.monotonic() + _BEGINS
    while file.read_text().strip() == token:
        assert running.poll() is None, "it has ended"
        assert time.monotonic() < deadline, "it has said nothing to the service"
        time.sleep(0.05)


def _proportional(pid: int) -> int:
    """Bytes of memory, shared pages by their part (proc_pid_smaps(5), Pss)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) << 10


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
