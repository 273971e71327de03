"""The key changes when, and only when, something changes that the artefact is made from."""

from __future__ import annotations

from pathlib import Path

import pytest
from sifbuild.inputs import Revision, key


@pytest.fixture
def source(repo: Path) -> Path:
    folder = repo / "source"
    folder.mkdir()
    (folder / "a.py").write_text("a = 1\n")
    (folder / "b.py").write_text("b = 2\n")
    return folder


def test_the_key_is_the_same_for_the_same_inputs(source: Path) -> None:
    assert key([source], ["fact"]) == key([source], ["fact"])


def test_the_key_follows_content_name_mode_and_facts(source: Path) -> None:
    keys = [key([source])]
    (source / "a.py").write_text("a = 2\n")
    keys.append(key([source]))
    (source / "a.py").rename(source / "c.py")
    keys.append(key([source]))
    (source / "c.py").chmod(0o755)
    keys.append(key([source]))
    keys.append(key([source], ["fact"]))
    assert len(set(keys)) == len(keys)


def test_text_that_moves_from_one_file_to_its_neighbour_changes_the_key(source: Path) -> None:
    before = key([source])
    (source / "a.py").write_text("a = 1\nb")
    (source / "b.py").write_text(" = 2\n")
    assert key([source]) != before


def test_what_python_and_editors_leave_behind_does_not_change_the_key(source: Path) -> None:
    before = key([source])
    cache = source / "__pycache__"
    cache.mkdir()
    (cache / "a.cpython-313.pyc").write_bytes(b"code")
    (source / "a.py~").write_text("old")
    assert key([source]) == before


def test_touching_a_file_does_not_change_the_key(source: Path) -> None:
    before = key([source])
    (source / "a.py").touch()
    assert key([source]) == before


def test_the_revision_is_the_last_commit_that_touched_the_inputs(repo: Path, commit: str) -> None:
    (repo / "other").write_text("not an input")
    assert Revision.of([repo / "input"]) == Revision(commit, 1700000000)


def test_an_edited_input_shows_in_the_revision(repo: Path, commit: str) -> None:
    (repo / "input").write_text("two")
    assert Revision.of([repo / "input"]).commit == f"{commit}+edited"


def test_a_tree_without_git_has_an_unknown_revision(repo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(repo.parent))
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (repo / "input").write_text("one")
    assert Revision.of([repo / "input"]) == Revision("unknown", 0)


def test_source_date_epoch_wins_over_the_commit(repo: Path, commit: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "42")
    assert Revision.of([repo / "input"]) == Revision(commit, 42)
