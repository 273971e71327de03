"""What imports what in the runtime, read from its source: modules, packages, closures and circles."""

from __future__ import annotations

import ast
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import sevenlbd

ROOT = Path(sevenlbd.__file__).parent


@dataclass(frozen=True)
class Import:
    """One module that another imports; `lazy` when a function does it, as it runs."""

    target: str
    lazy: bool


def modules() -> dict[str, Path]:
    """Every module by its dotted name below `sevenlbd`; a package is called as its folder."""
    return {_dotted(path): path for path in sorted(ROOT.rglob("*.py"))}


def packages(known: Iterable[str]) -> set[str]:
    """The packages among the modules, but for the root."""
    return {name.rpartition(".")[0] for name in known if "." in name} - {""}


def _dotted(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix("__init__").rstrip(".")


def graph(*, types: bool = False) -> dict[str, list[Import]]:
    """What each module imports of ours; what it needs for its types alone only on request, as that is not loaded."""
    known = modules()
    return {name: list(_imports(name, path, known, types)) for name, path in known.items()}


def _imports(name: str, path: Path, known: Mapping[str, Path], types: bool) -> Iterator[Import]:
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    tree = ast.parse(path.read_text())
    for node, lazy in _statements(tree, types, lazy=False):
        for target in _targets(node, package, known):
            yield Import(target, lazy)


def _statements(tree: ast.AST, types: bool, *, lazy: bool) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, lazy
        elif types or not (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            yield from _statements(node, types, lazy=lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def _targets(node: ast.Import | ast.ImportFrom, package: list[str], known: Mapping[str, Path]) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name.removeprefix("sevenlbd.") for alias in node.names if alias.name.startswith("sevenlbd."))
        return
    if node.level:
        base = [*package[: len(package) - node.level + 1], *(node.module or "").split(".")]
    elif (node.module or "").partition(".")[0] == "sevenlbd":
        base = (node.module or "").split(".")[1:]
    else:
        return
    where = ".".join(filter(None, base))
    for alias in node.names:
        whole = f"{where}.{alias.name}".lstrip(".")
        yield whole if whole in known else where


def closure(
    entries: Iterable[str], imports: Mapping[str, list[Import]], follow: Callable[[str, Import], bool]
) -> dict[str, str]:
    """Every module that is loaded with the entries, each with the one that brought it (an entry: none)."""
    brought = dict.fromkeys(entries, "")
    left = deque(brought)
    while left:
        name = left.popleft()
        for one in imports[name]:
            if one.target not in brought and follow(name, one):
                brought[one.target] = name
                left.append(one.target)
    return brought


def chain(name: str, brought: Mapping[str, str]) -> str:
    """How a module came in: `entry -> ... -> name`."""
    steps = [name]
    while brought[steps[-1]]:
        steps.append(brought[steps[-1]])
    return " -> ".join(reversed(steps))


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """The shortest circle through each node that is on one, each circle once."""
    found: dict[frozenset[str], list[str]] = {}
    for start in edges:
        way = _way_back(start, edges)
        if way:
            found.setdefault(frozenset(way), way)
    return list(found.values())


def _way_back(start: str, edges: Mapping[str, set[str]]) -> list[str]:
    came: dict[str, str] = {}
    left = deque([start])
    while left:
        name = left.popleft()
        for target in sorted(edges.get(name, ())):
            if target == start:
                way = [name]
                while way[-1] != start:
                    way.append(came[way[-1]])
                return way[::-1]
            if target not in came:
                came[target] = name
                left.append(target)
    return []
