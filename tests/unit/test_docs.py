"""The docs say what the code does: made tables, the man page, examples, quoted messages and links."""

from __future__ import annotations

import re
import shlex
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import sevenlbd
from reference import pages
from sevenlbd.config import sources
from sevenlbd.config.merging import Source, from_table, load
from sevenlbd.images.description import Description
from sevenlbd.outside.cli import command_line
from sevenlbd.outside.site import site_tables

REPO = Path(__file__).parents[2]
PAGES = [
    *(REPO / page for page in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "tests/README.md")),
    *sorted((REPO / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^( *)```(.*)\n((?:.*\n)*?)^\1```$", re.MULTILINE)
MARKS = {
    "sh run",
    "sh walk",
    "sh elsewhere",
    "console",
    "powershell",
    "text",
    "toml settings",
    "toml site",
    "toml image",
}


def blocks(page: Path) -> list[tuple[str, str]]:
    """Mark and text of every fenced block."""
    return [
        (mark, re.sub(f"^{indent}", "", text, flags=re.M)) for indent, mark, text in BLOCK.findall(page.read_text())
    ]


def each_block(*marks: str) -> list[object]:
    return [
        pytest.param(mark, text, id=f"{page.name}-{number}")
        for page in PAGES
        for number, (mark, text) in enumerate(blocks(page), 1)
        if mark in marks
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_says_what_it_is(page: Path) -> None:
    assert page.read_text().count("```") == 2 * len(blocks(page))
    assert {mark for mark, _ in blocks(page)} <= MARKS
    assert not re.search(r"\n\n {4}[^ \n]", BLOCK.sub("", page.read_text())), "an indented block has no mark"


@pytest.mark.parametrize("path", pages.current(), ids=lambda path: path.name)
def test_what_is_made_from_the_code_is_current(path: Path) -> None:
    assert path.read_text() == pages.current()[path], "stale; run: scripts/make-reference"


def test_the_tables_are_where_the_code_says_they_are() -> None:
    whole = "".join(page.read_text() for page in PAGES)
    assert all(whole.count(f"<!-- made: {name} -->\n|") == 1 for name in pages.BLOCKS)


@pytest.mark.parametrize(("mark", "text"), each_block("sh run", "sh walk", "sh elsewhere"))
def test_shell_examples_are_valid_shell(mark: str, text: str) -> None:
    checked = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr


def called(text: str) -> Iterator[list[str]]:
    """The words of each call of the appliance in a block of shell, variables and all as they are written."""
    for line in text.replace("\\\n", " ").splitlines():
        for words in commands(line):
            while words and (words[0] in ("exec", "srun") or words[0].startswith("--")):
                words.pop(0)
            if words[:2] == ["apptainer", "run"]:
                yield words[[word.endswith("7lbd.sif") for word in words].index(True) + 1 :]
            elif words[:1] == ["7lbd"]:
                yield words[1:]


def commands(line: str) -> Iterator[list[str]]:
    """The words of each command in a line, without operators, redirections and what follows `#`."""
    lexer = shlex.shlex(re.sub(r"\s\d?[<>]+ ?\S+", "", line), posix=True, punctuation_chars=True)
    lexer.wordchars += "$@{}[],+%:^"  # else ends of words
    words: list[str] = []
    for word in lexer:
        if re.fullmatch(r"[|&;()]+", word):
            yield words
            words = []
        elif word != "$@":
            words.append(word)
    yield words


@pytest.mark.parametrize(("mark", "text"), each_block("sh run", "sh walk", "sh elsewhere"))
def test_the_appliance_takes_the_commands_as_they_stand(mark: str, text: str) -> None:
    for words in called(text):
        command_line.parse(words)


def test_commands_are_found_in_all_that_shell_has() -> None:
    text = """7lbd exec --image win11 --keep box & # a comment
seq 9 | 7lbd exec \\
    --parallel 4 -- a --angle
exec 7lbd run --share "work=$PWD" "$@"
srun --mem=9G 7lbd doctor && apptainer run --bind /apps /apps/7lbd.sif render command > 7lbd
apptainer test 7lbd.sif; chmod 755 7lbd
7lbd run --join /dev/fd/3 3<record.json"""
    assert list(called(text)) == [
        ["exec", "--image", "win11", "--keep", "box"],
        ["exec", "--parallel", "4", "--", "a", "--angle"],
        ["run", "--share", "work=$PWD"],
        ["doctor"],
        ["render", "command"],
        ["run", "--join", "/dev/fd/3"],
    ]


@pytest.mark.parametrize(("mark", "text"), each_block("toml settings", "toml site"))
def test_settings_examples_load(mark: str, text: str, tmp_path: Path) -> None:
    if mark == "toml settings":
        load([from_table(tomllib.loads(text), "7lbd.toml", trusted=False)])
        return
    (tmp_path / "7lbd.toml").write_text(text)
    here = sources.look_around({"APPTAINER_CONTAINER": str(tmp_path / "7lbd.sif")})
    sources.settings(here, Source("command line", {}))
    site_tables.read(here)


@pytest.mark.parametrize(("mark", "text"), each_block("toml image"))
def test_image_examples_load(mark: str, text: str) -> None:
    Description.model_validate(tomllib.loads(text))


def test_quoted_messages_are_the_real_ones() -> None:
    source = "\n".join(path.read_text() for path in Path(sevenlbd.__file__).parent.rglob("*.py"))
    table = (REPO / "docs" / "user.md").read_text().partition("| you see |")[2]
    quoted = [message for row in re.findall(r"^\| (`.*?) \|", table, re.M) for message in re.findall(r"`([^`]+)`", row)]
    pieces = [piece.strip(" ,") for message in quoted for piece in message.removeprefix("WARNING: ").split("...")]
    assert len(pieces) > 10
    assert [piece for piece in pieces if piece not in source] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), target
        headings = re.findall(r"^#+ (.*)$", found.read_text(), re.M) if anchor else []
        assert not anchor or anchor in [re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in headings], anchor


def test_pictures_are_small() -> None:
    for picture in (REPO / "docs" / "pictures").iterdir():
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert picture.stat().st_size < 300_000
