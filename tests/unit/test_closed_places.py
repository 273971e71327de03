"""Places that are closed to the caller: what su(1) left of another account's environment holds nothing up, and what is
named by an option is refused in a sentence."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from conftest import MakeQcow2
from sevenlbd.__main__ import main
from sevenlbd.base import paths
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images.repository.versions import Repository
from sevenlbd.outside.folders import bases
from sevenlbd.outside.node.node_programs import NodePrograms
from sevenlbd.outside.ondemand import form
from sevenlbd.outside.presence import records
from sevenlbd.outside.session.preflight import checker
from sevenlbd.outside.site.ondemand_table import OnDemandTable

Call = Callable[..., tuple[int, str]]


@pytest.fixture
def closed(tmp_path: Path) -> Iterator[Path]:
    """A place in a folder that we may not enter."""
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0)
    yield folder / "in" / "x"
    folder.chmod(0o700)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Iterator[Call]:
    """Calls the program; returns its exit code, and what it said on standard error."""
    for name in ("APPTAINER_CONTAINER", "SINGULARITY_CONTAINER"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def called(*words: object) -> tuple[int, str]:
        return main(list(map(str, words))), capsys.readouterr().err

    yield called
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_what_cannot_be_looked_at_is_not_there(closed: Path, tmp_path: Path) -> None:
    assert [look(closed) for look in (paths.is_folder, paths.is_there, paths.is_link)] == [False] * 3
    link = tmp_path / "link"
    link.symlink_to(tmp_path)
    assert paths.is_folder(link)
    assert paths.is_there(link)
    assert paths.is_link(link)
    assert not paths.is_link(tmp_path)
    (tmp_path / "loop").symlink_to("loop")
    assert [look(tmp_path / "loop") for look in (paths.is_folder, paths.is_there)] == [False] * 2


def test_the_nodes_programs_are_looked_for_past_a_folder_of_somebody_elses(closed: Path, tmp_path: Path) -> None:
    """`su USER` leaves root's PATH, whose folders below /root nobody else may enter."""
    root = tmp_path / "node"
    (root / "usr/bin").mkdir(parents=True)
    (root / "usr/bin/sinfo-of-a-test").touch(0o755)
    (root / "root").mkdir()
    (root / "root").chmod(0)
    try:
        programs = NodePrograms({"USER_PATH": "/root/.cargo/bin:/usr/bin"}, root)
        assert programs.has("sinfo-of-a-test")
        assert not programs.has("no-such-program-of-a-test")
    finally:
        (root / "root").chmod(0o700)


@pytest.mark.parametrize("name", ["TMPDIR", "SLURM_TMPDIR", "_CONDOR_SCRATCH_DIR"])
def test_a_temporary_folder_of_somebody_elses_is_passed_over_and_told(name: str, closed: Path, call: Call) -> None:
    environment = {name: str(closed)}
    assert bases.temporary(environment) == Path("/tmp")
    assert str(closed) in bases.hidden(environment)[0]


@pytest.mark.parametrize("name", ["TMPDIR", "SLURM_TMPDIR", "_CONDOR_SCRATCH_DIR", "XDG_STATE_HOME"])
@pytest.mark.parametrize("verb", ["status", "gc", "saved list"])
def test_verbs_work_with_what_another_account_left_in_the_environment(
    name: str, verb: str, closed: Path, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(closed))
    code, said = call(*verb.split())
    assert code == ExitCode.OK, said


@pytest.mark.parametrize("verb", ["status", "gc", "saved list"])
def test_no_word_of_sessions_is_found_in_a_closed_register(verb: str, closed: Path, call: Call) -> None:
    assert records.records(closed) == []
    assert call(*verb.split(), "--state-dir", closed)[0] == ExitCode.OK


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["image", "add", "DISK", "--name", "a", "--version", "1", "--image-dir", "X"], "no repository"),
        (["image", "maintain", "win", "--iso", "X", "--image-dir", "IMAGES"], "X: does not exist here"),
        (["grid", "rekey", "--state-dir", "X"], "X/grid/keys/image-key.json: Permission denied"),
        (["grid", "enrol", "https://a:1", "--code", "x", "--state-dir", "X"], "X/grid/machine.toml: Permission denied"),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, list) else "",
)
def test_a_closed_place_that_is_named_is_refused_in_a_sentence(
    words: list[str], says: str, closed: Path, call: Call, tmp_path: Path, make_qcow2: MakeQcow2
) -> None:
    repository = Repository(tmp_path / "images")
    with repository.staged("win", "1") as folder:
        make_qcow2(folder / "disk.qcow2")
        (folder / "image.toml").write_text('memory = "4G"\n')
    repository.publish("win", "1")
    disk = make_qcow2(tmp_path / "disk.qcow2")
    places = {"X": str(closed), "DISK": str(disk), "IMAGES": str(repository.path)}
    code, said = call(*(places.get(word, word) for word in words))
    assert code not in (ExitCode.OK, ExitCode.BUG)
    assert re.fullmatch(r"7lbd: .*\n  .*\n", said), "one message and its hint"
    assert says.replace("X", str(closed)) in said


def test_a_saved_desktop_that_cannot_be_seen_is_not_begun_anew(closed: Path) -> None:
    with pytest.raises(Refusal, match="it cannot be seen whether it is there: Permission denied"):
        checker._is_there(closed)
    assert not checker._is_there(closed.parents[2] / "none.7lbd")


def test_a_portals_user_who_names_a_closed_folder_is_told(closed: Path, tmp_path: Path) -> None:
    table = OnDemandTable(cluster=("blue",), share_roots=(str(tmp_path),))
    with pytest.raises(Refusal, match="which is not there or not yours to read"):
        form._below_roots(table, str(closed))
