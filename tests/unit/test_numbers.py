"""Beside every number that something is tuned by stands why it is that one, what it counts, or where it comes from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator

import imports
import pytest

MODULES = imports.modules()
_NAME = re.compile(r"_*[A-Z][A-Z0-9_]*")
# What speaks to a linter or a type checker is no reason.
_REASON = re.compile(r"#(?!\s*(?:noqa|type:|fmt:|pragma))\s*\S")


def is_number(value: ast.expr) -> bool:
    """Whether it is a number, an arithmetic with one, or several of them together."""
    match value:
        case ast.Constant(value=bool()):
            return False
        case ast.Constant(value=int() | float()):
            return True
        case ast.UnaryOp(operand=operand):
            return is_number(operand)
        case ast.BinOp(left=left, right=right):
            return (is_number(left) or is_number(right)) and all(map(_may_be_number, (left, right)))
        case ast.Tuple(elts=several) | ast.List(elts=several) | ast.Set(elts=several):
            return bool(several) and all(map(is_number, several))
        case ast.Call(func=ast.Name(id="range" | "frozenset" | "int" | "float"), args=several):
            return any(map(is_number, several))
    return False


def _may_be_number(value: ast.expr) -> bool:
    if isinstance(value, ast.BinOp):
        return _may_be_number(value.left) and _may_be_number(value.right)
    return is_number(value) or isinstance(value, ast.Name | ast.Attribute)


def numbers(source: str) -> Iterator[tuple[int, str, bool]]:
    """The numeric constants of a module: line, names, and whether a reason stands beside them."""
    body, lines = ast.parse(source).body, source.splitlines()
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.Assign):
            targets = statement.targets
        elif isinstance(statement, ast.AnnAssign):
            targets = [statement.target]
        else:
            continue
        names = [name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)]
        if statement.value and is_number(statement.value) and any(map(_NAME.fullmatch, names)):
            yield statement.lineno, ", ".join(names), _is_explained(statement, following, lines)


def _is_explained(statement: ast.stmt, following: ast.stmt | None, lines: list[str]) -> bool:
    """By a comment on its lines or right above, by one at the head of its paragraph, or by a string right after it."""
    assert statement.end_lineno
    first = statement.lineno - 1
    if any(map(_REASON.search, lines[first : statement.end_lineno])) or (first and _REASON.match(lines[first - 1])):
        return True
    match following:
        case ast.Expr(value=ast.Constant(value=str())) if following.lineno == statement.end_lineno + 1:
            return True
    while first and lines[first - 1].strip():
        first -= 1
    return bool(_REASON.match(lines[first]))


@pytest.mark.parametrize("module", sorted(MODULES))
def test_every_number_has_its_reason_or_its_source_beside_it(module: str) -> None:
    path = MODULES[module]
    bare = [f"{path.name}:{line}: {names}" for line, names, explained in numbers(path.read_text()) if not explained]
    assert not bare, f"say in a comment why it is this number, of what, or where it comes from: {'; '.join(bare)}"


@pytest.mark.parametrize(
    "source",
    [
        "_MOST = 4  # a guess: two are usual",
        "# seconds; a user waits\n_PAUSE = 0.5",
        "MOST = 4\n'''How many there may be.'''",
        "# <linux/landlock.h>\n_READ_FILE = 1 << 2\n_READ_DIR = 1 << 3",
        "_MOST = (\n    4,  # of the one\n    5,\n)",
    ],
)
def test_a_reason_is_seen(source: str) -> None:
    assert [explained for *_, explained in numbers(source)][-1]


@pytest.mark.parametrize(
    "source",
    [
        "_MOST = 4",
        "_MOST: int = 4",
        "_A, _B = 1, 2",
        "_MOST = 4 << _SHIFT",
        "_MOST = {1, 2}",
        "_PORTS = range(1, 100)",
        "_MOST = 4  # noqa: X001",
        "# seconds; a user waits\n\n_MOST = 4",
        "_NAME = 'name'\n# seconds; a user waits\n_PAUSE = 0.5\n_MOST = 4",
    ],
)
def test_a_number_without_one_is_found(source: str) -> None:
    assert [explained for *_, explained in numbers(source)][-1:] == [False]
