"""Processes of ours find their modules' code in one file, and all else as ever."""

from __future__ import annotations

import builtins
import importlib
import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType, ModuleType

import pytest
from sevenlbd import start
from sevenlbd.base import process

REPO = Path(__file__).parents[2]
SHIPPED = Path(start.FROZEN)

SOURCE = '''
"""A module."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Point:
    x: int
    y: int = 7

def fails():
    raise ValueError("here")
'''


@pytest.fixture
def freeze(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("freeze", REPO / "containers" / "appliance" / "freeze.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def finder(freeze: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[start.Finder]:
    """Has a frozen package `kept`, whose files are still there; `kept.late` is not frozen."""
    package = tmp_path / "kept"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "shapes.py").write_text(SOURCE)
    (package / "late.py").write_text("there = True")
    monkeypatch.syspath_prepend(str(tmp_path))
    recorder = freeze.Recorder()
    with monkeypatch.context() as recording:
        recording.setattr("dataclasses.exec", recorder.execute, raising=False)
        modules = {name: importlib.import_module(name) for name in ("kept", "kept.shapes")}
        whole = freeze.packed(*freeze.laid_out(modules, recorder))
    for name in modules:
        del sys.modules[name]
    (tmp_path / "frozen").write_bytes(whole)
    finder = start.Finder(str(tmp_path / "frozen"))
    monkeypatch.setattr("sys.meta_path", [finder, *sys.meta_path])
    monkeypatch.setattr("dataclasses.exec", finder.execute, raising=False)
    yield finder
    for name in [name for name in sys.modules if name.partition(".")[0] == "kept"]:
        del sys.modules[name]


@pytest.fixture
def found(finder: start.Finder) -> Callable[[str], ModuleType]:
    return importlib.import_module


def test_a_class_is_made_of_what_was_compiled_before(
    found: Callable[[str], ModuleType], monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[object] = []
    real = builtins.exec

    def watched(code: CodeType, *names: dict[str, object]) -> None:
        given.append(code)
        real(code, *names)

    with monkeypatch.context() as watching:
        watching.setattr("builtins.exec", watched)
        shapes = found("kept.shapes")
    made = [code for code in given if isinstance(code, CodeType) and "__create_fn__" in code.co_names]
    assert made
    assert not [text for text in given if isinstance(text, str)]
    point = shapes.Point(1)
    assert (point, repr(point), hash(point)) == (shapes.Point(1, 7), "Point(x=1, y=7)", hash((1, 7)))
    with pytest.raises(AttributeError):
        point.x = 2


def test_a_class_that_is_made_anew_is_compiled(found: Callable[[str], ModuleType]) -> None:
    shapes = found("kept.shapes")
    from dataclasses import make_dataclass

    assert make_dataclass("Line", ["begin", "end"], module=shapes.__name__)(1, 2).end == 2


def test_a_fault_shows_its_line_and_a_module_its_files(found: Callable[[str], ModuleType]) -> None:
    from importlib.resources import files
    from inspect import getsource
    from traceback import format_exception

    shapes = found("kept.shapes")
    with pytest.raises(ValueError, match="here") as failed:
        shapes.fails()
    assert 'raise ValueError("here")' in "".join(format_exception(failed.value))
    assert "y: int = 7" in getsource(shapes.Point)
    assert files("kept").joinpath("late.py").read_text() == "there = True"


def test_what_is_not_frozen_is_found_as_ever(found: Callable[[str], ModuleType]) -> None:
    assert found("kept.late").there
    with pytest.raises(ModuleNotFoundError):
        found("kept.nothing")


def test_a_package_that_is_forgotten_comes_from_its_files(finder: start.Finder, tmp_path: Path) -> None:
    """As a tree that is mounted over the SIF's does."""
    finder.forget("kept")
    (tmp_path / "kept" / "shapes.py").write_text("changed = True")
    importlib.invalidate_caches()
    assert importlib.import_module("kept.shapes").changed


def test_a_file_that_goes_is_told_as_such(found: Callable[[str], ModuleType], tmp_path: Path) -> None:
    (tmp_path / "frozen").unlink()
    with pytest.raises(FileNotFoundError):
        found("kept.shapes")


_LOADED = """
import sys
from sevenlbd import start
start.prepare(holds=%s)
import importlib
for name in %r:
    importlib.import_module(name)
import os
print(*(name for name, module in sys.modules.items()
    if type(module.__loader__).__name__ == "SourceFileLoader"))
print(*(os.readlink(f"/proc/self/fd/{number}") for number in os.listdir("/proc/self/fd") if int(number) > 2
    and os.path.exists(f"/proc/self/fd/{number}")))
"""


def loaded(*names: str, holds: bool = False) -> tuple[set[str], str]:
    """What of these modules' closure was not in the one file, and the open files, in an interpreter of its own."""
    code = f"import sys; sys.path.append({start.HERE!r})" + _LOADED % (holds, names)
    done = subprocess.run([sys.executable, "-IS", "-c", code], capture_output=True, text=True, check=True)
    missed, files = done.stdout.splitlines()
    return set(missed.split()), files


def test_all_that_a_start_loads_lies_in_the_one_file() -> None:
    names = [f"sevenlbd.{name}" for name in ("outside.session.supervisor", "outside.session.preflight.prepare")]
    missed, _ = loaded("sevenlbd.inside.keeper", "sevenlbd.inside.setup", *names)
    # Before the file is open; and ours are a mounted tree's here, where that is tested.
    assert {name for name in missed if name.partition(".")[0] not in ("encodings", "linecache", "sevenlbd")} == set()


def test_only_who_must_be_quick_holds_it_open() -> None:
    assert loaded("json")[1] == ""
    assert loaded("json", holds=True)[1] == start.FROZEN


def test_a_process_runs_as_the_program_that_its_module_is() -> None:
    done = process.run(process.python("sevenlbd", "version"))
    assert (done.code, done.said) == (0, "")
    assert done.printed.startswith("7lbd ")


def test_what_has_lost_its_disk_says_so_and_not_that_its_bytes_make_no_sense(
    finder: start.Finder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its reader may get fewer bytes than it asked for, instead of an error."""
    read = os.pread
    monkeypatch.setattr(os, "pread", lambda file, size, begin: read(file, size, begin)[: size // 2])
    with pytest.raises(OSError, match="Input/output error"):
        finder.code("kept.shapes")
    with pytest.raises(OSError, match="Input/output error"):
        start.Finder(finder._path)


def test_a_helper_whose_sif_has_just_gone_says_one_line(tmp_path: Path) -> None:
    program = tmp_path / "start.py"
    program.write_text(Path(start.__file__).read_text().replace(f'"{start.HERE}"', f'"{tmp_path}"'))
    code = (
        "import os, runpy, sys; sys.argv = sys.argv[1:]; file = sys.argv[0]; text = open(file).read();"
        "code = compile(text, file, 'exec'); os.unlink(file);"
        "exec(code, {'__name__': '__main__', '__file__': file})"
    )
    call = [sys.executable, "-IS", "-c", code, str(program), "sevenlbd.inside.gateway"]
    done = subprocess.run(call, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (1, "sevenlbd.inside.gateway: the SIF that it is in has gone\n")
