"""The wall shows in the imports: code of one side never imports the other's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import sevenlbd

PACKAGE = Path(sevenlbd.__file__).parent
FORBIDDEN = {
    "outside": {"sevenlbd.inside"},
    "inside": {"sevenlbd.outside", "sevenlbd.images", "sevenlbd.config.settings"},
    "images": {"sevenlbd.inside", "sevenlbd.outside"},
}


def imported(path: Path) -> set[str]:
    """Absolute names of every module that a file imports, at its top or later."""
    package = ["sevenlbd", *path.relative_to(PACKAGE).parts[:-1]]
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("side", FORBIDDEN)
def test_no_side_imports_the_other(side: str) -> None:
    files = list((PACKAGE / side).glob("**/*.py"))
    assert files
    for path in files:
        crossing = {name for name in imported(path) for wall in FORBIDDEN[side] if f"{name}.".startswith(f"{wall}.")}
        assert not crossing, f"{path} crosses the wall"


def test_the_common_ground_imports_no_side() -> None:
    for path in PACKAGE.glob("*.py"):
        if path.name != "__main__.py":
            assert not {name for name in imported(path) if name.startswith(("sevenlbd.inside", "sevenlbd.outside"))}


def test_every_module_says_what_it_is_for() -> None:
    for path in PACKAGE.glob("**/*.py"):
        assert ast.get_docstring(ast.parse(path.read_text())), path
