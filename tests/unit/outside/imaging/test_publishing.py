"""The repository's verbs as an admin calls them: what they do, what they say, and what they refuse."""

from __future__ import annotations

import json
import os
import re
import signal
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeQcow2
from sevenlbd.__main__ import main
from sevenlbd.images.repository import leases
from sevenlbd.images.repository.versions import Repository

IMAGE, USAGE, RESOURCES = 3, 2, 5
Verb = Callable[..., str]


@pytest.fixture
def repository(tmp_path: Path, make_qcow2: MakeQcow2) -> Repository:
    """A repository with the versions 1 and 2 of `win`."""
    made = Repository(tmp_path / "images")
    for version in ("1", "2"):
        with made.staged("win", version) as folder:
            make_qcow2(folder / "disk.qcow2")
            (folder / "image.toml").write_text('title = "A desktop\\u001B[31m"\nmemory = "4G"\n')
    return made


@pytest.fixture
def verb(
    repository: Repository, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Iterator[Verb]:
    """Calls `7lbd image VERB ...`, which must end with this code; returns what it prints."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("APPTAINER_CONTAINER", raising=False)
    monkeypatch.delenv("SINGULARITY_CONTAINER", raising=False)
    monkeypatch.chdir(tmp_path)
    umask = os.umask(0o022)
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}

    def call(name: str, *words: str, code: int = 0) -> str:
        ended = main(["image", name, "--image-dir", str(repository.path), *words])
        printed = capsys.readouterr()
        assert ended == code, printed.err
        if code:
            assert re.fullmatch(r"7lbd: .*\n  .*\n", printed.err), "one message and its hint"
        return printed.err if code else printed.out

    yield call
    os.umask(umask)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    for folder, _, _ in os.walk(repository.path):
        Path(folder).chmod(0o700)


def shown(verb: Verb, image: str) -> dict[str, Any]:
    """What `show --json` says."""
    sheet: dict[str, Any] = json.loads(verb("show", image, "--json"))
    return sheet


def test_what_is_published_is_listed_as_current(verb: Verb) -> None:
    assert verb("publish", "win@1").startswith("win@1 is current in ")
    assert verb("publish", "win@2").startswith("win@2 is current in ")
    heads, *rows = [line.split() for line in verb("list").splitlines()]
    assert heads[:3] == ["IMAGE", "VERSION", "MADE"]
    assert [(row[:2], row[2] == "current") for row in rows] == [(["win", "1"], False), (["win", "2"], True)]
    assert verb("rollback", "win").startswith("win@1 is current again in ")
    listed = json.loads(verb("list", "win", "--json"))
    assert [(item["version"], item["current"]) for item in listed] == [("1", True), ("2", False)]


def test_show_says_all_that_is_known_of_a_version(verb: Verb, repository: Repository) -> None:
    verb("publish", "win@1")
    warm = repository.path / "win" / "1"
    warm.chmod(0o700)
    (warm / "sparse").touch()
    os.truncate(warm / "sparse", 40 << 30)
    with leases.held(repository.path, "win", "1", "abc"):
        sheet = shown(verb, "win")
        text = verb("show", "win@1")
    assert (sheet["name"], sheet["version"], sheet["current"], sheet["warm"], sheet["signature"]) == (
        "win", "1", True, "", "no",
    )  # fmt: skip
    assert sheet["apparent"] > 40 << 30 > 1 << 20 > sheet["allocated"]
    assert {part["name"]: part["allocated"] for part in sheet["parts"]}["sparse"] == 0
    assert sheet["users"][0].startswith("session abc of ")
    assert [event["act"] for event in sheet["history"]] == ["publish"]
    assert sheet["description"]["firmware"] == "uefi"
    for words in (
        "win@1 (current)",
        "published",
        "1.0 GiB, qcow2",
        "4.0 GiB of memory",
        "session abc of",
        "sparse: 40",
    ):
        assert words in text
    assert "\x1b" not in text


def test_the_day_on_which_an_evaluation_ends_is_listed_and_shown(verb: Verb, repository: Repository) -> None:
    assert "EVALUATION" not in verb("list")
    description = repository.path / "win" / "2" / "image.toml"
    description.parent.chmod(0o700)
    description.chmod(0o600)
    last = date.today() + timedelta(days=90)
    description.write_text(f"evaluation_ends = {last}\n")
    heads, first, second = verb("list").splitlines()
    at = heads.index("EVALUATION ENDS")
    assert (first[at:].strip(), second[at:].strip()) == ("", str(last))
    assert [item["evaluation_ends"] for item in json.loads(verb("list", "--json"))] == ["", str(last)]
    assert f"ends in 90 days, on {last}; then Windows shuts down every hour" in verb("show", "win@2")
    assert "evaluation" not in verb("show", "win@1")
    description.write_text("evaluation_ends = never\n")
    assert "EVALUATION" not in verb("list"), "one that is broken is listed all the same"


def test_a_broken_version_is_not_published(verb: Verb, repository: Repository) -> None:
    verb("publish", "win@1")
    disk = repository.path / "win" / "2" / "disk.qcow2"
    disk.chmod(0o600)
    disk.write_bytes(b"MZ")
    assert "does not begin with a qcow2 header" in verb("publish", "win@2", code=IMAGE)
    assert repository.current("win") == "1"


def test_a_site_that_wants_signatures_publishes_nothing_unsigned(
    verb: Verb, repository: Repository, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "7lbd.toml").write_text("require_signed = true\n")
    monkeypatch.setenv("APPTAINER_CONTAINER", str(tmp_path / "7lbd.sif"))
    assert "is not signed" in verb("publish", "win@1", code=IMAGE)
    assert repository.current("win") == ""


def test_what_is_removed_is_told_and_what_is_kept_too(verb: Verb, repository: Repository) -> None:
    for version in ("1", "2"):
        verb("publish", f"win@{version}")
    assert "win@2 is current" in verb("rm", "win@2", code=IMAGE)
    with leases.held(repository.path, "win", "1", "abc"):
        assert "win@1 is in use: session abc of " in verb("rm", "win@1", "--force", code=IMAGE)
        assert "kept      win@1: in use: session abc of" in verb("gc", "--keep", "0", "--grace", "0s")
    assert "kept      win@1: it was current until 0 minutes ago" in verb("gc", "--keep", "0")
    assert "kept      win@1: it is one of the last 3" in verb("gc", "--grace", "0s")
    plan = verb("gc", "win", "--keep", "1", "--grace", "0s", "--dry-run")
    assert re.search(r"^would go  win@1: \d+ KiB\nkept      win@2: it is current\n\d+ KiB would be freed$", plan, re.M)
    assert repository.versions("win") == ["1", "2"]
    assert "removed   win@1: " in verb("gc", "win", "--keep", "1", "--grace", "0s")
    assert verb("rm", "win@2", "--force").startswith("win@2 is removed from ")
    assert verb("list").startswith("there is no image")


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["publish", "win@../../etc"], IMAGE, "`../../etc` cannot be a version's name"),
        (["publish", "/etc@1"], IMAGE, "`/etc` cannot be an image's name"),
        (["publish", "win@current"], IMAGE, "`current` cannot be a version's name"),
        (["publish", "win@"], IMAGE, "`` cannot be a version's name"),
        (["publish", "win"], USAGE, "`win` names no version"),
        (["publish", "win@3"], IMAGE, "image `win@3` is not in "),
        (["publish", "wim@1"], IMAGE, "did you mean `win`?"),
        (["rollback", "win"], IMAGE, "no version that was current is still there"),
        (["rollback", "win@1"], USAGE, "only the image's name"),
        (["rm", "../win@1"], IMAGE, "`../win` cannot be an image's name"),
        (["rm", "win"], USAGE, "`win` names no version"),
        (["show", "win"], IMAGE, "no version of image `win` in "),
        (["show", "win@\x1b[31m"], IMAGE, r"\x1b[31m` cannot be"),
        (["list", "mac"], IMAGE, "known there: win (1, 2)"),
        (["gc", "mac"], IMAGE, "known there: win (1, 2)"),
        (["gc", "--keep", "-1"], USAGE, "--keep"),
        (["gc", "--keep", "many"], USAGE, "`many` is not a number of versions"),
        (["gc", "--grace", "long"], USAGE, "for instance 90m"),
        (["gc", "--force"], USAGE, "`--force` is not an option of 7lbd image gc"),
    ],
)
def test_what_makes_no_sense_is_refused(
    verb: Verb, repository: Repository, words: list[str], code: int, says: str
) -> None:
    assert says in verb(*words, code=code)
    assert repository.versions("win") == ["1", "2"]
    assert not (repository.path / "win" / "current").is_symlink()


def test_who_may_not_write_is_told(verb: Verb, repository: Repository) -> None:
    verb("publish", "win@1")
    (repository.path / "win").chmod(0o555)
    (repository.path / "win" / ".lock").chmod(0o444)
    for words in (["publish", "win@2"], ["rm", "win@2"]):
        assert "cannot be changed: Permission denied" in verb(*words, code=RESOURCES)
    repository.path.chmod(0o555)
    assert "no repository that" in verb("gc", code=RESOURCES)
    assert repository.current("win") == "1"
