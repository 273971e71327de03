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
def repository(tmp_path: Path) -> Iterator[Repository]:
    """An empty repository in a folder that others may read."""
    tmp_path.chmod(0o755)
    before = os.umask(0o077)  # as the program sets it
    yield Repository(tmp_path / "images")
    os.umask(before)
    for folder, _, _ in os.walk(tmp_path):
        Path(folder).chmod(0o700)


Add = Callable[..., Path]


@pytest.fixture
def add(repository: Repository, make_qcow2: MakeQcow2) -> Add:
    """Adds versions of `win`, each a bootable disk that knows which one it is."""

    def make(*versions: str, name: str = "win", holder: Repository = repository) -> Path:
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
def test_what_is_no_versions_name_is_refused_before_a_path_is_made_of_it(repository: Repository, text: str) -> None:
    why = "cannot be a version's name"
    if text:
        held_back(why if "@" not in text else "cannot be", lambda: names.parse(f"win@{text}"))
    held_back(why, lambda: repository.staged("win", text).__enter__())
    if text:
        held_back(why, lambda: repository.folder(Reference("win", text)))
        held_back(why, lambda: repository.publish("win", text))
    held_back(why, lambda: repository.remove("win", text))
    assert not repository.path.exists()


@pytest.mark.parametrize("text", [*STRANGE, "Win"])
def test_what_is_no_images_name_is_refused_before_a_path_is_made_of_it(repository: Repository, text: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: repository.staged(text, "1").__enter__(),
        lambda: repository.folder(Reference(text)),
        lambda: repository.publish(text, "1"),
        lambda: repository.rollback(text),
        lambda: repository.remove(text, "1"),
        lambda: repositories.locate(Reference(text), [repository.path]),
        lambda: repositories.repository_of(Reference(text), [repository.path]),
    ]
    for call in calls:
        held_back("cannot be an image's name", call)
    assert not repository.path.exists()


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


def test_a_version_appears_whole_readonly_and_readable_as_the_folder_above_is(repository: Repository, add: Add) -> None:
    with repository.staged("win", "1") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert repository.versions("win") == []
        (folder / "image.toml").touch()
        (folder / "warm").mkdir()
        (folder / "warm" / "memory").write_bytes(b"m")
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (repository.path / "win" / "1").rglob("*")}
    assert modes == {"image.toml": 0o444, "warm": 0o555, "memory": 0o444}
    assert stat.S_IMODE((repository.path / "win" / "1").stat().st_mode) == 0o555
    assert stat.S_IMODE((repository.path / "win").stat().st_mode) == 0o755
    (repository.path / "win").chmod(0o750)
    closed = add("2") / "2"
    assert {stat.S_IMODE(path.stat().st_mode) for path in closed.iterdir()} == {0o440}
    assert stat.S_IMODE(closed.stat().st_mode) == 0o550
    assert repository.versions("win") == ["1", "2"]
    assert hidden(repository) == {".lock"}


def hidden(repository: Repository) -> set[str]:
    """What lies beside the versions of `win`."""
    return {path.name for path in (repository.path / "win").iterdir() if path.name.startswith(".")}


def test_what_fails_in_the_making_leaves_nothing(repository: Repository) -> None:
    def full() -> None:
        with repository.staged("win", "1") as folder:
            (folder / "image.toml").touch()
            (folder / "deep").mkdir(mode=0o500)
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        full()

    def interrupted() -> None:
        with repository.staged("win", "1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    held_back("there is no image.toml in it", lambda: empty(repository))
    assert repository.versions("win") == []
    assert hidden(repository) == {".lock"}


def empty(repository: Repository) -> None:
    """Make a version with nothing in it."""
    with repository.staged("win", "2"):
        pass


def test_a_version_is_never_made_twice(repository: Repository, add: Add) -> None:
    add("1")
    held_back("win@1 exists already", lambda: add("1"))
    with repository.staged("win", "2"):
        held_back("win@2 is being made already .*making win@2 of", lambda: add("2"))
        add("3")
        (repository.path / "win" / ".new-2" / "image.toml").touch()
    assert set(repository.versions("win")) == {"1", "2", "3"}


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


def test_what_a_killed_maker_left_is_removed_by_the_next_and_by_gc(repository: Repository, add: Add) -> None:
    for clean in (lambda: add("1"), repository.tidy):
        process = another(MAKE, str(repository.path), "1" if "1" not in repository.versions("win") else "2")
        repository.tidy()
        assert len(hidden(repository)) == 3, "one that is alive is left alone"
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert len(hidden(repository)) == 3
        clean()
        assert hidden(repository) == {".lock"}
    assert repository.versions("win") == ["1"]


def test_current_is_what_was_published_last(repository: Repository, add: Add) -> None:
    add("1", "2")
    assert repository.current("win") == ""
    held_back(
        "no version of image `win` in .* is published .there are 1, 2.", lambda: repository.folder(Reference("win"))
    )
    repository.publish("win", "1")
    repository.publish("win", "2")
    assert repository.current("win") == "2"
    assert repository.folder(Reference("win")) == repository.path / "win" / "2"
    assert repository.folder(Reference("win", "1")) == repository.path / "win" / "1"
    held_back("has no version `3` .there are 1, 2.", lambda: repository.publish("win", "3"))
    assert repository.current("win") == "2"


def test_each_rollback_goes_one_further_back(repository: Repository, add: Add) -> None:
    add("1", "2", "3")
    held_back("no version that was current", lambda: repository.rollback("win"))
    for version in ("1", "2", "3"):
        repository.publish("win", version)
    assert [repository.rollback("win"), repository.rollback("win")] == ["2", "1"]
    held_back("no version that was current before 1 is still there", lambda: repository.rollback("win"))
    repository.publish("win", "3")
    assert repository.rollback("win") == "1"
    assert [event.act for event in history.events(repository.path / "win")] == [
        *["publish"] * 3, "rollback", "rollback", "publish", "rollback",
    ]  # fmt: skip


def test_a_rollback_passes_over_what_is_gone_and_mends_a_broken_link(repository: Repository, add: Add) -> None:
    home = add("1", "2", "3")
    for version in ("1", "2", "3"):
        repository.publish("win", version)
    repository.remove("win", "2")
    assert repository.rollback("win") == "1"
    (home / "current").unlink()
    (home / "current").symlink_to("gone")
    assert repository.rollback("win") == "1"


def test_half_a_line_of_history_harms_no_other(repository: Repository, add: Add) -> None:
    home = add("1", "2")
    repository.publish("win", "1")
    with (home / "history").open("ab") as file:
        file.write(b"2026-11-22T09:15:00Z publ")
    repository.publish("win", "2")
    with (home / "history").open("ab") as file:
        file.write(b"\xff\n9999-99-99T09:15:00Z publish 2 a@b\n2026-11-22T09:15:00Z publish ../x a@b\n\n")
    assert [event.version for event in history.events(home)] == ["1", "2"]
    assert repository.rollback("win") == "1"


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
    repository: Repository, add: Add, tmp_path: Path, leads: str, why: str
) -> None:
    home = add("1")
    add("1", name="other")
    (home / "current").symlink_to(leads)
    far = Repository(tmp_path / "far")
    add("1", holder=far)
    far.publish("win", "1")
    refusal = held_back(why, lambda: image.resolve("win", [repository.path, far.path]))
    assert refusal.code is ExitCode.IMAGE
    assert image.resolve("win@1", [repository.path]).title == "win@1"
    repository.publish("win", "1")
    assert image.resolve("win", [repository.path]).title == "win@1"


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_current_that_is_no_link_is_refused(repository: Repository, add: Add, kind: str) -> None:
    current = add("1") / "current"
    current.mkdir() if kind == "folder" else current.touch()
    held_back("current: cannot be read as a link", lambda: image.resolve("win", [repository.path]))


def test_a_version_that_is_only_a_link_is_none(repository: Repository, add: Add, tmp_path: Path) -> None:
    home = add("1")
    (home / "2").symlink_to(home / "1")
    assert repository.versions("win") == ["1"]
    held_back("has no version `2`", lambda: repository.publish("win", "2"))


def test_from_the_resolving_on_current_may_move(repository: Repository, add: Add) -> None:
    home = add("1", "2")
    repository.publish("win", "1")
    for wanted in ("win", str(home), str(home / "current")):
        found = image.resolve(wanted, [repository.path])
        assert found.folder == home / "1"
        assert [layer.path for layer in found.layers] == [home / "1" / "disk.qcow2"]
    repository.publish("win", "2")
    assert image.resolve("win", [repository.path]).folder == home / "2"
    assert repositories.owner(home / "2") == (repository.path, Reference("win", "2"))
    assert repositories.owner(home) is None


def test_an_old_link_to_a_disk_in_the_repository_is_known_as_the_version(
    repository: Repository, add: Add, tmp_path: Path
) -> None:
    link = tmp_path / "latest.qcow2"
    link.symlink_to(add("1") / "1" / "disk.qcow2")
    found = image.resolve(str(link), [])
    assert found.folder is None
    assert repositories.owner(found.layers[0].path.parent) == (repository.path, Reference("win", "1"))


def test_repositories_are_looked_through_in_order(repository: Repository, add: Add, tmp_path: Path) -> None:
    near, far = Repository(tmp_path / "near"), repository
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
    held_back(r"image `win@3` is neither .*known there: win .1 current, 2..\n", lambda: image.resolve("win@3", both))
    held_back("`Win` cannot be an image's name, nor is it a file here", lambda: image.resolve("Win", both))


def test_an_image_without_versions_stays_usable(repository: Repository, add: Add) -> None:
    home = add("1")
    bare = repository.path / "bare"
    shutil.copytree(home / "1", bare)
    assert image.resolve("bare", [repository.path]).folder == bare
    assert repositories.owner(bare) is None
    assert repository.names() == ["bare", "win"]
    assert repositories.known_in([repository.path]) == ["bare", "win (1)"]
    held_back("no image was named; there are bare, win .1.", lambda: image.resolve("", [repository.path]))


PUBLISH = """
import sys; from pathlib import Path; from sevenlbd.images.repository.versions import Repository
repository = Repository(Path(sys.argv[1])); print("begins", flush=True)
for _ in range(60):
    for version in sys.argv[2:]: repository.publish("win", version)
"""


def test_who_resolves_while_two_publish_gets_one_or_the_other_whole(repository: Repository, add: Add) -> None:
    home = add("1", "2", "3")
    repository.publish("win", "3")
    publishers = [
        another(PUBLISH, str(repository.path), "1", "2"),
        another(PUBLISH, str(repository.path), "2", "3", "1"),
    ]
    seen: list[str] = []
    while any(publisher.poll() is None for publisher in publishers):
        found = image.resolve("win", [repository.path])
        assert found.folder == home / found.version
        assert found.layers[0].path == home / found.version / "disk.qcow2"
        assert found.description.title == found.version
        seen.append(found.version)
    assert [publisher.communicate() and publisher.returncode for publisher in publishers] == [0, 0]
    assert set(seen) == {"1", "2", "3"}
    assert sum(before != after for before, after in pairwise(seen)) > 5, "it did move meanwhile"
    told = history.events(home)
    assert len(told) == 1 + 60 * 5, "no line of either is lost"
    assert told[-1].version == repository.current("win"), "they went one after the other"
    assert hidden(repository) == {".lock"}


def test_a_version_goes_only_when_it_is_not_current_and_not_in_use(repository: Repository, add: Add) -> None:
    home = add("1", "2")
    repository.publish("win", "2")
    held_back("win@2 is current", lambda: repository.remove("win", "2"))
    with leases.held(repository.path, "win", "1", "abc"):
        held_back("win@1 is in use: session abc of .* on ", lambda: repository.remove("win", "1"))
        assert repository.users("win", "1")
    with image_lock.in_use([str(home / "1" / "disk.qcow2")]):
        held_back("somebody on this node, who holds disk.qcow2 locked", lambda: repository.remove("win", "1"))
    with leases.held(repository.path, "win", "2", "def"):
        repository.remove("win", "1")
        held_back("win@2 is in use", lambda: repository.remove("win", "2", even_current=True))
    assert repository.versions("win") == ["2"]
    repository.remove("win", "2", even_current=True)
    assert sorted(path.name for path in home.iterdir()) == [".lock", "history"]


def test_a_session_that_begins_while_its_version_is_removed_keeps_it(
    repository: Repository, add: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = add("1")
    alive = leases.alive
    session = leases.held(repository.path, "win", "1", "abc")
    asked: list[list[leases.Lease]] = []

    def begins_after_the_first_look(path: Path) -> list[leases.Lease]:
        found = alive(path)
        if not asked:
            session.__enter__()
        asked.append(found)
        return found

    monkeypatch.setattr(leases, "alive", begins_after_the_first_look)
    held_back("in use: session abc", lambda: repository.remove("win", "1"))
    assert asked[0] == []
    assert (home / "1" / "disk.qcow2").exists()
    session.__exit__(None, None, None)


def test_who_only_looks_whether_a_disk_is_in_use_keeps_no_session_off(repository: Repository, add: Add) -> None:
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


def test_a_disk_that_is_replaced_while_a_session_begins_is_refused(
    repository: Repository, add: Add, tmp_path: Path
) -> None:
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


def test_a_repository_that_is_read_only_is_used_but_not_changed(repository: Repository, add: Add) -> None:
    home = add("1", "2", "3")
    for version in ("1", "2"):
        repository.publish("win", version)
    for folder in (repository.path, home, repository.path / layout.LEASES):
        folder.chmod(0o555)
    (home / ".lock").chmod(0o444)
    calls: list[Callable[[], object]] = [
        lambda: repository.publish("win", "3"),
        lambda: repository.rollback("win"),
        lambda: repository.remove("win", "1"),
        lambda: add("4"),
        lambda: add("1", name="new"),
        lambda: repositories.writable([repository.path]),
    ]
    for call in calls:
        refusal = held_back("Permission denied|no repository that .* may write to", call)
        assert refusal.code is ExitCode.RESOURCES
        assert "--image-dir DIR" in refusal.hint
    assert repository.current("win") == "2"
    assert image.resolve("win", [repository.path]).title == "win@2"
    with leases.held(repository.path, "win", "2", "abc"):
        assert leases.alive(repository.path) == []


def test_the_first_repository_that_can_be_written_is_taken(repository: Repository, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    assert repositories.writable([closed, closed / "deeper", repository.path]).path == repository.path
    held_back("nowhere: image_dirs is empty", lambda: repositories.writable([]))


def verdicts(repository: Repository, keep: int, grace: float) -> dict[str, str]:
    """Why each version is kept; empty for one that goes."""
    return {verdict.version: verdict.why for verdict in gc.judge(repository, "win", keep, grace)}


def test_gc_keeps_what_may_be_in_use_and_says_why(repository: Repository, add: Add) -> None:
    home = add("1", "2", "3", "4", "5", "6")
    for version in ("1", "2", "3"):
        repository.publish("win", version)
    repository.rollback("win")
    old = (home / "history").read_text().splitlines()
    old[1] = old[1].replace(old[1][:20], "2020-01-01T00:00:00Z")  # 1 was given up when 2 came, long ago
    (home / "history").write_text("\n".join(old) + "\n")
    with leases.held(repository.path, "win", "4", "abc"), image_lock.in_use([str(home / "5" / "disk.qcow2")]):
        kept = verdicts(repository, 1, 14 * DAY)
        assert kept["1"] == ""
        assert kept["2"] == "it is current"
        assert "it was current until 0 minutes ago" in kept["3"]
        assert "in use: session abc" in kept["4"]
        assert "in use: somebody on this node" in kept["5"]
        assert kept["6"] == "it is the last one"
    assert [version for version, why in verdicts(repository, 1, 0).items() if not why] == ["1", "3", "4", "5"]
    assert [version for version, why in verdicts(repository, 3, 0).items() if not why] == ["1", "3"]
    assert [version for version, why in verdicts(repository, 0, 0).items() if not why] == ["1", "3", "4", "5", "6"]
