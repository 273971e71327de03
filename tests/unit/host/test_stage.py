"""A stage builds once for each set of inputs, and nothing half-made ever passes for good."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from sifbuild import paths
from sifbuild.process import BuildError
from sifbuild.stage import Stage, build_lock, scratch


class Copy(Stage):
    """Copies the file `input`; `trouble` is raised half-way."""

    name = "copy"
    what = "a copy"
    trouble: BaseException | None = None

    def key(self) -> str:
        return self.source.read_text()

    @property
    def source(self) -> Path:
        return paths.REPO / "input"

    def make(self, target: Path) -> None:
        target.write_text("half")
        if self.trouble:
            raise self.trouble
        target.write_text(self.source.read_text())


class CopyIntoFolder(Copy):
    def make(self, target: Path) -> None:
        target.mkdir()
        (target / "file").write_text(self.source.read_text())


@pytest.fixture
def source(repo: Path) -> Path:
    path = repo / "input"
    path.write_text("one")
    return path


def build(stage: Stage) -> None:
    with build_lock(), scratch():
        stage.build()


def test_a_built_stage_is_fresh_until_its_inputs_change(source: Path) -> None:
    stage = Copy()
    assert not stage.is_fresh()
    build(stage)
    assert stage.is_fresh()
    assert stage.artefact.read_text() == "one"
    source.write_text("two")
    assert not stage.is_fresh()


def test_a_lost_artefact_is_made_again(source: Path) -> None:
    stage = Copy()
    build(stage)
    stage.artefact.unlink()
    assert not stage.is_fresh()


@pytest.mark.parametrize("trouble", [BuildError("no"), KeyboardInterrupt()])
def test_a_build_that_ends_half_way_keeps_the_old_artefact(source: Path, trouble: BaseException) -> None:
    build(Copy())
    source.write_text("two")
    stage = Copy()
    stage.trouble = trouble
    with pytest.raises(type(trouble)):
        build(stage)
    assert stage.artefact.read_text() == "one"
    assert not stage.is_fresh()
    assert not paths.TMP.exists()


def test_a_build_killed_between_artefact_and_key_is_not_fresh(source: Path) -> None:
    stage = Copy()
    build(stage)
    stage.key_file.unlink()
    assert not stage.is_fresh()


def test_a_folder_is_replaced_as_a_whole(source: Path) -> None:
    stage = CopyIntoFolder()
    build(stage)
    (stage.artefact / "stray").write_text("left over")
    source.write_text("two")
    build(stage)
    assert [path.name for path in stage.artefact.iterdir()] == ["file"]
    assert (stage.artefact / "file").read_text() == "two"


def test_what_a_killed_build_left_is_cleared_away(source: Path) -> None:
    paths.TMP.mkdir()
    (paths.TMP / "copy").mkdir()
    build(Copy())
    assert not paths.TMP.exists()


def test_a_second_build_waits_for_the_first(source: Path, capfd: pytest.CaptureFixture[str]) -> None:
    holder = f"import fcntl, sys; f = open({str(paths.BUILD / '.lock')!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX)"
    code = f"{holder}; print('held', flush=True); sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout
        assert first.stdin
        first.stdout.readline()
        second = subprocess.Popen([sys.executable, "-c", WAITER, str(paths.BUILD)], stderr=subprocess.PIPE, text=True)
        assert second.stderr
        assert "waiting" in second.stderr.readline()
        assert second.poll() is None
        first.stdin.close()
        assert second.wait(timeout=10) == 0
        second.stderr.close()


WAITER = f"""
import sys; sys.path.insert(0, {str(Path(__file__).parents[3] / "scripts")!r})
from pathlib import Path
from sifbuild import paths, stage
paths.BUILD = Path(sys.argv[1])
with stage.build_lock():
    pass
"""
