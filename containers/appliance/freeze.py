"""Puts the code of all modules that our processes load into one file, /usr/lib/7lbd/frozen. Runs in %post.

sevenlbd/start.py says why, and reads it. What a start loads comes first, in its order: then it is read in one go.
"""

import builtins
import dataclasses
import importlib
import marshal
import pkgutil
import sys
from collections import defaultdict
from collections.abc import Mapping
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from pathlib import Path
from types import ModuleType

from sevenlbd import start
from sevenlbd.start import Index, Made

PACKAGE = f"{start.HERE}/{start.OURS}"
# From the command line to a running machine: supervisor, its checker, keeper, its builder; then who serves it.
START = (
    "__main__",
    "outside.session.launch",
    "config.sources",
    "outside.cli.command_line",
    "outside.session.preflight.prepare",
    "outside.session.keeper_link",
    "outside.session.supervisor",
    "outside.console.display",
    "inside.__main__",
    "inside.keeper",
    "inside.setup",
    "inside.gateway.__main__",
)


class Recorder:
    """Stands in for exec() in dataclasses(3), and remembers by module what it compiled."""

    def __init__(self) -> None:
        self.made: defaultdict[str, Made] = defaultdict(dict)

    def execute(self, text: str, module: dict[str, object], names: Mapping[str, object]) -> None:
        code = compile(text, "<string>", "exec", dont_inherit=True)
        self.made[str(module.get("__name__"))][text] = code
        builtins.exec(code, module, names)


def main() -> None:
    recorder = Recorder()
    dataclasses.exec = recorder.execute  # type: ignore[attr-defined]  # found there before the built-in
    for name in START:
        importlib.import_module(f"sevenlbd.{name}")
    loaded = list(sys.modules)
    # Of ours all, because other verbs shall be quick, too; other people's libraries are too much for that.
    loaded += [found.name for found in pkgutil.walk_packages([PACKAGE], "sevenlbd.") if found.name not in sys.modules]
    modules = {name: importlib.import_module(name) for name in loaded}
    Path(start.FROZEN).write_bytes(packed(*laid_out(modules, recorder)))


def laid_out(modules: Mapping[str, ModuleType], recorder: Recorder) -> tuple[Index, bytes]:
    """The file's index and what it points into; `modules` in the order in which they were loaded."""
    index: Index = {}
    body = bytearray()
    for name, module in modules.items():
        spec = module.__spec__
        if name == "__main__" or spec is None or spec.name != name or not spec.has_location:
            continue
        code = _code(spec, recorder)
        index[name] = (str(spec.origin), spec.submodule_search_locations is not None, len(body), len(code))
        body += code
    return index, bytes(body)


def packed(index: Index, body: bytes) -> bytes:
    """The file."""
    head = marshal.dumps(index)
    return len(head).to_bytes(start.LENGTH_BYTES) + head + body


def _code(spec: ModuleSpec, recorder: Recorder) -> bytes:
    """A module's code with what dataclasses(3) adds to it; nothing for a library."""
    if isinstance(spec.loader, ExtensionFileLoader):
        return b""
    assert isinstance(spec.loader, importlib.machinery.SourceFileLoader), spec
    return marshal.dumps((spec.loader.get_code(spec.name), recorder.made[spec.name]))


if __name__ == "__main__":
    main()
