"""Every shell block of the docs that is marked `sh run` runs, beside the shared desktop; man(1) likes its page."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import harness
import pytest
from harness import Session

PAGES = [harness.REPO / "README.md", *sorted((harness.REPO / "docs").glob("*.md"))]
RUN = re.compile(r"^```sh run\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# One run of each is enough, however many pages show it.
BLOCKS = {text: page.name for page in reversed(PAGES) for text in RUN.findall(page.read_text())}


@pytest.mark.parametrize("text", BLOCKS, ids=lambda text: f"{BLOCKS[text]}: {text.split('7lbd.sif')[-1].strip()}")
def test_a_command_of_the_docs_runs(demo: Session, tmp_path: Path, text: str) -> None:
    (tmp_path / "7lbd.sif").symlink_to(harness.SIF)
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=tmp_path,
        env=harness.environment({"SEVENLBD_SESSION_DIR": str(demo.folder.parent)}),
        capture_output=True,
        text=True,
        timeout=harness.PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip()
    assert demo.process.poll() is None, "no example may end the reader's desktop unasked"


def test_the_docs_have_commands_to_run() -> None:
    assert len(BLOCKS) > 5


def test_the_man_page_is_well_formed() -> None:
    page = str(harness.REPO / "docs" / "7lbd.1")
    done = subprocess.run(
        ["man", "--warnings=w", "-E", "UTF-8", "-l", page], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert done.stderr == ""
    assert "EXIT STATUS" in done.stdout
