"""Runs inside the SIF, by its Python: the pool's service, and a thousand coordinators that ask it as they do.

python -m tests.bench.pool_stand MACHINES MOVED   prints one JSON object; MOVED is how many fetch an image
python -m tests.bench.pool_stand serve FOLDER     the service, its queue a text; prints its port
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path
from random import Random

from sevenlbd.images.repository import sign_version
from sevenlbd.images.repository.versions import Repository
from sevenlbd.images.signing import signature
from sevenlbd.outside.grid import membership
from sevenlbd.outside.grid.client import PoolClient, PoolGone
from sevenlbd.outside.grid.coordinator.pool_pace import PoolPace
from sevenlbd.outside.grid.machine_report import HeldImage, Owner, Report, RunningVm, VmPhase
from sevenlbd.outside.grid.membership import Membership
from sevenlbd.outside.grid.pool import pool_folder, serving
from sevenlbd.outside.grid.pool.fleet import Fleet
from sevenlbd.outside.grid.pool.front_line import listen
from sevenlbd.outside.grid.pool.machine_api import PoolParts
from sevenlbd.outside.grid.pool.machine_keys import MachineKeys
from sevenlbd.outside.grid.pool.members import Members
from sevenlbd.outside.grid.pool.offers import Offers
from sevenlbd.outside.grid.pool.queue_demand import QueueDemand
from sevenlbd.outside.grid.pool.throttle import Throttle
from sevenlbd.outside.grid.pool.worker_tokens import TokenTerms, WorkerTokens
from sevenlbd.outside.grid.protocol import PoolAddress, Waiting

ADDRESS = PoolAddress("pool.example.org:9618", "example.org")
RATE = 32 << 20
IMAGE = 4 << 20
HANDS = 48
OUTAGE = 600.0
REPORT = Report(
    Owner.ABSENT,
    lends=True,
    slots=2,
    vms=(RunningVm(1, "win11", "1", VmPhase.BUSY, 60.0),),
    images=(HeldImage("win11", "1", IMAGE),),
    reason="nobody is logged in",
)


def serve(folder: Path) -> None:
    """Until it is killed."""

    def queue(_wanted: Sequence[str], _most: int) -> str:
        return "win11 2 4096 10485760\n" * 500

    async def run() -> None:
        place = folder / "state"
        parts = PoolParts(
            place=place,
            members=Members(place, pool_folder.secret(place, pool_folder.KEY)),
            keys=MachineKeys(place),
            offers=Offers([folder / "images"]),
            demand=QueueDemand(queue),
            workers=WorkerTokens(lambda _identity, _seconds: "a.b.c", TokenTerms(ADDRESS, "{machine}@w", 60.0)),
            fleet=Fleet(30.0),
            throttle=Throttle(RATE),
            poll=30.0,
            admin=pool_folder.secret(place, pool_folder.ADMIN),
        )
        tls, pin = serving.certificate(place, ("", ""), ["localhost"])
        known = folder / "port"
        listener = listen("127.0.0.1", int(known.read_text()) if known.exists() else 0)
        known.write_text(str(listener.getsockname()[1]))
        ready = asyncio.Event()
        task = asyncio.get_running_loop().create_task(serving.serve(parts, listener, tls, ready, asyncio.Event()))
        await ready.wait()
        print(json.dumps({"port": listener.getsockname()[1], "pin": pin}), flush=True)
        await task

    asyncio.run(run())


@contextmanager
def service(folder: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The service as a process: its pid, and what it says."""
    call = [sys.executable, "-m", "tests.bench.pool_stand", "serve", str(folder)]
    with subprocess.Popen(call, stdout=subprocess.PIPE, text=True) as running:
        assert running.stdout
        try:
            yield running.pid, json.loads(running.stdout.readline())
        finally:
            running.kill()


def cpu(pid: int) -> float:
    """Seconds of CPU time that a process has had (proc_pid_stat(5))."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def prepare(folder: Path, machines: int) -> list[str]:
    """An image, and the first token of each machine."""
    kept = Repository(folder / "images")
    with kept.staged("win11", "1") as fresh:
        (fresh / "image.toml").write_text('name = "win11"\n')
        (fresh / "disk.qcow2").write_bytes(os.urandom(IMAGE))
    key = folder / "key"
    key.write_bytes(signature.generate()[0])
    key.chmod(0o600)
    sign_version.sign(
        kept, "win11", "1", signature.private_key(key), lambda _what, _size: nullcontext(lambda _bytes: None)
    )
    kept.publish("win11", "1")
    place = pool_folder.prepared(folder / "state")
    known = Members(place, pool_folder.secret(place, pool_folder.KEY))
    known.save, save = lambda: None, known.save  # type: ignore[method-assign]  # a thousand at once, written once
    tokens = [known.enrol(f"lab-{number}", "127.0.0.1")[1] for number in range(machines)]
    save()
    return tokens


def enrolled(folder: Path, tokens: list[str], said: dict[str, str]) -> list[PoolClient]:
    """The machines, each with its folder."""
    clients = []
    for number, token in enumerate(tokens):
        place = folder / "m" / str(number)
        url = f"https://127.0.0.1:{said['port']}"
        membership.write(place, Membership(url, f"lab-{number}", said["pin"]), token)
        clients.append(PoolClient(place))
    return clients


def polls(clients: list[PoolClient], pid: int) -> dict[str, float]:
    """Each asks once what is wanted, and says what it does."""

    def poll(one: PoolClient) -> None:
        one.waiting()
        one.report(REPORT)

    began, before = time.monotonic(), cpu(pid)
    with ThreadPoolExecutor(HANDS) as hands:
        list(hands.map(poll, clients))
    used, seconds = cpu(pid) - before, time.monotonic() - began
    return {"cpu_ms": 1000 * used / len(clients), "each_second": len(clients) / seconds, "resident": resident(pid)}


def fan_out(clients: list[PoolClient], pid: int) -> dict[str, float]:
    """All fetch one image at the same time."""
    busy = Counter[str]()

    def fetch(one: PoolClient) -> int:
        while True:
            try:
                told = one.images()
                return sum(map(len, one.file(told.images[0], "disk.qcow2", 0, IMAGE, told.ticket)))
            except PoolGone:
                busy["times"] += 1
                time.sleep(0.5)

    began, before = time.monotonic(), cpu(pid)
    with ThreadPoolExecutor(2 * HANDS) as hands:
        moved = sum(hands.map(fetch, clients))
    seconds = time.monotonic() - began
    return {"of_rate": moved / seconds / RATE, "cpu_for_gb": (cpu(pid) - before) / (moved / 1e9), "busy": busy["times"]}


def storm(clients: list[PoolClient], folder: Path) -> dict[str, float]:
    """The service is killed; all try again and again, without a pause, until it is there and each was served."""
    failed = Counter[str]()

    def poll(one: PoolClient) -> None:
        while True:
            try:
                one.waiting()
            except PoolGone:
                failed["times"] += 1
                time.sleep(0.2)
            else:
                return

    with ThreadPoolExecutor(HANDS) as hands:
        asked = [hands.submit(poll, one) for one in clients]
        time.sleep(1.0)
        with service(folder):
            began = time.monotonic()
            for one in asked:
                one.result()
            return {"seconds": time.monotonic() - began, "failed": failed["times"]}


def back_off(machines: int, seed: int) -> dict[str, float]:
    """How a thousand come back after an outage, by the coordinators' own dice; in seconds that nobody waits for."""
    chance = Random(seed)
    wanted = Waiting(ADDRESS, (), "0" * 64)
    paces = [PoolPace(Random(chance.random())) for _ in range(machines)]
    came = Counter[int]()
    last = 0.0
    for pace in paces:
        pace.told(wanted, 0.0)
        now = 0.0
        while now < OUTAGE + 1200:
            now = pace._ask_at
            pace.due(now)
            if now >= OUTAGE:
                came[int(now)] += 1
                last = max(last, now)
                break
            pace.silent(now, final=False)
    return {"peak_each_second": max(came.values()), "all_back": last - OUTAGE}


def main() -> None:
    """Everything, one after the other."""
    machines, moved = int(sys.argv[1]), int(sys.argv[2])
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        folder = Path(name)
        tokens = prepare(folder, machines)
        with service(folder) as (pid, said):
            clients = enrolled(folder, tokens, said)
            told = {"polls": [polls(clients, pid) for _ in range(2)], "fan_out": fan_out(clients[:moved], pid)}
        print(json.dumps({**told, "storm": storm(clients, folder), "back_off": back_off(machines, 1)}))


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(Path(sys.argv[2]))
    else:
        main()
