"""Guests that join a pool of the real HTCondor, for tests: where that pool is, the image, and the record of each.

The pool is on the far side of a site's network (sitenet.py), with a queue and no node of its own: whatever runs, runs
in a guest.
"""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import condor
import harness
from condor import CondorPool
from sitenet import SiteNet
from siteserver import LICENSE

IMAGE = harness.REPO / "build" / "images" / "worker"
NAME = "license.example.edu"
"""The pool's name on the site's network; other servers of the site's listen at its address, too."""
_BUILD_SECONDS, _WARM_SECONDS = 1800, 1200  # under emulation, beside others


@contextmanager
def pool_beyond(net: SiteNet, folder: Path) -> Iterator[CondorPool]:
    """Collector, negotiator and queue, behind one port on the far side."""
    options = {f"ALLOW_ADVERTISE_{kind}": "startd@pool.test" for kind in ("STARTD", "MASTER")}
    with condor.running(folder, nodes=(), options=options, host=LICENSE, prefix=net.beyond()) as running:
        yield running


def warm_image(folder: Path, prefix: Sequence[str], options: Sequence[str]) -> Path:
    """The worker image in a new folder, frozen when it was ready: the same for every pool."""
    subprocess.run([harness.REPO / "scripts" / "further-guest", "worker"], check=True, timeout=_BUILD_SECONDS)
    folder.mkdir(parents=True)
    subprocess.run(["cp", "--reflink=auto", "--sparse=always", *map(str, IMAGE.iterdir()), str(folder)], check=True)
    words = ("image", "warm", "--session-dir", str(folder.parent / "warming"), str(folder))
    made = harness.run(*words, prefix=prefix, options=options, timeout=_WARM_SECONDS)
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


def token(pool: CondorPool) -> str:
    """What lets its bearer advertise a startd, and no more."""
    rights = ("ADVERTISE_STARTD", "ADVERTISE_MASTER", "READ")
    authorised = [word for right in rights for word in ("-authz", right)]
    identity = ["-identity", f"startd@{pool.domain}"]
    return pool.call("condor_token_create", *identity, *authorised, "-lifetime", "3600").strip()


def joining(folder: Path, pool: CondorPool, **changed: object) -> list[str]:
    """The prefix of a command that finds the record at descriptor 3, as a coordinator gives it."""
    record = {
        "collector": f"{NAME}:{pool.port}",
        "trust_domain": pool.domain,
        "token": token(pool),
        "vm_name": "worker",
        "machine": "lab-7",
        "slot": 2,
        **changed,
    }
    file = folder / f"record-{time.monotonic_ns()}"
    file.touch(0o600)
    file.write_text(json.dumps(record))
    return ["sh", "-c", 'exec 3<"$0" && rm "$0" && exec "$@"', str(file)]
