"""One round: sessions begin, suffer what was drawn, and end; then nothing is left, and no acknowledged byte is lost."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import harness
from harness import Session
from strange import node

from .client import Client
from .deeds import Victim
from .draws import Fault, Round

_BEGIN_SECONDS = 40.0  # on a machine that does other work; a session that cannot begin has ended by then
_END_SECONDS = 60.0  # the same; no rung of the ladder of stopping is longer than some seconds here
_DISK = "200M"
_APART = "full-disk"


class World:
    """What all rounds share: an image, a SIF, and a folder to be in."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder / "image"
        self.image.mkdir()
        harness.tool("qemu-img", "create", "-q", "-f", "qcow2", str(self.image / "disk.qcow2"), "64M")
        described = 'os = "linux"\nfirmware = "bios"\nmemory = "128M"\ncpus = 1\nname = "blank"\n'
        (self.image / "image.toml").write_text(described)


class Played:
    """A round that is being played."""

    def __init__(self, world: World, drawn: Round) -> None:
        self._world, self._drawn = world, drawn
        self.place = world.folder / f"r{drawn.seed}"
        self._base, self._share, self._state = (self.place / name for name in ("b", "data", "state"))
        for folder in (self.place, self._base, self._share, self._state, self.place / "src"):
            folder.mkdir(mode=0o700)
        self._before = harness.my_processes()
        self._apart = any(fault.deed == _APART for fault in drawn.faults)
        self._victims: list[Victim] = []
        self._clients: list[Client] = []

    def play(self) -> int:
        """Returns how many files were acknowledged. Raises AssertionError for a broken promise."""
        for number in range(self._drawn.sessions):
            self._victims.append(self._begin(number))
        players = [threading.Thread(target=self._live, args=(number,)) for number in range(self._drawn.sessions)]
        for player in players:
            player.start()
        for player in players:
            player.join()
        self._check()
        return sum(len(client.acknowledged) for client in self._clients)

    def _begin(self, number: int) -> Victim:
        image, sif = self.place / f"image-{number}", self.place / f"{number}.sif"
        shutil.copytree(self._world.image, image)
        os.link(harness.SIF, sif)
        where = self._base if not self._apart else self.place / "small"
        where.mkdir(mode=0o700, exist_ok=True)
        prefix = node(f"mount -t tmpfs -o size={_DISK},mode=0700 none {where}") if self._apart else []
        if self._drawn.uptime:
            ahead = str(self._drawn.uptime)
            prefix = ["unshare", "--map-current-user", "--keep-caps", "--time", "--fork", "--kill-child=SIGTERM",
                      "--boottime", ahead, "--monotonic", ahead, *prefix]  # fmt: skip
        words = ("--image", str(image), "--name", f"s{number}", "--no-home-share", "--share", f"data={self._share}")
        call = harness.command("run", "--json", "--session-dir", str(where), *words, "--min-space", "1M", sif=sif)
        env = harness.environment({"SEVENLBD_STATE_DIR": str(self._state)})
        process = subprocess.Popen([*prefix, *call], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        return Victim(Session(process, where, self._apart)._begin(), sif, image)

    def _live(self, number: int) -> None:
        victim = self._victims[number]
        session = victim.session
        mine = [fault for fault in self._drawn.faults if fault.session == number]
        self._suffer(victim, mine, "preparing")
        if self._booted(session):
            client = Client(session, self.place / "src", self._drawn.files, self._drawn.seed * 10 + number)
            self._clients.append(client)
            client.begin()
            self._suffer(victim, mine, "booting")
            client.wait()
        self._end(victim, mine)

    @staticmethod
    def _booted(session: Session) -> bool:
        """Whether it got so far; one that met a fault before may have refused, or died of it."""
        with suppress(AssertionError):
            session.wait_phase("booting", _BEGIN_SECONDS)
            return session.process.poll() is None
        return False

    @staticmethod
    def _suffer(victim: Victim, faults: Sequence[Fault], phase: str) -> None:
        for fault in faults:
            if fault.phase == phase:
                time.sleep(fault.after)
                victim.suffer(fault)

    def _end(self, victim: Victim, faults: Sequence[Fault]) -> None:
        session = victim.session
        if session.process.poll() is None:
            with suppress(ProcessLookupError, AssertionError):
                os.kill(victim._pid("supervisor") or session.process.pid, signal.SIGTERM)
            self._suffer(victim, faults, "stopping")
        try:
            session.wait_end(_END_SECONDS)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"the session did not end:\n{session.story()}") from None

    def _check(self) -> None:
        for victim in self._victims:
            code = victim.session.process.poll()
            assert code is not None, f"a session did not end:\n{victim.session.story()}"
            assert "Traceback" not in victim.session.errors, victim.session.errors
        left = harness.wait_until_gone(harness.my_processes() - self._before)
        assert not left, f"processes are left: {left}"
        if self._base.exists():
            harness.run("gc", "--session-dir", str(self._base), env={"SEVENLBD_STATE_DIR": str(self._state)})
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.place) in line]
        assert not mounts, mounts
        folders = [one.name for one in self._base.glob("*") if not one.name.startswith("failed-")]
        assert not folders, f"folders are left after gc: {folders}"
        records = [str(path) for path in self._state.rglob("session.json")]
        assert not records, f"the user's register still knows of it after gc: {records}"
        for client in self._clients:
            client.check(self._share)

    def close(self) -> None:
        """End what is left of a round that failed, and remove what it made."""
        for victim in self._victims:
            victim.session.kill()
        harness.remove(self.place)
