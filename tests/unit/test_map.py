"""The map is true: what docs/code.md and its neighbours name is there, and it knows every package and every process."""

from __future__ import annotations

import re
from pathlib import Path

import imports
import pytest
from sevenlbd.outside.cli.verbs import VERBS
from test_walls import GRAPH, PROCESSES, Process

REPO = Path(__file__).parents[2]
CODE = REPO / "docs" / "code.md"
# Where a page's paths begin, beside the repository's root.
PAGES = {
    CODE: REPO / "runtime" / "sevenlbd",
    REPO / "CONTRIBUTING.md": REPO,
    REPO / "tests" / "README.md": REPO / "tests",
}
SOURCES = [path.relative_to(REPO) for top in ("runtime", "scripts", "tests") for path in (REPO / top).rglob("*.py")]
# What tells of modules: all pages, and the runtime's own comments.
TELLING = [*sorted((REPO / "docs").glob("*.md")), *PAGES, REPO / "README.md", *imports.modules().values()]
MOST_WORDS = 1500
_PATH = re.compile(r"`([\w.-]*/[\w./-]*|[\w-]+\.(?:py|md|toml|txt))`")
_MODULE = re.compile(r"(?<![\w/*{}-])((?:\w+/)*\w+\.py)\b")
_COLUMNS = 5


def paths(text: str) -> list[str]:
    """Everything in a text that is written as a path, but for what is built and what is the machine's."""
    return [path for path in _PATH.findall(text) if not path.startswith(("build/", "/", "ws/"))]


def dotted(cell: str) -> set[str]:
    """The modules that a cell of the table names, as the wall's test has them."""
    return {path.removesuffix(".py").strip("/").replace("/", ".") for path in paths(cell)}


def rows() -> dict[str, list[str]]:
    """The table of processes: each line's cells by its first one."""
    table = CODE.read_text().partition("## Processes\n")[2].partition("\n## ")[0]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", table, re.M)]
    return {line[0]: line for line in cells[2:] if len(line) == _COLUMNS}


def flows() -> dict[str, list[str]]:
    """The runtime's modules of each flow, in their order."""
    text = CODE.read_text().partition("## Five flows\n")[2].partition("\n## ")[0]
    told = re.findall(r"^\*\*(.*?)\*\*(.*?)(?=^\*\*|\Z)", text, re.M | re.S)
    return {
        name: [path.removesuffix(".py").replace("/", ".") for path in paths(steps) if path.endswith(".py")]
        for name, steps in told
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPO)))
def test_every_path_that_a_page_names_is_there(page: Path) -> None:
    named = paths(page.read_text())
    assert len(named) > 3
    assert [path for path in named if not any((root / path).exists() for root in (PAGES[page], REPO))] == []


def test_a_module_that_is_named_somewhere_is_called_so() -> None:
    named = {(page.name, name) for page in TELLING for name in _MODULE.findall(page.read_text())}
    known = {"/".join(path.parts[at:]) for path in SOURCES for at in range(len(path.parts))}
    assert {(page, name) for page, name in named if name not in known} == set()


def test_the_map_knows_every_package() -> None:
    table = CODE.read_text().partition("## Packages\n")[2].partition("\n## ")[0]
    listed = dotted("".join(line.split("|")[1] for line in re.findall(r"^\|.*\|$", table, re.M)))
    assert listed == imports.packages(imports.modules())


def test_the_map_has_every_process_and_no_other() -> None:
    assert set(rows()) == set(PROCESSES)


@pytest.mark.parametrize(("name", "process"), PROCESSES.items(), ids=list(PROCESSES))
def test_a_process_of_the_map_may_load_what_the_wall_lets_it(name: str, process: Process) -> None:
    _, entries, may, but, why = rows()[name]
    assert dotted(entries) == set(process.entries)
    assert dotted(may) == set(process.may)
    assert dotted(but) == set(process.but)
    assert why


@pytest.mark.parametrize(("flow", "modules"), flows().items(), ids=list(flows()))
def test_a_flow_hangs_together(flow: str, modules: list[str]) -> None:
    """Each of its modules is where a process or a verb begins, or is needed by another of them."""
    begins = {entry for process in PROCESSES.values() for entry in process.entries}
    begins |= {f"outside.{verb.module}" for verb in VERBS}
    needed = {one.target for name in modules for one in GRAPH[name]}
    assert len(modules) > 5
    assert [name for name in modules if name not in begins | needed] == []


def test_the_map_is_short_enough_to_be_read() -> None:
    assert len(re.findall(r"[^\s|]+", CODE.read_text())) <= MOST_WORDS
