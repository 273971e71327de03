"""A WebAssembly module that wasm-bindgen made, in this process: its memory, its table of references, its closures.

The module computes in its sandbox and reaches nothing but the functions that `imports` gives it. Sources:
wasm-bindgen's guide, and the script that it writes beside a module.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import wasmtime

from . import glue
from .values import UNDEFINED, Function, JsError, Thrown

_REFERENCES = (UNDEFINED, None, True, False)  # what the module expects at the end of its table
_MEMORY = 512 << 20  # bytes; a guess: pictures of 1280x800 take it 30 MB, and a guest sends what it likes
_MASK = (1 << 32) - 1  # addresses come as signed numbers


class WasmClosure:
    """A function of the module's, as JavaScript would have it."""

    def __init__(self, module: WasmModule, export: str, data: int, table: int) -> None:
        self._module, self._export, self._data, self._table = module, export, data, table
        self._held = 1

    def __call__(self, *arguments: Any) -> Any:
        """The module's answer. Raises Thrown; a closure that runs already is called with nothing, which it refuses."""
        data, self._data = self._data, 0
        self._held += 1
        try:
            return self._module.invoke(self._export, data, self._table, arguments)
        finally:
            self._data = data
            self.release()

    def release(self) -> None:
        """One holder less."""
        self._held -= 1
        if not self._held:
            self._module.call("__wbindgen_destroy_closure", self._data, self._table)
            self._data = 0


class WasmModule:
    """One instance. `imports` makes the functions for it: by plain name, given this object and their full name."""

    def __init__(self, folder: Path, name: str, imports: Mapping[str, Callable[[WasmModule, str], Function]]) -> None:
        engine = wasmtime.Engine()
        self._store = wasmtime.Store(engine)
        self._store.set_limits(memory_size=_MEMORY)
        self.glue = glue.read(folder / f"{name}.js")
        self.notes: list[str] = []
        """What it had to say to whoever looks for a fault."""
        module = wasmtime.Module.from_file(engine, str(folder / f"{name}.wasm"))
        linker = wasmtime.Linker(engine)
        for one in module.imports:
            assert one.name is not None
            assert isinstance(one.type, wasmtime.FuncType)
            function = self._import(one.type, imports.get(glue.plain(one.name), absent)(self, one.name))
            linker.define(self._store, one.module, one.name, wasmtime.Func(self._store, one.type, function))
        self._exports = linker.instantiate(self._store, module).exports(self._store)
        self.call("__wbindgen_start")

    def _import(self, kind: wasmtime.FuncType, function: Function) -> Function:
        """The function with its result as the module takes it, and what it throws kept for the module to ask for."""
        results = [str(one) for one in kind.results]

        def called(*arguments: Any) -> Any:
            try:
                answer = function(*arguments)
            except Thrown as error:
                self.call("__wbindgen_exn_store", self.keep(error.value))
                answer = 0
            if not results:
                return None
            if results[0] == "i32":
                return int(answer)
            return float(answer) if results[0] == "f64" else answer

        return called

    def call(self, name: str, *arguments: Any) -> Any:
        """One of the module's functions."""
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        return function(self._store, *arguments)

    def checked(self, name: str, *arguments: Any) -> Any:
        """One that gives an error last, and whether it is one. Raises Thrown."""
        *values, error, failed = self.call(name, *arguments)
        if failed:
            raise Thrown(self.take(error))
        return values[0] if values else None

    def invoke(self, name: str, data: int, table: int, arguments: tuple[Any, ...]) -> Any:
        """A closure's function, with as many arguments as it has. Raises Thrown."""
        function = self._exports[name]
        assert isinstance(function, wasmtime.Func)
        kind = function.type(self._store)
        count = len(kind.params) - 2
        filled = (*arguments, *[UNDEFINED] * count)[:count]
        if kind.results:
            return self.checked(name, data, table, *filled)
        return self.call(name, data, table, *filled)

    def closure(self, name: str, data: int, table: int) -> WasmClosure:
        """The function that the import of this name makes."""
        return WasmClosure(self, self.glue.closures[name], data, table)

    def read(self, address: int, size: int) -> bytes:
        address &= _MASK
        return bytes(self._memory.read(self._store, address, address + (size & _MASK)))

    def write(self, address: int, data: bytes) -> None:
        self._memory.write(self._store, bytearray(data), address & _MASK)

    def text(self, address: int, size: int) -> str:
        return self.read(address, size).decode()

    def put(self, text: str | bytes) -> tuple[int, int]:
        """Address and size of these bytes in memory that the module owns from now on."""
        data = text.encode() if isinstance(text, str) else text
        address = self.call("__wbindgen_malloc", len(data), 1)
        self.write(address, data)
        return address, len(data)

    def answer(self, place: int, text: str | None) -> None:
        """A string, or none, where the module wants its address and size."""
        address, size = (0, 0) if text is None else self.put(text)
        self.write(place, (address & _MASK).to_bytes(4, "little") + size.to_bytes(4, "little"))

    def keep(self, value: Any) -> int:
        """The place of a value in the module's table."""
        place = self.call("__externref_table_alloc")
        self._references.set(self._store, place & _MASK, value)
        return int(place)

    def take(self, place: int) -> Any:
        """The value at a place, which is free then."""
        value = self.look(place)
        self.call("__externref_table_dealloc", place)
        return value

    def look(self, place: int) -> Any:
        value = self._references.get(self._store, place & _MASK)
        return value.value if isinstance(value, wasmtime.Val) else value

    def begin_references(self) -> None:
        """What every module finds in its table."""
        start = self._references.grow(self._store, len(_REFERENCES), None)
        self._references.set(self._store, 0, UNDEFINED)
        for place, value in enumerate(_REFERENCES, start):
            self._references.set(self._store, place, value)

    @property
    def _memory(self) -> wasmtime.Memory:
        memory = self._exports["memory"]
        assert isinstance(memory, wasmtime.Memory)
        return memory

    @property
    def _references(self) -> wasmtime.Table:
        table = self._exports["__wbindgen_externrefs"]
        assert isinstance(table, wasmtime.Table)
        return table


def absent(_module: WasmModule, name: str) -> Function:
    """Something that no connection to a gateway of ours asks for; it is refused when it is called."""

    def refuse(*_arguments: Any) -> Any:
        raise Thrown(JsError(f"{name} is not here"))

    return refuse
