"""A session is suspended by the real writer, with a keeper that only says so: what fails lets the desktop go on."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
from sevenlbd.base import process
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.console import progress_notes
from sevenlbd.outside.saved import estimate, keys, passphrases, reading, saving
from sevenlbd.outside.saved.facts import Facts, MachineFacts
from sevenlbd.outside.saved.messages import Read
from sevenlbd.outside.session import control, supervisor, suspending
from sevenlbd.outside.session.keeper_link import KeeperLink
from sevenlbd.outside.session.preflight.prepared import Prepared, Savable
from sevenlbd.outside.session.suspending import SuspendOrder
from sevenlbd.wire.gateway import OUTWARDS, SuspendPressed
from sevenlbd.wire.keeper import Event, EventKind
from sevenlbd.wire.plan import Batch, Plan
from sevenlbd.wire.state import Phase, SessionState
from test_supervisor import NORMAL, Keeper, Shown, not_the_tests_parent, prepared

__all__ = ["not_the_tests_parent"]
MEMORY = 1 << 30
LAST = b"7lbd saved desktop, format 1\nthe last good one"


class HoldingKeeper(Keeper):
    """Its machine writes its state when it is told to; or says why it does not."""

    def __init__(self, place: Path, why_not: str = "") -> None:
        super().__init__(*NORMAL[:-1])
        self.heard: list[str] = []
        self._place = place
        self._why_not = why_not

    def send_plan(self, plan: Plan, listeners: Sequence[socket.socket]) -> None:
        super().send_plan(plan, listeners)
        named = dict(zip(plan.connectors, listeners, strict=True))
        self.gateway = named["link"].dup()
        """The end of the wire that the gateway has."""

    def send_hold(self, *, live: bool) -> None:
        self.heard.append("save running" if live else "hold")
        if self._why_not:
            self._events.put_nowait(Event(EventKind.NOT_HELD, self._why_not))
            return
        (self._place / "state").write_bytes(os.urandom(1 << 20))
        (self._place / "checkpoint.qcow2").write_bytes(b"of this moment" if live else b"")
        self._events.put_nowait(Event(EventKind.HELD))

    def send_go_on(self) -> None:
        self.heard.append("go on")

    def send(self, order: object) -> None:
        self.heard.append(type(order).__name__)


class Watching(Shown):
    """Remembers each phase, the same one twice, too."""

    def __init__(self) -> None:
        super().__init__()
        self.every: list[Phase] = []
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def update(self, state: SessionState) -> None:
        super().update(state)
        if self.every[-1:] != [state.phase]:
            self.every.append(state.phase)


def savable(tmp_path: Path) -> Prepared:
    """A session that can be suspended."""
    made = prepared(tmp_path)
    Path(made.plan.overlay).write_bytes(os.urandom(1 << 16))
    machine = MachineFacts(
        *("1:10.0", "q35", "tcg", "max", 1, MEMORY, "user", "52:54:00:07:1b:d0"),
        *("bios", False, "virtio", "virtio", "std", "linux", "utc", 1 << 30),
    )
    facts = Facts("a1", "win11", "1", "win11@1", "user1", "me", machine, ())
    saved = tmp_path / "saved"
    return replace(made, savable=Savable(facts, (), None, str(saved)))


async def lived(
    made: Prepared, keeper: HoldingKeeper, shown: Watching, act: Callable[[Path], Any], *, stop: bool = True
) -> tuple[Any, ExitCode]:
    """What `act` comes to beside a session that is ready, and how that ends."""
    life = asyncio.create_task(supervisor.run(cast("KeeperLink", keeper), made, shown))
    while Phase.READY not in shown.phases:
        await asyncio.sleep(0.01)
    place = made.where / "a1"
    came: Any
    try:
        came = await asyncio.to_thread(act, place)
    except Refusal as refusal:
        came = refusal
    if stop:
        await asyncio.to_thread(control.send_stop, place, now=False)
    return came, await life


def suspended(
    made: Prepared, order: SuspendOrder, why_not: str = "", *, stop: bool
) -> tuple[Any, Watching, HoldingKeeper]:
    keeper, shown = HoldingKeeper(made.where / "a1", why_not), Watching()

    def act(place: Path) -> str:
        return control.send_suspend(place, order, lambda _done, _total, _what: None)

    came, code = asyncio.run(asyncio.wait_for(lived(made, keeper, shown, act, stop=stop), 30))
    assert code is ExitCode.OK
    assert not made.where.exists(), "nothing is left on the node"
    return came, shown, keeper


def test_it_becomes_a_file_and_ends(tmp_path: Path) -> None:
    made = savable(tmp_path)
    came, shown, keeper = suspended(made, SuspendOrder(), stop=False)
    path = tmp_path / "saved" / "a1.7lbd"
    assert came == str(path)
    assert shown.last
    assert (shown.last.phase, shown.last.saved) == (Phase.SUSPENDED, str(path))
    assert shown.last.reason == f"suspended into {path}"
    assert (keeper.heard, keeper.stops) == (["hold"], [0.0])
    key = keys.identity(tmp_path / "saved")
    header = reading.read(path, key, reading.Check())
    assert [part.name for part in header.parts] == ["overlay.qcow2", "state"]
    opening, _ = reading.opening(path, key)
    assert (opening.secrets.password, opening.secrets.share_user) == ("a-password", "me")


def test_another_desktop_that_has_the_files_name_is_kept_beside_it(tmp_path: Path) -> None:
    """Whoever calls all his sessions alike has suspended one of them before, and loses none."""
    saved = tmp_path / "saved"
    for turn, number in enumerate("1223"):
        (place := tmp_path / str(turn)).mkdir()
        made = savable(place)
        assert made.savable
        facts = replace(made.savable.facts, desktop=number * 32)
        one = replace(made, savable=replace(made.savable, facts=facts, folder=str(saved)))
        came, _, _ = suspended(one, SuspendOrder(), stop=False)
        assert came == str(saved / "a1.7lbd")
    kept = {path.name: reading.header(path).facts.desktop[0] for path in saved.glob("*.7lbd")}
    assert kept == {"a1.7lbd": "3", "a1-2.7lbd": "1", "a1-3.7lbd": "2"}
    for path in saved.glob("*.7lbd"):
        reading.read(path, keys.identity(saved), reading.Check())


def test_what_another_session_made_of_it_meanwhile_is_kept_and_told(tmp_path: Path) -> None:
    """Its job was stopped for long: its user has gone on elsewhere, and has suspended that, before it comes back."""
    saved, elsewhere = tmp_path / "saved", tmp_path / "elsewhere.7lbd"
    both = []
    for name in ("here", "there"):
        (place := tmp_path / name).mkdir()
        made = savable(place)
        assert made.savable
        facts = replace(made.savable.facts, desktop="1" * 32)
        both.append(replace(made, savable=replace(made.savable, facts=facts, folder=str(saved))))
    path = Path(suspended(both[1], SuspendOrder(), stop=False)[0])
    path.rename(elsewhere)
    newer = elsewhere.read_bytes()
    keeper, shown = HoldingKeeper(both[0].where / "a1"), Watching()

    def act(place: Path) -> str:
        def nobody(*_: object) -> None:
            pass

        for _ in range(2):
            control.send_suspend(place, SuspendOrder(keep_running=True), nobody)
        assert [one.name for one in saved.glob("*.7lbd")] == ["a1.7lbd"], "what it wrote itself, it replaces"
        elsewhere.replace(path)
        return control.send_suspend(place, SuspendOrder(), nobody)

    came, _ = asyncio.run(asyncio.wait_for(lived(both[0], keeper, shown, act, stop=False), 60))
    assert came == str(path)
    assert (saved / "a1-2.7lbd").read_bytes() == newer
    assert path.read_bytes() != newer
    assert shown.last
    assert f"another session had written {path}: that file is kept as {saved}/a1-2.7lbd" in shown.last.warnings


def test_one_that_keeps_running_is_saved_as_it_was_at_one_moment(tmp_path: Path) -> None:
    made = savable(tmp_path)
    target = tmp_path / "copy.7lbd"
    came, shown, keeper = suspended(made, SuspendOrder(str(target), keep_running=True), stop=True)
    assert came == str(target)
    assert keeper.heard == ["save running", "go on"]
    assert shown.every[-3:] == [Phase.READY, Phase.STOPPING, Phase.ENDED], "nobody at the desktop sees a difference"
    header = reading.header(target)
    assert header.parts[0].size == len(b"of this moment"), "not the disk that goes on"


def test_with_a_passphrase_it_is_closed_for_whoever_knows_that_and_stays_so(tmp_path: Path) -> None:
    """Without a folder for keys, even; and what is opened with one is closed with it again."""
    made, target = savable(tmp_path), tmp_path / "closed.7lbd"
    assert made.savable
    keyless = replace(made, savable=replace(made.savable, folder=""))
    lock = passphrases.lock("words")
    came, _, _ = suspended(keyless, SuspendOrder(str(target), lock=lock), stop=False)
    assert came == str(target)
    key = passphrases.identity("words", reading.header(target).passphrase)
    reading.read(target, key, reading.Check())
    target.unlink()
    resumed = replace(keyless, savable=replace(made.savable, folder="", target=str(target), lock=lock))
    came, _, _ = suspended(resumed, SuspendOrder(), stop=False)
    reading.read(target, key, reading.Check())
    assert not (tmp_path / "saved").exists(), "no key is made that nobody needs"


def not_a_folder(tmp_path: Path) -> SuspendOrder:
    return SuspendOrder(str(tmp_path / "nowhere" / "x.7lbd"))


def a_link(tmp_path: Path) -> SuspendOrder:
    (tmp_path / "link.7lbd").symlink_to("/etc/passwd")
    return SuspendOrder(str(tmp_path / "link.7lbd"))


def something_else(tmp_path: Path) -> SuspendOrder:
    (tmp_path / "thesis.odt").write_bytes(b"PK\3\4" * 100)
    return SuspendOrder(str(tmp_path / "thesis.odt"))


def nobodys_key(_tmp_path: Path) -> SuspendOrder:
    return SuspendOrder(recipients=("age1nonsense",))


@pytest.mark.parametrize(
    ("order", "says"),
    [
        (not_a_folder, "is no folder to write to"),
        (a_link, "no plain file"),
        (something_else, "is no saved desktop, so it is not replaced"),
        (nobodys_key, "is no public key"),
    ],
)
def test_what_cannot_be_written_does_not_even_stop_the_machine(
    tmp_path: Path, order: Callable[[Path], SuspendOrder], says: str
) -> None:
    made = savable(tmp_path)
    came, shown, keeper = suspended(made, order(tmp_path), stop=True)
    assert says in came.what
    assert keeper.heard == []
    assert shown.every[-4:] == [Phase.SUSPENDING, Phase.READY, Phase.STOPPING, Phase.ENDED]
    assert not list(tmp_path.rglob("*.new"))


class DelayedKeeper(HoldingKeeper):
    """Its machine takes a while."""

    def send_hold(self, *, live: bool) -> None:
        loop = asyncio.get_running_loop()
        (self._place / "state").write_bytes(os.urandom(1 << 16))
        loop.call_later(0.3, partial(super().send_hold, live=live))


def test_while_the_guests_memory_is_written_it_is_told_how_far_that_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(suspending, "_LOOK_SECONDS", 0.01)
    monkeypatch.setattr(control, "_TELL_SECONDS", 0)
    made, told = savable(tmp_path), []

    def act(place: Path) -> str:
        return control.send_suspend(place, SuspendOrder(), lambda done, total, what: told.append((done, total, what)))

    keeper = DelayedKeeper(made.where / "a1")
    asyncio.run(asyncio.wait_for(lived(made, keeper, Watching(), act, stop=False), 30))
    assert told[0][1:] == (made.plan.guest.memory, "the guest's memory")
    assert told[-1][2] == "", "then of the file"


def test_a_file_from_which_another_session_goes_on_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "two.7lbd"
    target.write_bytes(LAST)
    lease = '{"host": "n2", "boot": "b", "space": 1, "pid": 7, "note": "session two"}'
    (tmp_path / ".two.7lbd.resumed").write_text(lease)
    came, shown, keeper = suspended(savable(tmp_path), SuspendOrder(str(target)), stop=True)
    assert "another session goes on from it, so it is not replaced: session two" in came.what
    assert (keeper.heard, Phase.SUSPENDING in shown.every) == ([], False)
    assert target.read_bytes() == LAST


def test_a_machine_that_cannot_be_held_goes_on(tmp_path: Path) -> None:
    came, shown, keeper = suspended(savable(tmp_path), SuspendOrder(), "no space left", stop=True)
    assert "no space left" in came.what
    assert keeper.heard == ["hold"], "the keeper has seen to it that it runs"
    assert Phase.READY in shown.every[shown.every.index(Phase.SUSPENDING) :]
    assert shown.last
    assert any("was not suspended, and goes on" in text for text in shown.last.warnings)
    assert not list((tmp_path / "saved").glob("*.7lbd*"))


def test_a_full_disk_lets_it_go_on_and_keeps_the_old_file(tmp_path: Path) -> None:
    """/dev/full is no plain file, so a limit of this process stands for it, which the writer inherits."""
    import resource

    made = savable(tmp_path)
    (tmp_path / "saved").mkdir(mode=0o700)
    (tmp_path / "saved" / "a1.7lbd").write_bytes(LAST)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))  # the state has as much, and the file more
    try:
        came, shown, keeper = suspended(made, SuspendOrder(), stop=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert came.what == f"{tmp_path}/saved/a1.7lbd: File too large"
    assert came.code is ExitCode.RESOURCES
    assert keeper.heard == ["hold", "go on"]
    assert Phase.READY in shown.every[shown.every.index(Phase.SUSPENDING) :]
    assert (tmp_path / "saved" / "a1.7lbd").read_bytes() == LAST
    assert not list((tmp_path / "saved").glob(".*.new"))


def test_a_writer_that_is_killed_lets_it_go_on_and_leaves_nothing(tmp_path: Path) -> None:
    made = savable(tmp_path)

    class Killing(HoldingKeeper):
        def send_hold(self, *, live: bool) -> None:
            writers = [pid for pid in process.started if "saved.writer" in _command(pid)]
            assert len(writers) == 1
            os.kill(writers[0], signal.SIGKILL)
            super().send_hold(live=live)

    keeper, shown = Killing(made.where / "a1"), Watching()

    def act(place: Path) -> str:
        return control.send_suspend(place, SuspendOrder(), lambda _done, _total, _what: None)

    came, code = asyncio.run(asyncio.wait_for(lived(made, keeper, shown, act), 30))
    assert code is ExitCode.OK
    assert "died" in came.what
    assert keeper.heard == ["hold", "go on"]
    assert [path.name for path in (tmp_path / "saved").iterdir()] == ["key"]


def no_more_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr(saving, "spawn", refused)


def test_where_no_writer_can_be_started_it_goes_on_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit of processes is met, or the session's own disk is full."""
    no_more_processes(monkeypatch)
    came, shown, keeper = suspended(savable(tmp_path), SuspendOrder(), stop=True)
    assert came.what.endswith("cannot be started: Resource temporarily unavailable")
    assert keeper.heard == []
    assert shown.every[-4:] == [Phase.SUSPENDING, Phase.READY, Phase.STOPPING, Phase.ENDED]


def test_one_that_no_writer_can_be_started_for_is_shut_down_in_order_when_its_scheduler_wants_it_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    no_more_processes(monkeypatch)
    made = savable(tmp_path)
    keeper = HoldingKeeper(made.where / "a1")
    shown, code = ending(made, keeper, terminate, stop_grace=20.0, suspend_seconds=10.0)
    assert (code, keeper.stops) == (ExitCode.OK, [20.0])
    assert shown.last
    assert any("cannot be started" in text for text in shown.last.warnings)


class Forgetting(HoldingKeeper):
    """Its machine has much in its memory, and gives up what was written of it when it runs again."""

    MEMORY = 32 << 20

    def send_hold(self, *, live: bool) -> None:
        super().send_hold(live=live)
        (self._place / "state").write_bytes(os.urandom(self.MEMORY))

    def send_go_on(self) -> None:
        super().send_go_on()
        os.truncate(self._place / "state", 0)


@pytest.mark.parametrize("keep_running", [True, False])
def test_one_that_is_ended_while_it_is_written_leaves_the_last_good_file(tmp_path: Path, keep_running: bool) -> None:
    """The machine runs again at once, with its writer still at work."""
    made = savable(tmp_path)
    (tmp_path / "saved").mkdir(mode=0o700)
    last = tmp_path / "saved" / "a1.7lbd"
    last.write_bytes(LAST)
    keeper, shown = Forgetting(made.where / "a1"), Watching()

    def act(place: Path) -> None:
        told: list[int] = []

        def advance(_done: int, total: int, what: str) -> None:
            if not what and not told:
                told.append(total)
                with suppress(OSError):
                    control.send_stop(place, now=False)

        control.send_suspend(place, SuspendOrder(keep_running=keep_running), advance)

    _, code = asyncio.run(asyncio.wait_for(lived(made, keeper, shown, act, stop=False), 60))
    assert code is ExitCode.OK
    if last.read_bytes() != LAST:  # a machine so busy that all was read before the order came
        header = reading.read(last, keys.identity(last.parent), reading.Check())
        assert header.parts[1].stored > Forgetting.MEMORY, "it looks whole, and lacks what the guest had in its memory"
    assert [path.name for path in last.parent.glob("*.7lbd*")] == ["a1.7lbd"], "and nothing half is left"


class Mortal(HoldingKeeper):
    """Its machine has left all that it is, and then ends in such a way; None is the keeper's own death."""

    def __init__(self, place: Path, end: Event | None) -> None:
        super().__init__(place)
        self._end = end

    def send_hold(self, *, live: bool) -> None:
        super().send_hold(live=live)
        self._events.put_nowait(self._end)


@pytest.mark.parametrize(
    "end", [Event(EventKind.BROKE, "QEMU was killed by signal 9"), Event(EventKind.ENDED, "ended"), None]
)
def test_a_machine_that_dies_when_all_of_it_is_out_here_is_suspended(tmp_path: Path, end: Event | None) -> None:
    made = savable(tmp_path)
    keeper, shown = Mortal(made.where / "a1", end), Watching()

    def act(place: Path) -> str:
        return control.send_suspend(place, SuspendOrder(), lambda _done, _total, _what: None)

    came, code = asyncio.run(asyncio.wait_for(lived(made, keeper, shown, act, stop=False), 30))
    path = tmp_path / "saved" / "a1.7lbd"
    assert (came, code) == (str(path), ExitCode.OK)
    assert shown.last
    assert (shown.every[-1], shown.last.saved) == (Phase.SUSPENDED, str(path))
    assert any("written to its end all the same" in text for text in shown.last.warnings)
    reading.read(path, keys.identity(path.parent), reading.Check())


@pytest.mark.parametrize("end", [Event(EventKind.BROKE, "QEMU was killed by signal 9"), None])
def test_one_that_dies_while_it_is_saved_live_fails_and_says_what_is_whole(tmp_path: Path, end: Event | None) -> None:
    made = savable(tmp_path)
    keeper, shown = Mortal(made.where / "a1", end), Watching()

    def act(place: Path) -> str:
        return control.send_suspend(place, SuspendOrder(keep_running=True), lambda _done, _total, _what: None)

    came, code = asyncio.run(asyncio.wait_for(lived(made, keeper, shown, act, stop=False), 30))
    path = tmp_path / "saved" / "a1.7lbd"
    assert code is ExitCode.BROKE
    assert f"{path} is whole all the same" in came.what
    assert shown.last
    assert shown.last.phase is Phase.FAILED
    assert f"it was saved, to go on from there: 7lbd resume {path}" in shown.last.hint
    reading.read(path, keys.identity(path.parent), reading.Check())


def _command(pid: int) -> str:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def test_a_session_is_suspended_once_at_a_time_and_only_when_it_is_ready(tmp_path: Path) -> None:
    made = savable(tmp_path)

    class Silent(HoldingKeeper):
        def send_hold(self, *, live: bool) -> None:
            self.heard.append("hold")

    keeper, shown = Silent(made.where / "a1"), Watching()

    def act(place: Path) -> Any:
        import threading

        first = threading.Thread(target=_quietly, args=(place,))
        first.start()
        while "hold" not in keeper.heard:
            pass
        with pytest.raises(Refusal, match="a1 is suspending, and only one that is ready"):
            control.send_suspend(place, SuspendOrder(), lambda _done, _total, _what: None)
        control.send_stop(place, now=False)
        first.join()

    _, code = asyncio.run(asyncio.wait_for(lived(made, keeper, shown, act, stop=False), 30))
    assert code is ExitCode.OK
    assert keeper.heard == ["hold", "go on"], "it is shut down as it runs"
    assert keeper.stops == [5.0], "in order"
    assert shown.phases[-2:] == [Phase.STOPPING, Phase.ENDED]
    assert not list((tmp_path / "saved").glob("*.7lbd")), "no half file"


def _quietly(place: Path) -> None:
    with pytest.raises(Refusal, match="is being shut down"):
        control.send_suspend(place, SuspendOrder(), lambda _done, _total, _what: None)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda made: replace(made, savable=None), "makes an image"),
        (lambda made: replace(made, plan=replace(made.plan, lasting=True)), "makes an image"),
        (lambda made: replace(made, plan=replace(made.plan, batch=Batch(("/hook",), "", ""))), "session for commands"),
        (lambda made: replace(made, plan=replace(made.plan, guest=replace(made.plan.guest, disk_bus="nvme"))), "NVMe"),
        (lambda made: replace(made, savable=replace(made.savable, folder="")), "state_dir is off"),
    ],
)
def test_what_can_never_be_suspended_says_why(
    tmp_path: Path, change: Callable[[Prepared], Prepared], says: str
) -> None:
    came, shown, keeper = suspended(change(savable(tmp_path)), SuspendOrder(), stop=True)
    assert says in came.what
    assert keeper.heard == []
    assert Phase.SUSPENDING not in shown.phases


def test_who_ends_it_while_the_saved_desktop_is_read_need_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def endless(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.Event().wait()

    monkeypatch.setattr(suspending, "restored", endless)
    made = savable(tmp_path)
    assert made.savable
    source = tmp_path / "one.7lbd"
    source.touch()
    made = replace(made, resume=Read(str(source), "", made.savable.facts, "", "", "", (0, 0, 0)))
    with pytest.raises(Refusal, match="was told to end while its desktop was read") as refused:
        asyncio.run(asyncio.wait_for(_run(made), 30))
    assert refused.value.code is ExitCode.TERMINATED
    assert not made.where.exists()
    assert list(tmp_path.glob(".one*")) == [], "the lease is gone, too"


def test_all_that_a_session_needs_is_made_while_its_saved_desktop_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = savable(tmp_path)
    assert made.savable
    source = tmp_path / "one.7lbd"
    source.touch()
    made = replace(made, resume=Read(str(source), "", made.savable.facts, "", "", "", (0, 0, 0)))
    keeper, shown = HoldingKeeper(made.where / "a1"), Watching()

    async def read(_prepared: Prepared, folder: Path, _held: object, advance: Callable[[int, int], None]) -> None:
        assert (folder / "overlay.qcow2").read_bytes() == b"", "there, for whoever binds it, and not whole"
        while keeper.plan is None:
            await asyncio.sleep(0.01)
        for _ in range(3):
            await asyncio.sleep(0.01)
            advance(1, 2)
        assert Phase.BOOTING not in shown.phases
        keeper.heard.append("is read")

    monkeypatch.setattr(suspending, "restored", read)
    monkeypatch.setattr(progress_notes, "_NOTE_SECONDS", 0.001)
    asyncio.run(asyncio.wait_for(lived(made, keeper, shown, lambda _place: None), 30))
    assert keeper.heard == ["is read", "Restored"], "no machine begins before"
    first, last = shown.notes[0], shown.notes[-1]
    assert first.startswith("the saved desktop is read: 50 %, ")
    assert "its machine takes its memory from there" in last, "which takes its time, too"


def _cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 100)


def _other_key(path: Path) -> None:
    (path.parent / "key").unlink()
    keys.own(path.parent)


def _other_file(path: Path) -> None:
    path.write_bytes(LAST)


def _gone(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_cut, "truncated, or was changed"),
        (_other_key, "another key than yours"),
        (_other_file, "truncated in its header"),
        (_gone, "No such file"),
    ],
)
def test_a_desktop_that_changed_since_the_check_is_not_begun_and_leaves_nothing(
    tmp_path: Path, change: Callable[[Path], None], says: str
) -> None:
    made = savable(tmp_path)
    came, _, _ = suspended(made, SuspendOrder(), stop=False)
    path = Path(came)
    order = order_to_read(path)
    change(path)
    with pytest.raises(Refusal) as refused:
        asyncio.run(asyncio.wait_for(_run(replace(made, resume=order)), 30))
    assert says in refused.value.what
    assert not made.where.exists()
    assert [left.name for left in path.parent.iterdir() if left.name.startswith(".")] == []


def order_to_read(path: Path) -> Read:
    """What the checker makes of a file."""
    opening, digest = reading.opening(path, keys.identity(path.parent))
    return Read(str(path), "", opening.facts, digest, str(path.parent), "", (1 << 30,) * 3)


def test_a_reader_that_is_killed_ends_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = savable(tmp_path)
    came, _, _ = suspended(made, SuspendOrder(), stop=False)
    order = order_to_read(Path(came))
    monkeypatch.setattr(saving, "python", lambda *_: ["/usr/bin/bash", "-c", "kill -KILL $$"])
    with pytest.raises(Refusal, match="died"):
        asyncio.run(asyncio.wait_for(_run(replace(made, resume=order)), 30))
    assert not made.where.exists()


async def _run(made: Prepared) -> ExitCode:
    return await supervisor.run(cast("KeeperLink", HoldingKeeper(made.where / "a1")), made, Watching())


def ending(made: Prepared, keeper: HoldingKeeper, act: Callable[[], object], **options: Any) -> tuple[Watching, int]:
    """A session that has such an end, beside which `act` is done as soon as it is ready; how it ended."""
    made = replace(made, options=replace(made.options, **options))
    shown = Watching()

    async def live() -> int:
        life = asyncio.create_task(supervisor.run(cast("KeeperLink", keeper), made, shown))
        while Phase.READY not in shown.phases:
            await asyncio.sleep(0.01)
        act()
        return await life

    return shown, asyncio.run(asyncio.wait_for(live(), 30))


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_when_its_time_is_up_it_is_suspended_and_says_so_by_its_code(tmp_path: Path) -> None:
    made = savable(tmp_path)
    keeper = HoldingKeeper(made.where / "a1")
    shown, code = ending(made, keeper, lambda: None, time_limit=1.0, suspend_seconds=20.0)
    assert code == ExitCode.SUSPENDED
    assert shown.every[-2:] == [Phase.SUSPENDING, Phase.SUSPENDED]
    assert keeper.stops == [0.0]
    assert (tmp_path / "saved" / "a1.7lbd").exists()


def test_a_scheduler_that_wants_it_gone_gets_it_suspended_if_that_fits(tmp_path: Path) -> None:
    made = savable(tmp_path)
    shown, code = ending(made, HoldingKeeper(made.where / "a1"), terminate, stop_grace=20.0, suspend_seconds=10.0)
    assert code == ExitCode.SUSPENDED
    assert shown.every[-1] is Phase.SUSPENDED


def test_what_fits_into_the_schedulers_own_grace_is_suspended(tmp_path: Path) -> None:
    made = savable(tmp_path)
    options = {"stop_grace": 5.0, "suspend_seconds": 10.0, "evict_seconds": 20.0}
    shown, code = ending(made, HoldingKeeper(made.where / "a1"), terminate, **options)
    assert (code, shown.every[-1]) == (ExitCode.SUSPENDED, Phase.SUSPENDED)


def test_what_does_not_fit_is_shut_down_in_order(tmp_path: Path) -> None:
    made = savable(tmp_path)
    keeper = HoldingKeeper(made.where / "a1")
    shown, code = ending(made, keeper, terminate, stop_grace=5.0, suspend_seconds=10.0)
    assert (code, shown.every[-2:]) == (ExitCode.OK, [Phase.STOPPING, Phase.ENDED])
    assert keeper.heard == []


class LateKeeper(HoldingKeeper):
    """Its machine takes a while until it is held the first time."""

    def send_hold(self, *, live: bool) -> None:
        late = 0.0 if self.heard else 1.0
        asyncio.get_running_loop().call_later(late, partial(super().send_hold, live=live))
        if late:
            self.heard.append("begins")


@pytest.mark.parametrize(("keep_running", "held"), [(True, ["save running", "go on", "hold"]), (False, ["hold"])])
def test_an_end_that_comes_while_it_is_saved_waits_for_that(
    keep_running: bool, held: list[str], tmp_path: Path
) -> None:
    made = savable(tmp_path)
    keeper = LateKeeper(made.where / "a1")
    made = replace(made, options=replace(made.options, stop_grace=20.0, suspend_seconds=10.0))
    shown = Watching()

    async def live() -> int:
        life = asyncio.create_task(supervisor.run(cast("KeeperLink", keeper), made, shown))
        while Phase.READY not in shown.phases:
            await asyncio.sleep(0.01)
        order = SuspendOrder(keep_running=keep_running)
        asked = asyncio.create_task(asyncio.to_thread(control.send_suspend, made.where / "a1", order, lambda *_: None))
        while not keeper.heard:
            await asyncio.sleep(0.01)
        terminate()
        await asked
        return await life

    assert asyncio.run(asyncio.wait_for(live(), 30)) == ExitCode.SUSPENDED
    assert shown.every[-1] is Phase.SUSPENDED
    assert keeper.heard[1:] == held


class SlowKeeper(HoldingKeeper):
    """Its machine takes longer than there is time."""

    def send_hold(self, *, live: bool) -> None:
        self.heard.append("hold")


def test_what_takes_too_long_is_shut_down_in_order_and_told(tmp_path: Path) -> None:
    made = savable(tmp_path)
    keeper = SlowKeeper(made.where / "a1")
    shown, code = ending(made, keeper, lambda: None, time_limit=0.5, suspend_seconds=2.0)
    assert (code, shown.every[-2:]) == (ExitCode.OK, [Phase.STOPPING, Phase.ENDED])
    assert (keeper.heard, keeper.stops) == (["hold", "go on"], [5.0])
    assert shown.last
    assert any("there was no suspending within 2 s" in text for text in shown.last.warnings)
    assert not list((tmp_path / "saved").glob("*.7lbd"))


def test_a_user_who_wants_it_gone_gets_that(tmp_path: Path) -> None:
    made = savable(tmp_path)
    keeper = HoldingKeeper(made.where / "a1")
    interrupt = lambda: os.kill(os.getpid(), signal.SIGINT)  # noqa: E731
    shown, _ = ending(made, keeper, interrupt, stop_grace=20.0, suspend_seconds=10.0)
    assert shown.every[-1] is Phase.ENDED
    assert keeper.heard == []


def test_what_it_took_is_what_is_reckoned_with_the_next_time(tmp_path: Path) -> None:
    guess = estimate.seconds(1 << 32, tmp_path)
    estimate.remember(tmp_path, 1 << 32, 10.0)
    assert 15 <= estimate.seconds(1 << 32, tmp_path) <= 25 < guess
    (tmp_path / "rate").write_text("nonsense")
    assert estimate.seconds(1 << 32, tmp_path) == estimate.seconds(0, None) == guess


def test_a_desktop_is_saved_as_often_as_is_wanted_and_goes_on_when_that_fails(tmp_path: Path) -> None:
    made = savable(tmp_path)
    path = tmp_path / "saved" / "a1.7lbd"

    class Failing(HoldingKeeper):
        """Fails the second time."""

        def send_hold(self, *, live: bool) -> None:
            second = self.heard.count("save running") == 1
            self._why_not = "no space left" if second else ""
            super().send_hold(live=live)

        def send_go_on(self) -> None:
            super().send_go_on()
            if self.heard.count("go on") == 2:
                terminate()

    keeper = Failing(made.where / "a1")
    shown, code = ending(made, keeper, lambda: None, checkpoint_every=0.3)
    assert code == ExitCode.OK
    assert keeper.heard[:5] == ["save running", "go on", "save running", "save running", "go on"]
    assert shown.every[-3:] == [Phase.READY, Phase.STOPPING, Phase.ENDED]
    assert shown.last
    assert any("no space left" in text for text in shown.last.warnings)
    reading.read(path, keys.identity(path.parent), reading.Check())
    assert not list(path.parent.glob(".*")), "neither a half file nor a lease"


def test_the_pages_button_suspends_it_once(tmp_path: Path) -> None:
    made = savable(tmp_path)
    keeper = HoldingKeeper(made.where / "a1")

    def press() -> None:
        for _ in range(2):
            keeper.gateway.send(OUTWARDS.pack(SuspendPressed()))

    shown, code = ending(made, keeper, press)
    keeper.gateway.close()
    assert code == ExitCode.OK, "no scheduler wanted its end"
    assert shown.every[-2:] == [Phase.SUSPENDING, Phase.SUSPENDED]
    assert keeper.heard == ["hold"]
