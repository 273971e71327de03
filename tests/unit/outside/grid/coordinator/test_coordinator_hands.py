"""A coordinator's hands, each by itself: its files, its share of the line, its eyes, its ear for the owner."""

from __future__ import annotations

import json
import multiprocessing
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from types import SimpleNamespace

import pytest
from sevenlbd.__main__ import main
from sevenlbd.base import process
from sevenlbd.base.errors import Refusal
from sevenlbd.config import sources
from sevenlbd.outside.folders import folder_lock
from sevenlbd.outside.grid.coordinator import (
    bandwidth,
    dirtied,
    overview,
    owner_asking,
    owner_look,
    owner_socket,
    unit_file,
)
from sevenlbd.outside.grid.coordinator.acts import CheckImage
from sevenlbd.outside.grid.coordinator.bandwidth import ChangingRate
from sevenlbd.outside.grid.coordinator.change_log import Change
from sevenlbd.outside.grid.coordinator.happenings import Began, HeldVersion, ImagesTold, Looked, PoolTold
from sevenlbd.outside.grid.coordinator.own_files import KnownState, KnownVm, OwnFiles
from sevenlbd.outside.grid.coordinator.owner_asking import MachineAnswer
from sevenlbd.outside.grid.coordinator.owner_look import OwnerLook
from sevenlbd.outside.grid.coordinator.owner_socket import OwnerCall
from sevenlbd.outside.grid.coordinator.stages import ImageVersion, Stage, Vm
from sevenlbd.outside.grid.coordinator.state_machine import StateMachine
from sevenlbd.outside.grid.coordinator.vm_sessions import VmOrder, VmSessions
from sevenlbd.outside.grid.protocol import Demand, OfferedFile, OfferedImage, PoolAddress, Waiting
from sevenlbd.outside.owner.lending import Person, Seen
from sevenlbd.outside.site.grid_table import GridTable
from sevenlbd.outside.site.owner_table import OwnerTable

MIB, GIB = 1 << 20, 1 << 30


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A short one: with a socket's name it has to fit into 107 bytes (unix(7))."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


def hold(place: Path, held: multiprocessing.synchronize.Event) -> None:
    with OwnFiles(place).held():
        held.set()
        time.sleep(60)


def test_a_second_coordinator_of_a_user_refuses_and_says_who_the_first_is(tmp_path: Path) -> None:
    held = multiprocessing.get_context("fork").Event()
    first = multiprocessing.get_context("fork").Process(target=hold, args=(tmp_path, held), daemon=True)
    first.start()
    assert held.wait(30)
    with pytest.raises(Refusal, match=f"runs already: process {first.pid} on "), OwnFiles(tmp_path).held():
        pass
    first.kill()  # by SIGKILL
    first.join()
    with OwnFiles(tmp_path).held():
        pass


def test_what_the_next_life_has_to_know_is_kept_and_half_of_it_is_nothing(tmp_path: Path) -> None:
    files = OwnFiles(tmp_path)
    state = KnownState((KnownVm("g0-1", 0, "win11", "1", "0" * 64, 17.0),), paused=True, paused_by="ada")
    with files.held():
        files.keep(state)
        assert OwnFiles(tmp_path).known == state
        (files.place / "state.json").write_bytes((files.place / "state.json").read_bytes()[:-5])
        assert OwnFiles(tmp_path).known == KnownState()


def test_every_change_is_a_line_with_its_reason_and_nothing_in_it_is_obeyed(tmp_path: Path) -> None:
    files = OwnFiles(tmp_path)
    with files.held():
        files.log([Change("vm g0-1", "ending", "ada\n\x1b[2J is logged in")], 17.0)
        line = (files.place / "changes.log").read_text()
    assert line.count("\n") == 1
    said = json.loads(line)
    assert (said["at"], said["subject"], said["what"]) == (17.0, "vm g0-1", "ending")
    assert "\x1b" not in said["why"]
    assert files.last_changes() == [said]


@pytest.mark.parametrize("slots", [1, 3, 8])
@pytest.mark.parametrize("megabits", [10, 100, 1000])
def test_the_parts_of_vms_and_images_are_never_more_than_the_machine_may_move(slots: int, megabits: int) -> None:
    rate = megabits * 125_000
    for running in range(slots + 1):
        vms = running * bandwidth.of_vm(rate, slots) * 125_000
        assert vms + bandwidth.of_images(rate, slots, running) <= rate
    assert bandwidth.of_vm(0, slots) == bandwidth.of_images(0, slots, 1) == 0


def test_a_rate_holds_and_follows_what_else_goes_on() -> None:
    now, waited = [100.0], [0.0]

    class Over(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            now[0] += timeout or 0.0
            waited[0] += timeout or 0.0
            return False

    rate = ChangingRate(lambda: now[0])
    rate.take(GIB, Over())
    assert waited[0] == 0, "there is no limit yet"
    rate.set(MIB)
    for _ in range(40):
        rate.take(MIB // 4, Over())
    assert 9 <= waited[0] <= 10
    rate.set(4 * MIB)
    waited[0] = 0.0
    for _ in range(160):
        rate.take(MIB // 4, Over())
    assert 9 <= waited[0] <= 10.5


def places(tmp_path: Path) -> sources.Places:
    (tmp_path / "7lbd.sif").touch()
    return sources.Places(str(tmp_path / "7lbd.sif"), (tmp_path / "7lbd.toml",), None, {})


def look(tmp_path: Path, *people: Person, hour: int = 9) -> OwnerLook:
    seen = Seen(list(people), memory=8 * GIB)
    return OwnerLook(places(tmp_path), lambda: (seen, datetime(2026, 11, 26, hour, 55, tzinfo=UTC)))


def test_the_owner_is_seen_and_her_file_is_read_again_when_she_changes_it(tmp_path: Path) -> None:
    ada = Person("ada", 0.0, "ssh")
    assert not look(tmp_path, ada).look(0).lent
    assert look(tmp_path).look(0).lent
    eyes = look(tmp_path, ada)
    assert "ada (ssh) is logged in" in eyes.look(0).why
    (tmp_path / "7lbd.toml").write_text('[owner]\nwhen_used = ["daily 00:00-24:00"]\n[grid]\nslots = 3\n')
    assert eyes.look(0).lent
    assert eyes.grid.slots == 3
    (tmp_path / "7lbd.toml").write_text("[owner]\nwhen_used = 1\n")
    seen = eyes.look(0)
    assert not seen.lent
    assert "cannot be read" in seen.why


def test_ten_minutes_before_seven_the_machine_is_not_lent_any_more(tmp_path: Path) -> None:
    assert look(tmp_path, Person("ada"), hour=5).look(0).lent
    assert not look(tmp_path, Person("ada"), hour=6).look(0).lent


def test_a_slot_has_its_part_of_what_the_owner_leaves() -> None:
    found = owner_look.terms(GridTable(slots=2), OwnerTable(cpus=2, memory=4 * GIB), 8, 16 * GIB)
    assert (found.slot_cpus, found.slot_memory) == (3, 5 * GIB)
    found = owner_look.terms(GridTable(slots=2, cpus=2, memory=4 * GIB), OwnerTable(memory=4 * GIB), 8, 16 * GIB)
    assert (found.slot_cpus, found.slot_memory) == (1, 2 * GIB)


@pytest.mark.parametrize("gib", [4, 8, 16, 64, 512])
@pytest.mark.parametrize("slots", [1, 2])
def test_where_nobody_says_how_much_a_vm_has_room_beside_the_owners_part_and_the_system(gib: int, slots: int) -> None:
    memory = gib * GIB
    found = owner_look.terms(GridTable(slots=slots), OwnerTable(), 8, memory)
    machine, digest = StateMachine(found, Random(1)), "0" * 64
    machine.handle(Began(held=(HeldVersion("lab", "1", digest, 1, whole=True),)), 1.0)
    free = memory - max(GIB, memory // 8)
    machine.handle(Looked(lent=True, may_begin=True, why="", memory=free), 1.0)
    machine.handle(ImagesTold((OfferedImage("lab", "1", digest, (OfferedFile("manifest.json", 1),)),)), 1.0)
    waiting = Waiting(PoolAddress("pool.example.edu:9618", "example.edu"), (Demand("lab", 1, 1, 0, 0),), digest)
    assert [type(act) for act in machine.handle(PoolTold(waiting), 1.0)] == [CheckImage]


def test_a_rate_that_leaves_a_slot_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="must leave a megabit"):
        GridTable(slots=4, rate=600_000)


def test_anybody_of_the_machine_may_ask_and_order_and_garbage_is_in_nobodys_way(tmp_path: Path) -> None:
    heard: list[tuple[OwnerCall, bool]] = []

    def answer(call: OwnerCall, own: bool) -> dict[str, object]:
        heard.append((call, own))
        return {"why": "so"}

    with owner_socket.served(answer, tmp_path) as trouble:
        assert trouble == ""
        place = tmp_path / f"7lbd-grid-{os.getuid()}"
        assert place.stat().st_mode & 0o777 == 0o755, "another user finds the socket by listing the folder"
        assert (place / f"{os.getpid()}.sock").stat().st_mode & 0o777 == 0o666
        for garbage in (b"", b"{", b"x" * 100_000, b"\n", b"[" * 4000 + b"\n"):
            with socket.socket(socket.AF_UNIX) as wire:
                wire.connect(str(place / f"{os.getpid()}.sock"))
                with suppress(OSError):
                    wire.sendall(garbage)
        assert owner_asking.call(OwnerCall("pause", "ada", seconds=60.0), tmp_path).answers == [{"why": "so"}]
    assert heard == [(OwnerCall("pause", "ada", seconds=60.0), True)]
    with pytest.raises(Refusal, match="no coordinator of a grid runs"):
        owner_asking.call(OwnerCall("show"), tmp_path)


def test_a_crowd_that_calls_and_says_nothing_does_not_keep_the_owner_from_being_heard(tmp_path: Path) -> None:
    with owner_socket.served(lambda _call, _own: {"a": 1}, tmp_path), ExitStack() as crowd:
        place = tmp_path / f"7lbd-grid-{os.getuid()}" / f"{os.getpid()}.sock"
        for _ in range(300):
            wire = crowd.enter_context(socket.socket(socket.AF_UNIX))
            wire.connect(str(place))
        began = time.monotonic()
        assert owner_asking.call(OwnerCall("pause"), tmp_path) == MachineAnswer([{"a": 1}])
        assert time.monotonic() - began < 20, "one after the other, with five seconds for each, it would be minutes"


def test_what_a_killed_coordinator_has_left_is_nobodys_and_goes(tmp_path: Path) -> None:
    usual = tmp_path / f"7lbd-grid-{os.getuid()}"
    for place in (usual, tmp_path / f"{usual.name}-0123456789abcdef"):
        place.mkdir(mode=0o755)
        with socket.socket(socket.AF_UNIX) as dead:
            dead.bind(str(place / "4194304.sock"))
    with pytest.raises(Refusal, match="no coordinator of a grid runs"):
        owner_asking.call(OwnerCall("show"), tmp_path)
    with owner_socket.served(lambda _call, _own: {"a": 1}, tmp_path):
        assert owner_asking.call(OwnerCall("show"), tmp_path).answers == [{"a": 1}]
        assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*.sock")] == [
            Path(usual.name, f"{os.getpid()}.sock")
        ]
    assert list(tmp_path.iterdir()) == []


_DEAF = """
import pathlib, socket, sys, time
place, deaf = pathlib.Path(sys.argv[1]), [socket.socket(socket.AF_UNIX) for _ in range(int(sys.argv[2]))]
place.mkdir(mode=0o755)
for number, one in enumerate(deaf):
    one.bind(str(place / f"1{number:04}.sock"))
    one.listen(0)
print("ready", flush=True)
time.sleep(60)
"""


@contextmanager
def deaf(place: Path, sockets: int) -> Iterator[None]:
    """A process of somebody's that listens there, and says nothing."""
    call = [sys.executable, "-c", _DEAF, str(place), str(sockets)]
    with subprocess.Popen(call, stdout=subprocess.PIPE) as one:
        try:
            assert one.stdout
            assert one.stdout.readline() == b"ready\n"
            yield
        finally:
            one.kill()


def test_however_many_sockets_somebody_makes_that_do_not_answer_the_owner_is_heard_and_told_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner_asking, "_SECONDS", 1.0)
    with (
        deaf(tmp_path / f"7lbd-grid-{os.getuid()}-0", 900),
        owner_socket.served(lambda _call, _own: {"a": 1}, tmp_path),
    ):
        began = time.monotonic()
        assert owner_asking.call(OwnerCall("pause"), tmp_path) == MachineAnswer([{"a": 1}], (str(os.getuid()),))
        assert time.monotonic() - began < 60, "of each process one is asked: one after the other it would be minutes"


def test_an_order_that_not_every_coordinator_has_heard_is_not_told_as_obeyed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(owner_asking, "_SECONDS", 1.0)
    monkeypatch.setattr(owner_asking.call, "__defaults__", (tmp_path,))
    paused: list[str] = []
    troubles = ["a stranger's words, which hide nothing"]

    def answer(call: OwnerCall, _own: bool) -> dict[str, object]:
        paused.append(call.order)
        return {"trouble": troubles.pop()} if troubles else {}

    silent = ExitStack()
    silent.enter_context(deaf(tmp_path / f"7lbd-grid-{os.getuid()}-0", 1))
    with silent, owner_socket.served(answer, tmp_path):
        assert main(["grid", "pause"]) != 0
        said = capsys.readouterr()
        assert "is yours" not in said.out
        assert f"not every coordinator of this machine has heard it: that of user {os.getuid()}" in said.err
        assert main(["grid", "show", "--json"]) == 0
        assert "does not answer" in capsys.readouterr().err
        silent.close()
        for words in (["grid", "pause"], ["grid", "resume"]):
            assert main(words) == 0
        assert "is yours" in capsys.readouterr().out
    assert paused == ["pause", "show", "pause", "resume"], "who heard it obeys"


def test_who_has_ended_is_not_taken_for_who_listens(tmp_path: Path) -> None:
    """A socket tells the process that began to listen there, whose number may be a coordinator's by now (unix(7))."""
    path = tmp_path / "1.sock"
    with socket.socket(socket.AF_UNIX) as one:
        one.bind(str(path))
        if not (child := os.fork()):
            one.listen(1)
            os._exit(0)
        os.waitpid(child, 0)
        if tuple(map(int, os.uname().release.split(".")[:2])) >= (6, 5):
            with pytest.raises(ConnectionRefusedError):
                owner_asking._listener(path)
        else:
            assert owner_asking._listener(path) == child, "an older kernel cannot tell"


def test_a_place_that_another_sweeps_away_meanwhile_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = owner_socket._place
    swept: list[Path] = []

    def place(temporary: Path) -> Path:
        found = places(temporary)
        if not swept:
            swept.append(found)
            found.rmdir()
        return found

    monkeypatch.setattr(owner_socket, "_place", place)
    with owner_socket.served(lambda _call, _own: {}, tmp_path) as trouble:
        assert trouble == ""
    assert len(swept) == 1


def test_who_does_not_listen_yet_is_not_swept_away_as_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two coordinators of a user's, in two state folders, may begin at once."""

    class Slow(socket.socket):
        def listen(self, backlog: int = 0) -> None:
            owner_socket._place(tmp_path)  # the other one sweeps just now
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Slow)
    with owner_socket.served(lambda _call, _own: {"a": 1}, tmp_path) as trouble:
        assert trouble == ""
        assert owner_asking.call(OwnerCall("show"), tmp_path).answers == [{"a": 1}]


def test_what_was_killed_before_it_listened_is_swept_away_after_a_while(tmp_path: Path) -> None:
    place = tmp_path / f"7lbd-grid-{os.getuid()}"
    place.mkdir()
    (old := place / "1.new").touch()
    (new := place / "2.new").touch()
    os.utime(old, (0, 0))
    with owner_socket.served(lambda _call, _own: {}, tmp_path):
        assert (old.exists(), new.exists()) == (False, True)


def test_where_somebody_else_has_the_sockets_place_another_one_is_found_and_his_is_not_touched(tmp_path: Path) -> None:
    his = tmp_path / "his"
    his.mkdir()
    place = tmp_path / f"7lbd-grid-{os.getuid()}"
    place.symlink_to(his)
    with owner_socket.served(lambda _call, _own: {"a": 1}, tmp_path) as trouble:
        assert trouble == ""
        assert owner_asking.call(OwnerCall("pause"), tmp_path).answers == [{"a": 1}]
        assert list(his.iterdir()) == []
    assert sorted(tmp_path.iterdir()) == [place, his]


def test_where_there_is_no_place_at_all_the_coordinator_says_so_and_works(tmp_path: Path) -> None:
    with owner_socket.served(lambda _call, _own: {}, tmp_path / "none") as trouble:
        assert "cannot ask" in trouble


def test_a_coordinator_of_another_version_is_shown_and_breaks_nothing() -> None:
    assert list(overview.lines({"lent": 1})) != []


def sessions(tmp_path: Path) -> VmSessions:
    return VmSessions(OwnFiles(tmp_path), lambda _: None, {"PATH": "/usr/bin", "SEVENLBD_SHARES": "x=/"})


def order(tmp_path: Path, *, saved: bool = False) -> VmOrder:
    vm = Vm("g0-1", 0, ImageVersion("win11", "3", "0" * 64), Stage.STARTING, 0.0, saved=saved)
    return VmOrder(vm, tmp_path / "r", ("7lbd-ed25519:A", "7lbd-ed25519:B"), 2, GIB, 40, GIB, {"token": "secret"})


def test_what_dies_a_moment_after_its_coordinator_leaves_nothing_for_the_next_one(tmp_path: Path) -> None:
    folder = OwnFiles(tmp_path).sessions / "g0-1"
    folder.mkdir(parents=True)
    lock = folder_lock.claim(folder)
    dying = threading.Timer(0.5, os.close, (lock,))
    dying.start()
    assert sessions(tmp_path).sweep() == ["g0-1"]
    assert not folder.exists()
    dying.join()


def test_a_vm_gets_no_file_no_way_and_no_image_but_what_it_is_to_have(tmp_path: Path) -> None:
    words = sessions(tmp_path).words(order(tmp_path), "/dev/fd/9")
    line = " ".join(words)
    assert words[:3] == ["run", "--image", "win11@3"]
    for needed in (
        *("--signed-by 7lbd-ed25519:A --signed-by 7lbd-ed25519:B", "--background ", "--no-home-share"),
        *("--network-rate 40", "--join /dev/fd/9", f"--image-dir {tmp_path / 'r'}", "--image-cache= "),
    ):
        assert needed in line
    assert "secret" not in line
    assert not any(name.startswith("SEVENLBD") for name in sessions(tmp_path)._environment)


def test_what_a_vm_was_handed_in_memory_is_not_open_here_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def in_memory() -> set[str]:
        kept = {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink()}
        return {name for name in kept if "memfd:join" in name}

    during: list[set[str]] = []

    @contextmanager
    def piped(_command: list[str], **_: object) -> Iterator[SimpleNamespace]:
        during.append(in_memory())
        yield SimpleNamespace(stdout=iter(()))

    monkeypatch.setattr(process, "piped", piped)
    running = sessions(tmp_path)
    running.start(replace(order(tmp_path), image_key=bytes(32)))
    assert during != [set()]
    assert in_memory() == set()


def test_the_key_of_its_image_comes_by_a_descriptor_and_stands_nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[list[str], str]] = []

    @contextmanager
    def piped(command: list[str], *, pass_fds: list[int], **_: object) -> Iterator[None]:
        called.append((command, os.pread(pass_fds[-1], 100, 0).decode()))
        raise OSError(2, "no such program")
        yield

    monkeypatch.setattr(process, "piped", piped)
    wanted = replace(order(tmp_path), image_key=bytes(range(32)))
    sessions(tmp_path).start(wanted)
    (command, key) = called[0]
    assert key == bytes(range(32)).hex()
    assert "--image-key /dev/fd/" in " ".join(command)
    assert "--passphrase-file /dev/fd/" in " ".join(command), "no key of what is suspended lies beside it"
    assert command[-1] == "--encrypt"
    assert key not in " ".join(command)
    assert key not in repr(wanted)
    assert repr(bytes(range(32))) not in repr(wanted)


def test_one_that_was_suspended_goes_on_from_its_file(tmp_path: Path) -> None:
    words = sessions(tmp_path).words(order(tmp_path, saved=True), "/dev/fd/9")
    assert words[0] == "resume"
    assert words[1].endswith("vms/saved/g0-1.7lbd")
    assert "--signed-by" in words


def test_a_unit_gives_the_vms_the_time_that_the_owner_grants() -> None:
    text = unit_file.text("/apps/7lbd/7lbd", 600.0)
    assert "ExecStart=/apps/7lbd/7lbd grid coordinator\n" in text
    assert "TimeoutStopSec=630\n" in text
    assert "enable-linger" in text
    assert unit_file.text("/a/%n/7lbd", 1).count("/a/%%n/7lbd grid coordinator") == 2


def test_ten_minutes_are_not_enough_for_what_takes_longer_to_write(tmp_path: Path) -> None:
    (tmp_path / "7lbd.toml").write_text('[owner]\nwhen_used = []\nwhen_empty = ["daily 17:00-07:00"]\ngrace = "10m"\n')
    eyes, early = look(tmp_path, hour=6), look(tmp_path, hour=5)
    assert not eyes.look(0, lead=0.0).lent, "6:55, and the grace is ten minutes"
    assert early.look(0, lead=3000.0).lent, "5:55"
    told = early.look(0, lead=4000.0)
    assert (told.lent, told.may_begin) == (False, False)
    assert told.time_left == 65 * 60
    assert not early.look(0, lead=0.0).lent, "what has gone does not come back for the rest of the hours"
    assert look(tmp_path, hour=5).look(0).time_left is None


def test_what_a_vm_has_dirtied_is_its_qemus_memory_and_its_overlay(tmp_path: Path) -> None:
    proc, folder = tmp_path / "proc", tmp_path / "session"
    folder.mkdir()
    (folder / "overlay.qcow2").write_bytes(b"x" * 40960)
    for pid, name, children in ((5, "7lbd", "6"), (6, "keeper", "7 8"), (7, "smbd", ""), (8, "qemu-system-x86", "")):
        (proc / str(pid) / "task" / str(pid)).mkdir(parents=True)
        (proc / str(pid) / "comm").write_text(f"{name}\n")
        (proc / str(pid) / "statm").write_text("9999 256 1 1 0 1 0\n")
        (proc / str(pid) / "task" / str(pid) / "children").write_text(children)
    overlay = (folder / "overlay.qcow2").stat().st_blocks * 512
    assert dirtied.of(5, folder, GIB, proc) == 256 * os.sysconf("SC_PAGE_SIZE") + overlay
    assert dirtied.of(7, folder, GIB, proc) == GIB + overlay, "nobody sees more, so all of its memory may be"
    assert dirtied.of(5, tmp_path / "gone", GIB, proc) == 256 * os.sysconf("SC_PAGE_SIZE")
