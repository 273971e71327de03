"""scripts/test fails when any part fails, whatever comes after it, and runs every part all the same."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from sifbuild import paths

PARTS = {
    "runtime's unit tests": ("bin/apptainer", "tests/unit "),
    "types": ("bin/apptainer", "-m mypy"),
    "build's unit tests": ("build/venv-test/bin/python", "tests/unit/host"),
    "session tests": ("build/venv-test/bin/python", "tests/session"),
    "demo guest": ("scripts/build-guest", ""),
    "demo guest's warm state": ("scripts/warm-guest", ""),
    "ruff": ("build/venv-test/bin/ruff", "check"),
    "format": ("build/venv-test/bin/ruff", "format"),
    "build's types": ("build/venv-test/bin/mypy", "sifbuild"),
    "shellcheck": ("bin/shellcheck", ""),
    "pages' types": ("build/dev-web/node_modules/.bin/tsc", "--project"),
    "pages' lint": ("build/dev-web/node_modules/.bin/eslint", "--config"),
    "pages' layout": ("build/dev-web/node_modules/.bin/prettier", "--check"),
}
SCRIPT = """#!/bin/bash
call="$0 $*"
echo "$call" >>"$CALLS"
[ -z "$FAIL" ] || [[ $call != *"$FAIL"* ]] || { [ -z "$NAMES" ] || echo "$NAMES" >"$LASTFAILED"; exit "$CODE"; }
"""
LASTFAILED = "build/.pytest_cache/v/cache/lastfailed"
COMMANDS = {command for command, _ in PARTS.values()} | {"scripts/build-sif", "scripts/venv"}


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repo whose every command notes its call in `calls` and succeeds, unless its words hold $FAIL."""
    for command in COMMANDS:
        path = tmp_path / command
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SCRIPT)
        path.chmod(0o755)
    for name in ("test", "lib.sh"):
        shutil.copy(paths.REPO / "scripts" / name, tmp_path / "scripts" / name)
    for name in (".ci", "containers"):
        (tmp_path / name).mkdir()
    return tmp_path


def run(tree: Path, fail: str = "", code: int = 1, names: str = "") -> tuple[int, str]:
    """Exit code and calls of `scripts/test all` when the commands that hold `fail` end with `code`.

    They leave `names` as pytest does what failed.
    """
    env = {"CALLS": str(tree / "calls"), "FAIL": fail, "CODE": str(code), "PATH": f"{tree}/bin:{os.environ['PATH']}"}
    env |= {"NAMES": names, "LASTFAILED": str(tree / LASTFAILED)}
    result = subprocess.run([tree / "scripts/test", "all"], env=os.environ | env, capture_output=True, check=False)
    return result.returncode, (tree / "calls").read_text()


def test_it_passes_when_everything_passes(tree: Path) -> None:
    assert run(tree)[0] == 0


@pytest.mark.parametrize("part", PARTS)
def test_it_fails_when_one_part_fails_and_still_runs_the_others(tree: Path, part: str) -> None:
    command, words = PARTS[part]
    code, calls = run(tree, words or command)
    assert code == 1
    for other in ("tests/unit ", "tests/unit/host", "ruff check", "shellcheck"):
        assert other in calls


def test_a_selection_that_leaves_one_part_without_tests_is_no_failure(tree: Path) -> None:
    assert run(tree, "-m pytest", code=5)[0] == 0


ONE_FILE = {"tests/unit/test_a.py::test_x": True, "tests/unit/test_a.py::test_y": True}
MANY_FILES = {f"tests/unit/test_{letter}.py::test_x": True for letter in "abcd"}


@pytest.mark.parametrize(
    ("failed", "fail", "code"),
    [
        (ONE_FILE, "tests/unit ", 0),  # not once more
        (ONE_FILE, "--ignore tests/unit/host", 1),  # again
        (MANY_FILES, "tests/unit ", 1),  # that is no matter of luck
        ({}, "tests/unit ", 1),  # nobody knows which
    ],
)
def test_what_failed_in_a_few_files_is_run_once_more_with_these(
    tree: Path, failed: dict[str, bool], fail: str, code: int
) -> None:
    python = tree / "build/venv-test/bin/python"
    python.write_text(SCRIPT.replace("\n", '\n[ "$1" != - ] || exec python3 "$@"\n', 1))
    (tree / LASTFAILED).parent.mkdir(parents=True)
    (tree / LASTFAILED).write_text('{"tests/unit/test_of_a_run_before.py::test_x": true}')
    ended, calls = run(tree, fail, names=json.dumps(failed))
    assert ended == code
    assert ("-m pytest tests/unit/test_a.py --ignore" in calls) == (failed == ONE_FILE)
    assert "test_of_a_run_before" not in calls


def test_of_files_that_were_named_those_that_failed_are_run_once_more_alone(tree: Path) -> None:
    (tree / LASTFAILED).parent.mkdir(parents=True)
    python = tree / "build/venv-test/bin/python"
    python.write_text(SCRIPT.replace("\n", '\n[ "$1" != - ] || exec python3 "$@"\n', 1))
    slides, suspended = "tests/session/test_slides.py", "tests/session/test_coordinator_suspend.py"
    ended, calls = run(tree, f"{slides} {suspended}", names=json.dumps({f"{suspended}::test_x": True}))
    assert ended == 0
    assert f"-m pytest {suspended} --durations" in calls
