"""Tests of the build run with the host's Python, as the ordinary user, on the artefacts that `make` has built."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from sifbuild import paths


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty tree that the build takes for the repo."""
    root = tmp_path / "repo"
    build = root / "build"
    build.mkdir(parents=True)
    for name, path in {"REPO": root, "BUILD": build, "TMP": build / "tmp", "LOGS": build / "log"}.items():
        monkeypatch.setattr(paths, name, path)
    return root


@pytest.fixture
def commit(repo: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The one commit of `repo`, which holds a file `input`."""
    for name in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{name}_NAME", "somebody")
        monkeypatch.setenv(f"GIT_{name}_EMAIL", "somebody@example.org")
        monkeypatch.setenv(f"GIT_{name}_DATE", "1700000000 +0000")
    (repo / "input").write_text("one")
    for command in (["init", "-q"], ["add", "input"], ["commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=repo, check=True)
    return subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=repo, check=True, capture_output=True, text=True
    ).stdout.strip()
