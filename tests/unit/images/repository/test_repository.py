"""The repository: versions appear whole or not at all, one is current, and none goes while it is used."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest
from conftest import MakeQcow2
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images import image_lock, layout, names
from sevenlbd.images.lookup import image, repositories
from sevenlbd.images.names import Reference
from sevenlbd.images.repository import gc, history, leases
from sevenlbd.images.repository.versions import Repository

DAY = 86400.0
STRANGE = ["", ".", "..", "a..b", "../x", "/etc", "a/b", "-a", ".a", "a b", "a\n", "\x1b[31m", "ä", "x" * 64, "a@b"]


@pytest.fixture
def shelf(tmp_path: Path) -> Iterator[Repository]:
    """An empty repository in a folder that others may read."""
    tmp_path.chmod(0o755)
    before = os.umask(0o077)  # as the program sets it
    yield Repository(tmp_path / "images")
    os.umask(before)
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o700)


Add = Callable[..., Path]


@pytest.fixture
def add(shelf: Repository, make_qcow2: MakeQcow2) -> Add:
    """Adds versions of `win`, each a bootable disk that knows which one it is."""

    def make(*versions: str, name: str = "win", holder: Repository = shelf) -> Path:
        for version in versions:
            with holder.staged(name, version) as folder:
                make_qcow2(folder / "disk.qcow2")
                (folder / "image.toml").write_text(f'title = "{version}"\n')
        return holder.path / name

    return make


def held_back(reason: str, call: Callable[[], object]) -> Refusal:
    """The refusal that a call must come to."""
    with pytest.raises(Refusal, match=reason) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("text", [*STRANGE, "current", "Current", "history"])
def test_what_is_no_versions_name_is_refused_before_a_path_is_made_of_it(shelf: Repository, text: str) -> None:
    why = "cannot be a version's name"
    if text:
        held_back(why if "@" not in text else "cannot be", lambda: names.parse(f"win@{text}"))
    held_back(why, lambda: shelf.staged("win", text).__enter__())
    if text:
        held_back(why, lambda: shelf.folder(Reference("win", text)))
        held_back(why, lambda: shelf.publish("win", text))
    held_back(why, lambda: shelf.remove("win", text))
    assert not shelf.path.exists()


@pytest.mark.parametrize("text", [*STRANGE, "Win"])
def test_what_is_no_images_name_is_refused_before_a_path_is_made_of_it(shelf: Repository, text: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: shelf.staged(text, "1").__enter__(),
        lambda: shelf.folder(Reference(text)),
        lambda: shelf.publish(text, "1"),
        lambda: shelf.rollback(text),
        lambda: shelf.remove(text, "1"),
        lambda: repositories.locate(Reference(text), [shelf.path]),
        lambda: repositories.repository_of(Reference(text), [shelf.path]),
    ]
    for call in calls:
        held_back("cannot be an image's name", call)
    assert not shelf.path.exists()


def test_a_name_and_a_version_are_told_apart() -> None:
    assert names.parse("win11@2026.11-rc_1") == Reference("win11", "2026.11-rc_1")
    assert names.parse("win11") == Reference("win11")
    assert held_back("names no version", lambda: names.parse("win11", exact=True)).code is ExitCode.USAGE
    held_back("cannot be a version's name", lambda: names.parse("win11@"))


@given(text=st.text(max_size=80) | st.from_regex(r"[a-z0-9./@\n-]{1,12}", fullmatch=True))
def test_no_reference_however_strange_leads_out_of_its_folder(text: str) -> None:
    with suppress(Refusal):
        ref = names.parse(text)
        assert str(ref) == text
        for word in filter(None, (ref.name, ref.version)):
            assert Path(word).parts == (word,)
            assert not word.startswith(".")
            assert word.isascii()
            assert word.isprintable()


def test_a_version_appears_whole_sealed_and_readable_as_the_folder_above_is(shelf: Repository, add: Add) -> None:
    with shelf.staged("win", "1") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert shelf.versions("win") == []
        (folder / "image.toml").touch()
        (folder / "warm").mkdir()
        (folder / "warm" / "memory").write_bytes(b"m")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (shelf.path / "win" / "1").rglob("*")}
    assert modes == {"image.toml": 0o444, "warm": 0o555, "memory": 0o444}
    assert stat.S_IMODE((shelf.path / "win" / "1").stat().st_mode) == 0o555
    assert stat.S_IMODE((shelf.path / "win").stat().st_mode) == 0o755
    (shelf.path / "win").chmod(0o750)
    closed = add("2") / "2"
    assert {stat.S_IMODE(path.stat().st_mode) for path in closed.iterdir()} == {0o440}
    assert stat.S_IMODE(closed.stat().st_mode) == 0o550
    assert shelf.versions("win") == ["1", "2"]
    assert hidden(shelf) == {".lock"}


def hidden(shelf: Repository) -> set[str]:
    """What lies beside the versions of `win`."""
    return {path.name for path in (shelf.path / "win").iterdir() if path.name.startswith(".")}


def test_what_fails_in_the_making_leaves_nothing(shelf: Repository) -> None:
    def full() -> None:
        with shelf.staged("win", "1") as folder:
            (folder / "image.toml").touch()
            (folder / "deep").mkdir(mode=0o500)
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        full()

    def interrupted() -> None:
        with shelf.staged("win", "1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    held_back("there is no image.toml in it", lambda: empty(shelf))
    assert shelf.versions("win") == []
    assert hidden(shelf) == {".lock"}


def empty(shelf: Repository) -> None:
    """Make a version with nothing in it."""
    with shelf.staged("win", "2"):
        pass


def test_a_version_is_never_made_twice(shelf: Repository, add: Add) -> None:
    add("1")
    held_back("win@1 exists already", lambda: add("1"))
    with shelf.staged("win", "2"):
        held_back("win@2 is being made already .*making win@2 of", lambda: add("2"))
        add("3")
        (shelf.path / "win" / ".new-2" / "image.toml").touch()
    assert set(shelf.versions("win")) == {"1", "2", "3"}


MAKE = """
import sys, time; from pathlib import Path; from sevenlbd.images.repository.versions import Repository
with Repository(Path(sys.argv[1])).staged("win", sys.argv[2]) as folder:
    (folder / "image.toml").touch(); (folder / "part").mkdir(mode=0o500)
    print("making", flush=True); time.sleep(60)
"""


def another(code: str, *words: str) -> subprocess.Popen[str]:
    """Python code in another process, which has said its first word."""
    process = subprocess.Popen([sys.executable, "-c", code, *words], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    process.stdout.readline()
    return process


def test_what_a_killed_maker_left_is_removed_by_the_next_and_by_gc(shelf: Repository, add: Add) -> None:
    for clean in (lambda: add("1"), shelf.tidy):
        process = another(MAKE, str(shelf.path), "1" if "1" not in shelf.versions("win") else "2")
        shelf.tidy()
        assert len(hidden(shelf)) == 3, "one that is alive is left alone"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(hidden(shelf)) == 3
        clean()
        assert hidden(shelf) == {".lock"}
    assert shelf.versions("win") == ["1"]


def test_current_is_what_was_published_last(shelf: Repository, add: Add) -> None:
    add("1", "2")
    assert shelf.current("win") == ""
    held_back("no version of image `win` in .* is published .there are 1, 2.", lambda: shelf.folder(Reference("win")))
    shelf.publish("win", "1")
    shelf.publish("win", "2")
    assert shelf.current("win") == "2"
    assert shelf.folder(Reference("win")) == shelf.path / "win" / "2"
    assert shelf.folder(Reference("win", "1")) == shelf.path / "win" / "1"
    held_back("has no version `3` .there are 1, 2.", lambda: shelf.publish("win", "3"))
    assert shelf.current("win") == "2"


def test_each_rollback_goes_one_further_back(shelf: Repository, add: Add) -> None:
    add("1", "2", "3")
    held_back("no version that was current", lambda: shelf.rollback("win"))
    for version in ("1", "2", "3"):
        shelf.publish("win", version)
    assert [shelf.rollback("win"), shelf.rollback("win")] == ["2", "1"]
    held_back("no version that was current before 1 is still there", lambda: shelf.rollback("win"))
    shelf.publish("win", "3")
    assert shelf.rollback("win") == "1"
    assert [event.act for event in history.events(shelf.path / "win")] == [
        *["publish"] * 3, "rollback", "rollback", "publish", "rollback",
    ]  # fmt: skip


def test_a_rollback_passes_over_what_is_gone_and_mends_a_broken_link(shelf: Repository, add: Add) -> None:
    home = add("1", "2", "3")
    for version in ("1", "2", "3"):
        shelf.publish("win", version)
    shelf.remove("win", "2")
    assert shelf.rollback("win") == "1"
    (home / "current").unlink()
    (home / "current").symlink_to("gone")
    assert shelf.rollback("win") == "1"


def test_half_a_line_of_history_harms_no_other(shelf: Repository, add: Add) -> None:
    home = add("1", "2")
    shelf.publish("win", "1")
    with (home / "history").open("ab") as file:
        file.write(b"2026-11-22T09:15:00Z publ")
    shelf.publish("win", "2")
    with (home / "history").open("ab") as file:
        file.write(b"\xff\n9999-99-99T09:15:00Z publish 2 a@b\n2026-11-22T09:15:00Z publish ../x a@b\n\n")
    assert [event.version for event in history.events(home)] == ["1", "2"]
    assert shelf.rollback("win") == "1"


@pytest.mark.parametrize(
    ("leads", "why"),
    [
        ("gone", "leads to `gone`, which is not there"),
        ("../other/1", "which is not a version beside it"),
        ("/etc", "leads to `/etc`, which is not a version"),
        ("..", "which is not a version"),
        ("current", "which is not a version"),
        (".new-1", "which is not a version"),
        ("\x1b[2J", "leads to `.x1b.2J`"),
    ],
)
def test_a_current_that_leads_nowhere_or_elsewhere_is_refused_and_not_passed_over(
    shelf: Repository, add: Add, tmp_path: Path, leads: str, why: str
) -> None:
    home = add("1")
    add("1", name="other")
    (home / "current").symlink_to(leads)
    far = Repository(tmp_path / "far")
    add("1", holder=far)
    far.publish("win", "1")
    refusal = held_back(why, lambda: image.resolve("win", [shelf.path, far.path]))
    assert refusal.code is ExitCode.IMAGE
    assert image.resolve("win@1", [shelf.path]).title == "win@1"
    shelf.publish("win", "1")
    assert image.resolve("win", [shelf.path]).title == "win@1"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_current_that_is_no_link_is_refused(shelf: Repository, add: Add, kind: str) -> None:
    current = add("1") / "current"
    current.mkdir() if kind == "folder" else current.touch()
    held_back("current: cannot be read as a link", lambda: image.resolve("win", [shelf.path]))


def test_a_version_that_is_only_a_link_is_none(shelf: Repository, add: Add, tmp_path: Path) -> None:
    home = add("1")
    (home / "2").symlink_to(home / "1")
    assert shelf.versions("win") == ["1"]
    held_back("has no version `2`", lambda: shelf.publish("win", "2"))


def test_from_the_resolving_on_current_may_move(shelf: Repository, add: Add) -> None:
    home = add("1", "2")
    shelf.publish("win", "1")
    for wanted in ("win", str(home), str(home / "current")):
        found = image.resolve(wanted, [shelf.path])
        assert found.folder == home / "1"
        assert [layer.path for layer in found.layers] == [home / "1" / "disk.qcow2"]
    shelf.publish("win", "2")
    assert image.resolve("win", [shelf.path]).folder == home / "2"
    assert repositories.owner(home / "2") == (shelf.path, Reference("win", "2"))
    assert repositories.owner(home) is None


def test_an_old_link_to_a_disk_in_the_repository_is_known_as_the_version(
    shelf: Repository, add: Add, tmp_path: Path
) -> None:
    link = tmp_path / "latest.qcow2"
    link.symlink_to(add("1") / "1" / "disk.qcow2")
    found = image.resolve(str(link), [])
    assert found.folder is None
    assert repositories.owner(found.layers[0].path.parent) == (shelf.path, Reference("win", "1"))


def test_repositories_are_looked_through_in_order(shelf: Repository, add: Add, tmp_path: Path) -> None:
    near, far = Repository(tmp_path / "near"), shelf
    add("1", "2")
    far.publish("win", "2")
    add("1", holder=near)
    both = [near.path, far.path]
    assert image.resolve("win@1", both).folder == near.path / "win" / "1"
    assert image.resolve("win", both).folder == far.path / "win" / "2", "only the far one has one published"
    add("2", holder=near)
    assert image.resolve("win", both).folder == near.path / "win" / "2", "a copy of what the far one published"
    near.publish("win", "1")
    assert image.resolve("win", both).title == "win@1"
    refusal = held_back(
        r"image `wim` .*known there: win .1 current, 2.*did you mean", lambda: image.resolve("wim", both)
    )
    assert "7lbd image list" in refusal.hint
    held_back("image `win@3` is neither", lambda: image.resolve("win@3", both))
    held_back("`Win` cannot be an image's name, nor is it a file here", lambda: image.resolve("Win", both))


def test_an_image_without_versions_stays_usable(shelf: Repository, add: Add) -> None:
    home = add("1")
    bare = shelf.path / "bare"
    shutil.copytree(home / "1", bare)
    assert image.resolve("bare", [shelf.path]).folder == bare
    assert repositories.owner(bare) is None
    assert shelf.names() == ["bare", "win"]
    assert repositories.known_in([shelf.path]) == ["bare", "win (1)"]
    held_back("no image was named; there are bare, win .1.", lambda: image.resolve("", [shelf.path]))


PUBLISH = """
import sys; from pathlib import Path; from sevenlbd.images.repository.versions import Repository
shelf = Repository(Path(sys.argv[1])); print("begins", flush=True)
for _ in range(60):
    for version in sys.argv[2:]: shelf.publish("win", version)
"""


def test_who_resolves_while_two_publish_gets_one_or_the_other_whole(shelf: Repository, add: Add) -> None:
    home = add("1", "2", "3")
    shelf.publish("win", "3")
    publishers = [another(PUBLISH, str(shelf.path), "1", "2"), another(PUBLISH, str(shelf.path), "2", "3", "1")]
    seen: list[str] = []
    while any(publisher.poll() is None for publisher in publishers):
        found = image.resolve("win", [shelf.path])
        assert found.folder == home / found.version
        assert found.layers[0].path == home / found.version / "disk.qcow2"
        assert found.description.title == found.version
        seen.append(found.version)
    assert [publisher.communicate() and publisher.returncode for publisher in publishers] == [0, 0]
    assert set(seen) == {"1", "2", "3"}
    assert sum(before != after for before, after in pairwise(seen)) > 5, "it did move meanwhile"
    told = history.events(home)
    assert len(told) == 1 + 60 * 5, "no line of either is lost"
    assert told[-1].version == shelf.current("win"), "they went one after the other"
    assert hidden(shelf) == {".lock"}


def test_a_version_goes_only_when_it_is_not_current_and_not_in_use(shelf: Repository, add: Add) -> None:
    home = add("1", "2")
    shelf.publish("win", "2")
    held_back("win@2 is current", lambda: shelf.remove("win", "2"))
    with leases.held(shelf.path, "win", "1", "abc"):
        held_back("win@1 is in use: session abc of .* on ", lambda: shelf.remove("win", "1"))
        assert shelf.users("win", "1")
    with image_lock.in_use([str(home / "1" / "disk.qcow2")]):
        held_back("somebody on this node, who holds disk.qcow2 locked", lambda: shelf.remove("win", "1"))
    with leases.held(shelf.path, "win", "2", "def"):
        shelf.remove("win", "1")
        held_back("win@2 is in use", lambda: shelf.remove("win", "2", even_current=True))
    assert shelf.versions("win") == ["2"]
    shelf.remove("win", "2", even_current=True)
    assert sorted(path.name for path in home.iterdir()) == [".lock", "history"]


def test_a_session_that_begins_while_its_version_is_removed_keeps_it(
    shelf: Repository, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = add("1")
    alive = leases.alive
    session = leases.held(shelf.path, "win", "1", "abc")
    asked: list[list[leases.Lease]] = []

    def begins_after_the_first_look(path: Path) -> list[leases.Lease]:
        found = alive(path)
        if not asked:
            session.__enter__()
        asked.append(found)
        return found

    monkeypatch.setattr(leases, "alive", begins_after_the_first_look)
    held_back("in use: session abc", lambda: shelf.remove("win", "1"))
    assert asked[0] == []
    assert (home / "1" / "disk.qcow2").exists()
    session.__exit__(None, None, None)


def test_who_only_looks_whether_a_disk_is_in_use_keeps_no_session_off(shelf: Repository, add: Add) -> None:
    disk = add("1") / "1" / "disk.qcow2"
    with disk.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code = "import sys; from sevenlbd.images.image_lock import in_use\nprint(flush=True)\n"
        code += "with in_use(sys.argv[1:]): pass"
        session = another(code, str(disk))
        time.sleep(0.1)
        assert session.poll() is None
        fcntl.flock(file, fcntl.LOCK_UN)
    assert session.communicate()
    assert session.returncode == 0


def test_a_disk_that_is_replaced_while_a_session_begins_is_refused(shelf: Repository, add: Add, tmp_path: Path) -> None:
    disk = tmp_path / "disk.qcow2"
    shutil.copy(add("1", "2") / "1" / "disk.qcow2", disk)
    seen = {str(layer.path): layer.identity for layer in image.resolve(str(disk), []).layers}
    with image_lock.in_use(seen, seen):
        image_lock.check_unchanged(seen)
    shutil.copy(disk, tmp_path / "new")
    (tmp_path / "new").replace(disk)
    held_back("was replaced or written to while the session began", lambda: image_lock.in_use(seen, seen).__enter__())
    held_back("was replaced, removed or written to", lambda: image_lock.check_unchanged(seen))
    disk.unlink()
    held_back("was removed while the session began", lambda: image_lock.in_use(seen, seen).__enter__())
    held_back("was replaced, removed", lambda: image_lock.check_unchanged(seen))


def test_a_repository_that_is_read_only_is_used_but_not_changed(shelf: Repository, add: Add) -> None:
    home = add("1", "2", "3")
    for version in ("1", "2"):
        shelf.publish("win", version)
    for folder in (shelf.path, home, shelf.path / layout.LEASES):
        folder.chmod(0o555)
    (home / ".lock").chmod(0o444)
    calls: list[Callable[[], object]] = [
        lambda: shelf.publish("win", "3"),
        lambda: shelf.rollback("win"),
        lambda: shelf.remove("win", "1"),
        lambda: add("4"),
        lambda: add("1", name="new"),
        lambda: repositories.writable([shelf.path]),
    ]
    for call in calls:
        refusal = held_back("Permission denied|no repository that .* may write to", call)
        assert refusal.code is ExitCode.RESOURCES
        assert "--image-dir DIR" in refusal.hint
    assert shelf.current("win") == "2"
    assert image.resolve("win", [shelf.path]).title == "win@2"
    with leases.held(shelf.path, "win", "2", "abc"):
        assert leases.alive(shelf.path) == []


def test_the_first_repository_that_can_be_written_is_taken(shelf: Repository, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert repositories.writable([closed, closed / "deeper", shelf.path]).path == shelf.path
    held_back("nowhere: image_dirs is empty", lambda: repositories.writable([]))


def verdicts(shelf: Repository, keep: int, grace: float) -> dict[str, str]:
    """Why each version is kept; empty for one that goes."""
    return {verdict.version: verdict.why for verdict in gc.judge(shelf, "win", keep, grace)}


def test_gc_keeps_what_may_be_in_use_and_says_why(shelf: Repository, add: Add) -> None:
    home = add("1", "2", "3", "4", "5", "6")
    for version in ("1", "2", "3"):
        shelf.publish("win", version)
    shelf.rollback("win")
    old = (home / "history").read_text().splitlines()
    old[1] = old[1].replace(old[1][:20], "2020-01-01T00:00:00Z")  # 1 was given up when 2 came, long ago
    (home / "history").write_text("\n".join(old) + "\n")
    with leases.held(shelf.path, "win", "4", "abc"), image_lock.in_use([str(home / "5" / "disk.qcow2")]):
        kept = verdicts(shelf, 1, 14 * DAY)
        assert kept["1"] == ""
        assert kept["2"] == "it is current"
        assert "it was current until 0 minutes ago" in kept["3"]
        assert "in use: session abc" in kept["4"]
        assert "in use: somebody on this node" in kept["5"]
        assert kept["6"] == "it is the last one"
    assert [version for version, why in verdicts(shelf, 1, 0).items() if not why] == ["1", "3", "4", "5"]
    assert [version for version, why in verdicts(shelf, 3, 0).items() if not why] == ["1", "3"]
    assert [version for version, why in verdicts(shelf, 0, 0).items() if not why] == ["1", "3", "4", "5", "6"]
