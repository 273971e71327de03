"""Starts a module of ours, as `-m` would: `python3 -IS /usr/lib/7lbd/sevenlbd/start.py MODULE WORD...`

A session starts several interpreters, and each would ask the process that unpacks the SIF for hundreds of files, mostly
for ones that are not there. When the SIF was made, the code of all modules was put into one file, in the order in which
a start loads them. What is not in there is found as ever. Until then each import costs: here is only what every
interpreter has loaded anyway, not even importlib or annotations of __future__.
"""

import builtins
import errno
import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import ExtensionFileLoader, SourceFileLoader, spec_from_file_location

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import CodeType, ModuleType

HERE = "/usr/lib/7lbd"
FROZEN = f"{HERE}/frozen"
# As site and 7lbd.pth have them; to load site takes 5 ms.
PATHS = ("/usr/lib/python3/dist-packages", f"{HERE}/site", HERE)
OURS = "sevenlbd"
# Nobody inside may look into it, and the start waits for it.
_KEEPER = f"{OURS}.inside"
LENGTH_BYTES = 8
"""At the file's head: how long the index is that follows."""
# In sys.meta_path: first what is built in, and what Python itself has frozen.
_PLACE = 2

type Entry = tuple[str, bool, int, int]
"""Where a module's file is, whether it is a package, where its code begins and how long it is: 0 for a library's."""
type Index = dict[str, Entry]
"""By their dotted names."""
type Made = dict[str, "CodeType"]
"""What dataclasses(3) has made up for a module's classes: its text, and that compiled."""


class Finder:
    """Finds the modules that lie in the one file."""

    def __init__(self, path: str = FROZEN, *, holds: bool = False) -> None:
        """`holds` it open, which saves a start 20 ms; else nobody who comes in finds it among the descriptors.

        Raises OSError.
        """
        self._path = path
        self._file = os.open(path, os.O_RDONLY) if holds else None
        size = int.from_bytes(self._read(0, LENGTH_BYTES))
        self._index: Index = marshal.loads(self._read(LENGTH_BYTES, size))
        self._begin = LENGTH_BYTES + size
        self._made: dict[str, Made] = {}

    def forget(self, package: str) -> None:
        """Leave a package to whoever comes after us."""
        self._index = {name: entry for name, entry in self._index.items() if name.partition(".")[0] != package}

    def find_spec(
        self, name: str, path: "Sequence[str] | None" = None, target: "ModuleType | None" = None
    ) -> ModuleSpec | None:
        """As importlib.abc.MetaPathFinder has it."""
        if name not in self._index:
            return None
        origin, is_package, _, size = self._index[name]
        loader = _Loader(self, name, origin) if size else ExtensionFileLoader(name, origin)
        within = [origin.rpartition("/")[0]] if is_package else None
        return spec_from_file_location(name, origin, loader=loader, submodule_search_locations=within)

    def code(self, name: str) -> "CodeType":
        """A module's code. Raises OSError."""
        _, _, begin, size = self._index[name]
        code: CodeType
        code, self._made[name] = marshal.loads(self._read(self._begin + begin, size))
        return code

    def is_loaded(self, name: str) -> None:
        """Let go of what is wanted only until then."""
        self._made.pop(name, None)

    def _read(self, begin: int, size: int) -> bytes:
        file = os.open(self._path, os.O_RDONLY) if self._file is None else self._file
        try:
            data = os.pread(file, size, begin)
        finally:
            if self._file is None:
                os.close(file)
        if len(data) < size:  # what has just lost its disk may say so like this
            raise OSError(errno.EIO, os.strerror(errno.EIO), self._path)
        return data

    def execute(self, text: str, module: dict[str, object], names: dict[str, object]) -> None:
        """exec(), as dataclasses(3) calls it. To compile what it makes up is half of what a module costs."""
        made = self._made.get(str(module.get("__name__")), {})
        builtins.exec(made.get(text, text), module, names)


class _Loader(SourceFileLoader):
    """Has the code from the one file, and all else that a loader is asked for from the module's own."""

    def __init__(self, finder: Finder, name: str, path: str) -> None:
        super().__init__(name, path)
        self._finder = finder

    def get_code(self, fullname: str) -> "CodeType":
        return self._finder.code(fullname)

    def exec_module(self, module: "ModuleType") -> None:
        try:
            super().exec_module(module)
        finally:
            self._finder.is_loaded(self.name)
        if module.__name__ == "dataclasses":
            module.exec = self._finder.execute  # type: ignore[attr-defined]  # found there before the built-in
        if module.__name__ == "typing":
            module.compile = _compiled  # type: ignore[attr-defined]  # the same


_known: "dict[tuple[str, str, str], CodeType]" = {}


def _compiled(text: str, file: str, mode: str) -> "CodeType":
    """compile(), as typing calls it for each annotation that is text: 840 of pydantic's are 220 that differ."""
    key = text, file, mode
    if key not in _known:
        _known[key] = builtins.compile(text, file, mode)
    return _known[key]


def prepare(*, holds: bool) -> None:
    """Make all our modules importable, from the one file if it has them; `holds` as in Finder."""
    sys.path += [path for path in PATHS if path not in sys.path]
    try:
        finder = Finder(holds=holds)
        # Another tree is mounted there for development.
        if os.stat(f"{HERE}/{OURS}").st_dev != os.stat(HERE).st_dev:  # noqa: PTH116
            finder.forget(OURS)
    except OSError:
        return  # the SIF has just gone: whoever imports next is told
    sys.meta_path.insert(_PLACE, finder)


def main() -> None:
    """Run the module that the command line names, as the program."""
    name = sys.argv.pop(1)
    try:
        prepare(holds=name == _KEEPER)
        import runpy

        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except Exception:
        try:
            os.close(os.open(__file__, os.O_RDONLY))
        except OSError:  # the session's own words say more (base/appliance.py)
            sys.exit(f"{name}: the SIF that it is in has gone")
        raise


if __name__ == "__main__":
    main()
