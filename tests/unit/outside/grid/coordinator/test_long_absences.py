"""A coordinator that lives through what takes a day in life: its process is real, its clock is moved."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import coordinator_process
import pool_service
import pytest
from pool_service import RunningService
from sevenlbd.images.signing import signature
from sevenlbd.outside.grid import membership
from sevenlbd.outside.grid.membership import Membership

HOUR, DAY = 3600.0, 86400.0
STEP = 50.0  # less than what a coordinator takes for a sleep of its machine


class Line:
    """The network between a machine and its pool, for as long as it is there."""

    def __init__(self, port: int) -> None:
        self._far, self.gone, self.tries = port, False, 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self.tries += 1
                if self.gone:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._far))
                for pair in ((near, far), (far, near)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


class Machine:
    """One that is lent: its coordinator, and what that has told."""

    def __init__(self, folder: Path, pool: RunningService, line: Line, key: str) -> None:
        self.folder, self.pool, self.line, self._key = folder, pool, line, key

    def grants(self, *, slots: int) -> None:
        """What its owner does: no VM while she is there, and none takes longer than a minute to go."""
        owner = '[owner]\nwhen_used = []\nmemory = "1M"\ngrace = "1m"\n'
        self.say("7lbd.toml", f'{owner}[grid]\ntrusted_keys = ["{self._key}"]\nmemory = "4G"\nslots = {slots}\n')

    def say(self, name: str, what: object) -> None:
        (self.folder / f"{name}.new").write_text(str(what))
        (self.folder / f"{name}.new").rename(self.folder / name)

    @property
    def ahead(self) -> float:
        with suppress(OSError):
            return float((self.folder / "ahead").read_text())
        return 0.0

    @property
    def changes(self) -> list[dict[str, Any]]:
        file = self.folder / "state" / "grid" / "coordinator" / "changes.log"
        return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

    def told(self, what: str) -> int:
        """How often something was told of a VM, an image, the pool or the machine."""
        return sum(what in f"{one['subject'].split()[0]} {one['what']}" for one in self.changes)

    def begin(self) -> None:
        command = [sys.executable, coordinator_process.__file__, str(self.folder)]
        env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        with (self.folder / "log").open("wb") as log:
            self.process = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def until(self, is_so: Callable[[], object]) -> None:
        deadline = time.monotonic() + 240
        while not is_so():
            assert self.process.poll() is None, (self.folder / "log").read_text()
            assert time.monotonic() < deadline, f"{self.changes}\n{(self.folder / 'log').read_text()}"
            time.sleep(0.02)

    def live(self, seconds: float) -> None:
        """So long, look by look."""
        end = self.ahead + seconds
        self.say("step", STEP)
        self.until(lambda: self.ahead >= end)
        self.say("step", 0)

    def shut(self) -> None:
        """What a machine's sleep is for a process, but for the clock."""
        self.process.send_signal(signal.SIGSTOP)
        stat = Path(f"/proc/{self.process.pid}/stat")
        self.until(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def open_again(self, seconds: float) -> None:
        """So long it has slept."""
        self.say("jump", seconds)
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        self.process.send_signal(signal.SIGCONT)
        self.process.kill()
        self.process.wait()


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    """It runs a VM, which a job has."""
    repository = tmp_path / "offered" / "images"
    repository.parent.mkdir()
    description = 'os = "linux"\nformat = "raw"\n'
    pool_service.publish(repository, "lab", "1", b"disk" * 1000, description=description)
    key = signature.public_text(signature.private_key(tmp_path / "offered" / "site.key"))
    folder = tmp_path / "m"
    folder.mkdir()
    (folder / "7lbd.sif").touch()
    with pool_service.serving_pool(tmp_path, repository=repository) as pool:
        pool.queue.printed = "lab 1 100 1\n"
        line = Line(pool.port)
        member = pool.machine("lab-01")
        place = membership.folder(str(folder / "state"), {})
        url = f"https://127.0.0.1:{line.port}"
        membership.write(place, Membership(url, "lab-01", pool.pin), (member._place / "token").read_text().strip())
        one = Machine(folder, pool, line, key)
        one.grants(slots=1)
        one.say("people", "")
        one.begin()
        try:
            one.until(lambda: one.told("vm busy") == 1)
            yield one
        finally:
            one.close()
            line.close()


def test_a_network_that_is_gone_for_a_day_ends_no_job_and_is_tried_ever_more_rarely(machine: Machine) -> None:
    machine.line.gone, before = True, machine.line.tries
    machine.live(HOUR)
    machine.grants(slots=2)
    assert machine.told("pool does not answer")
    first = machine.line.tries - before
    machine.live(DAY - HOUR)
    tries = machine.line.tries - before - first
    assert first >= 4, "it comes back soon from what is short"
    assert 23 <= tries <= 23 * 8, "the quarter of an hour that the service wants at most, by dice of its own"
    assert machine.told("vm busy") == 1, "the job goes on, and nothing starts that was wanted yesterday"
    assert machine.told("vm gone") == machine.told("machine was asleep") == 0
    machine.line.gone = False
    machine.live(HOUR)
    machine.until(lambda: machine.told("vm busy") == 2)


def test_a_laptop_whose_lid_was_shut_for_an_hour_goes_on_and_asks_anew(machine: Machine) -> None:
    machine.shut()
    machine.grants(slots=2)
    machine.open_again(HOUR)
    machine.until(lambda: machine.told("machine was asleep"))
    assert [one["why"] for one in machine.changes if "asleep" in one["what"]] == ["1 h 00 min"]
    assert machine.told("vm gone") == 0, "its job has slept, too"
    machine.live(2 * STEP)
    machine.until(lambda: machine.told("vm busy") == 2)


def test_an_owner_who_opens_the_lid_has_the_machine_before_anything_else_is_done(machine: Machine) -> None:
    machine.shut()
    machine.say("people", "ada")
    before = len(machine.changes)
    machine.open_again(HOUR)
    machine.until(lambda: machine.told("vm gone"))
    after = [f"{one['subject'].split()[0]} {one['what']}" for one in machine.changes[before:]]
    assert after[:2] == ["machine was asleep, or this service was stopped", "vm ending"]


def test_what_was_overdue_when_the_lid_was_opened_is_done_at_once(machine: Machine) -> None:
    machine.say("stays", "")
    machine.say("people", "ada")
    machine.until(lambda: machine.told("vm ending"))
    machine.shut()
    machine.open_again(HOUR)
    machine.until(lambda: machine.told("vm killing"))
    machine.until(lambda: machine.told("vm gone"))
