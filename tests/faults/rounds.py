"""One round: sessions begin, suffer what was drawn, and end; then nothing is left, and no acknowledged byte is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict
from pathlib import Path

import harness
from harness import Session

from . import draws
from .client import Client
from .deeds import Victim
from .draws import Fault, Round
from .ground import Ground
from .ready import Guest
from .world import World

_BEGIN_SECONDS = 40.0  # on a machine that does other work; a session that cannot begin has ended by then
_PATIENCE_SECONDS = 140.0  # beyond that for a session that nothing was done to, on a machine with a load of 50: a guess
_END_SECONDS = 60.0  # the same; no rung of the ladder of stopping is longer than some seconds here
_SETTINGS = ("--no-home-share", "--min-space", "1M", "--stop-grace", "0")  # no guest is there to shut down
_SMALL = "full-disk"
_SHARED = frozenset({"no-folder", "stamps"})
"""What is done to all that is in a base folder, which may be two sessions'."""


def interrupted(place: Path) -> list[str]:
    """What a killed writer left of desktops, or of notes on where they were written (outside/saved/abroad.py)."""
    return sorted(str(path) for path in place.rglob(".*.new"))


class Played:
    """A round that is being played."""

    def __init__(self, world: World, drawn: Round) -> None:
        self._world, self._drawn = world, drawn
        self.place = world.folder / f"r{drawn.seed}"
        self._share, self._state = self.place / "data", self.place / "state"
        for folder in (self.place, self._share, self._state, self.place / "src"):
            folder.mkdir(mode=0o700)
        self._env = {"SEVENLBD_STATE_DIR": str(self._state)}
        self._before = harness.my_processes()
        self._grounds: list[Ground] = []
        self._victims: list[Victim] = []
        self._clients: list[Client] = []
        self._saved: list[Path] = []
        """Files of which it was said that a desktop is whole in them."""
        self._broken: list[BaseException] = []
        self._lost = 0
        """Sessions without a client, though nothing was done to them."""

    def play(self) -> None:
        """Raises AssertionError for a broken promise."""
        for number in range(self._drawn.sessions):
            self._victims.append(self._begin(number))
        players = [threading.Thread(target=self._guarded, args=(number,)) for number in range(self._drawn.sessions)]
        for player in players:
            player.start()
        for player in players:
            player.join()
        if self._broken:
            raise self._broken[0]
        self._check()

    def told(self) -> dict[str, object]:
        """What was really done, and what the clients came to, for the report."""
        return {
            "start": self._drawn.start,
            "acknowledged": sum(len(client.acknowledged) for client in self._clients),
            "heard": sum(bool(client.acknowledged) for client in self._clients),
            "silent": sum(not client.acknowledged for client in self._clients) + self._lost,
            "due": self._drawn.is_quiet,
            "drawn": sum(fault.deed != draws.NOTHING for fault in self._drawn.faults),
            "deeds": [asdict(done) for victim in self._victims for done in victim.record],
        }

    def _begin(self, number: int) -> Victim:
        image, sif = self.place / f"image-{number}", self.place / f"{number}.sif"
        self._world.copy_image(image, self._drawn.start, tpm=self._drawn.has_role(draws.TPM))
        os.link(harness.SIF, sif)
        ground = Ground(self.place, number, small=any(fault.deed == _SMALL for fault in self._drawn.faults))
        self._grounds.append(ground)
        words = ("--image", str(image), "--name", f"s{number}", "--share", f"data={self._share}", *_SETTINGS)
        site = self._world.site_with_ways_out() if self._drawn.has_role(*draws.WAYS_OUT) else []
        base = ("--session-dir", str(ground.base))
        ours = harness.command(*self._verb(number), "--json", *base, *words, options=site, sif=sif)
        call = [*ground.prefix(self._drawn.uptime), *ours]
        env = harness.environment(self._env)
        process = subprocess.Popen(call, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        session = Session(process, ground.base, ground.small)._begin()
        return Victim(session, ground, sif, image)

    def _verb(self, number: int) -> tuple[str, ...]:
        """How a session begins; each that goes on from a file has one of its own."""
        if self._drawn.start != "saved":
            return ("run",)
        assert self._world.saved
        file = self.place / f"from-{number}.7lbd"
        self._world.saved.copy(file, self._state)
        return ("resume", str(file))

    def _guarded(self, number: int) -> None:
        """What a thread raises must not be lost."""
        try:
            with ExitStack() as stack:
                self._live(number, stack)
        except BaseException as error:
            self._broken.append(error)

    def _live(self, number: int, stack: ExitStack) -> None:
        victim, mine = self._victims[number], self._drawn.of(number)
        guest = Guest(victim.session.process, self._world.pem)
        if any(fault.phase in draws.READY for fault in mine):
            stack.enter_context(guest)
        self._suffer(victim, mine, "preparing")
        if self._came(number, "booting"):
            seed = self._drawn.seed * 10 + number
            client = Client(victim.session, self.place / "src", self._drawn.files, seed, lambda: victim.is_hurt)
            self._clients.append(client)
            client.begin()
            self._suffer(victim, mine, "booting")
            if any(fault.phase in draws.READY for fault in mine):
                self._be_ready(number, guest)
            client.wait()
            is_hurt = any(one.is_hurt for one in self._victims)
            client.undisturbed = not is_hurt and not any(fault.phase == "suspending" for fault in mine)  # which ends it
        self._end(victim, mine)

    def _be_ready(self, number: int, guest: Guest) -> None:
        """Go through what a ready desktop does, as far as it still can."""
        victim, mine = self._victims[number], self._drawn.of(number)
        with suppress(OSError, AssertionError):
            guest.answer()
        if not self._came(number, "ready"):
            return
        self._suffer(victim, mine, "ready")
        for phase, more in (("checkpointing", ("--keep-running",)), ("suspending", ())):
            if any(fault.phase == phase for fault in mine) and victim.session.process.poll() is None:
                self._save(number, phase, more)

    def _save(self, number: int, phase: str, more: Sequence[str]) -> None:
        """Have the desktop written to a file while it suffers."""
        victim, ground = self._victims[number], self._grounds[number]
        saved = self.place / f"{phase}-{number}.7lbd"
        suffering = threading.Thread(target=self._suffer, args=(victim, self._drawn.of(number), phase))
        suffering.start()
        done = ground.run("suspend", f"s{number}", "--to", str(saved), *more, env=self._env)
        suffering.join()
        assert "Traceback" not in done.stderr, done.stderr
        assert done.returncode == 0 or victim.is_hurt, f"nothing was done to it, and {phase} failed: {done.stderr}"
        if done.returncode == 0:
            self._saved.append(saved)

    def _came(self, number: int, phase: str) -> bool:
        """Whether it got so far; one that met a fault before may have refused, or died of it.

        Raises AssertionError when nothing was done to it.
        """
        session = self._victims[number].session
        for seconds in (_BEGIN_SECONDS, _PATIENCE_SECONDS):
            with suppress(AssertionError):
                session.wait_phase(phase, seconds)
                break
            if self._is_touched(number) or session.process.poll() is not None:
                break
        is_there = session.process.poll() is None and any(event.get("phase") == phase for event in session.events)
        if not is_there and not self._is_touched(number):
            self._lost += not any(client.is_of(session) for client in self._clients)
            raise AssertionError(f"nothing was done to it, and it was not {phase}:\n{session.story()}")
        return is_there

    def _is_touched(self, number: int) -> bool:
        """Whether anything was done to it, or to all that is in its folder."""
        return self._victims[number].is_hurt or any(
            victim.is_hurt and self._grounds[other].base == self._grounds[number].base
            for other, victim in enumerate(self._victims)
            if any(fault.deed in _SHARED for fault in self._drawn.of(other))
        )

    @staticmethod
    def _suffer(victim: Victim, faults: Sequence[Fault], phase: str) -> None:
        for fault in faults:
            if fault.phase == phase:
                victim.suffer(fault)

    def _end(self, victim: Victim, faults: Sequence[Fault]) -> None:
        session = victim.session
        if session.process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(victim.pid("supervisor") or session.process.pid, signal.SIGTERM)
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
        for ground in {ground.base: ground for ground in self._grounds}.values():
            ground.collect(self._env)
            assert not ground.left(), f"folders are left after gc: {ground.left()}"
        half = interrupted(self.place)
        assert not half, f"half a saved desktop is left after gc: {half}"
        mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(self.place) in line]
        assert not mounts, mounts
        records = [str(path) for path in self._state.rglob("session.json")]
        assert not records, f"the user's register still knows of it after gc: {records}"
        for client in self._clients:
            client.check(self._share)
        for saved in self._saved:
            looked = harness.run("saved", "check", str(saved), env=self._env)
            assert looked.returncode == 0, f"{saved.name} was said to be whole: {looked.stdout}{looked.stderr}"
        for file in self.place.glob("from-*.7lbd"):
            assert self._world.saved
            assert self._world.saved.is_in(file), f"{file.name} is not what it was"

    def close(self) -> None:
        """End what is left of a round that failed, and remove what it made."""
        for victim in self._victims:
            victim.session.kill()
        for ground in self._grounds:
            ground.close()
        harness.remove(self.place)
