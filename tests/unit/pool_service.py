"""The pool's service itself, over real TLS in this process: what the queue says and who makes tokens is the test's."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pool_world
from sevenlbd.images.repository import sign_version
from sevenlbd.images.repository.versions import Repository
from sevenlbd.images.signing import signature
from sevenlbd.outside.grid import client, membership, protocol
from sevenlbd.outside.grid.client import PoolClient
from sevenlbd.outside.grid.https_exchange import HttpQuestion
from sevenlbd.outside.grid.membership import Membership
from sevenlbd.outside.grid.pool import codes, pool_folder, serving
from sevenlbd.outside.grid.pool.fleet import Fleet
from sevenlbd.outside.grid.pool.front_line import listen
from sevenlbd.outside.grid.pool.machine_api import PoolParts
from sevenlbd.outside.grid.pool.machine_keys import MachineKeys
from sevenlbd.outside.grid.pool.members import Members
from sevenlbd.outside.grid.pool.offers import Offers
from sevenlbd.outside.grid.pool.queue_demand import QueueDemand
from sevenlbd.outside.grid.pool.throttle import Throttle
from sevenlbd.outside.grid.pool.worker_tokens import TokenTerms, WorkerTokens
from sevenlbd.outside.grid.protocol import Enrolling

TERMS = TokenTerms(pool_world.POOL, "{machine}@workers.{trust_domain}", 3600.0)


@dataclass
class Queue:
    """What condor_q prints, and what it was asked."""

    printed: str = ""
    asked: list[tuple[str, ...]] = field(default_factory=list)
    refuses: Exception | None = None

    def ask(self, wanted: Sequence[str], _most: int) -> str:
        self.asked.append(tuple(wanted))
        if self.refuses:
            raise self.refuses
        return self.printed


@dataclass
class RunningService:
    """One that serves."""

    folder: Path
    parts: PoolParts
    port: int
    pin: str
    queue: Queue
    stop: Callable[[], None]

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def state(self) -> Path:
        return self.parts.place

    def machine(self, name: str) -> PoolClient:
        """A machine that enrols by a code of the pool's."""
        secret = codes.make(self.state, 60.0)
        enrolled = client.unpacked(protocol.ENROLLED, self.enrol(secret, name))
        place = self.folder / "machines" / enrolled.machine
        membership.write(place, Membership(self.url, enrolled.machine, self.pin), enrolled.token)
        return PoolClient(place, seconds=20)

    def enrol(self, secret: str, name: str) -> Any:
        body = protocol.ENROLLING.pack(Enrolling(secret, name))
        server = membership.server_of(self.url, self.pin)
        return client.ask(server, HttpQuestion("POST", protocol.ENROL, 16384, 20.0, body=body))

    def ask(self, method: str, path: str, body: bytes = b"", /, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Any request of anybody's; `_` in a header's name stands for `-`."""
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        line = http.client.HTTPSConnection("127.0.0.1", self.port, context=context, timeout=20)
        try:
            line.request(method, path, body or None, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = line.getresponse()
            return answer.status, dict(answer.headers), answer.read()
        finally:
            line.close()

    def admin(self, path: str) -> Any:
        """What the administrator gets."""
        status, _, body = self.ask("GET", path, Authorization=f"Bearer {self.parts.admin.decode()}")
        assert status == 200, body
        return json.loads(body) if path.endswith("json") else body.decode()


@contextmanager
def serving_pool(
    folder: Path,
    *,
    repository: Path | None = None,
    rate: int = 0,
    rate_of_one: int = 0,
    key_networks: Sequence[str] = (),
) -> Iterator[RunningService]:
    """It serves until the end; what it keeps in `folder`/state stays for the next one."""
    place = pool_folder.prepared(folder / "state")
    queue = Queue()

    def make(identity: str, seconds: float) -> str:
        return f"token.{identity.replace('@', '-at-').replace('.', '-')}.{int(seconds)}"

    box: dict[str, Any] = {}
    ready = threading.Event()

    async def run() -> None:
        parts = PoolParts(
            place=place,
            members=Members(place, pool_folder.secret(place, pool_folder.KEY)),
            keys=MachineKeys(place, key_networks),
            offers=Offers([repository] if repository else []),
            demand=QueueDemand(queue.ask),
            workers=WorkerTokens(make, TERMS),
            fleet=Fleet(30.0),
            throttle=Throttle(rate, rate_of_one),
            poll=30.0,
            admin=pool_folder.secret(place, pool_folder.ADMIN),
        )
        tls, pin = serving.certificate(place, ("", ""), ["localhost", "127.0.0.1"])
        listener = listen("127.0.0.1", 0)
        ended, begun, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()
        box.update(parts=parts, pin=pin, port=listener.getsockname()[1])
        box["stop"] = lambda: loop.call_soon_threadsafe(ended.set)
        task = loop.create_task(serving.serve(parts, listener, tls, begun, ended))
        await begun.wait()
        ready.set()
        await task

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert ready.wait(20)
    service = RunningService(folder, box["parts"], box["port"], box["pin"], queue, box["stop"])
    try:
        yield service
    finally:
        service.stop()
        thread.join(20)
        assert not thread.is_alive()


def publish(
    repository: Path, name: str, version: str, disk: bytes, *, signed: bool = True, description: str = ""
) -> None:
    """A version that is current from now on."""
    kept = Repository(repository)
    with kept.staged(name, version) as fresh:
        (fresh / "image.toml").write_text(description or f'name = "{name}"\n')
        (fresh / "disk.qcow2").write_bytes(disk)
        (fresh / "warm").mkdir()
        (fresh / "warm" / "memory").write_bytes(b"m" * 100)
    if signed:
        key = repository.parent / "site.key"
        if not key.exists():
            key.write_bytes(signature.generate()[0])
            key.chmod(0o600)
        private = signature.private_key(key)
        sign_version.sign(kept, name, version, private, lambda _what, _size: nullcontext(lambda _: None))
    kept.publish(name, version)
