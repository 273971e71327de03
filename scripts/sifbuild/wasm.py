"""A WebAssembly module in two: what nearly every visit runs comes first, the rest when there is time for it.

Both parts have all functions, under the numbers that they had, so no instruction is read or changed: a function that is
in the other part is a few instructions that call it there, through a table that the parts share. Before the rest is
there, the first part asks for it by slot 0. The format: WebAssembly Core Specification, 5.4 (code) and 5.5 (modules).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

HEADER = b"\0asm\1\0\0\0"
TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = (
    *range(1, 5),  # 5.5.2: the sections' numbers
    *range(5, 13),
)
ORDER = (TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, DATA_COUNT, CODE, DATA)
KINDS = {TABLE: 1, MEMORY: 2, GLOBAL: 3}  # 5.5.5, 5.5.10: of imports and exports
I32, FUNCREF, MUTABLE = b"\x7f", b"\x70", b"\1"
IF, END, CALL_INDIRECT, LOCAL_GET, GLOBAL_GET, GLOBAL_SET, CONST = (
    b"\x04\x40",
    b"\x0b",
    b"\x11",
    b"\x20",
    b"\x23",
    b"\x24",
    b"\x41",
)
SHARED = "7lbd"
"""The module by whose name the second part imports what the first one exports; and how those names begin."""
APART = f"{SHARED}-apart"
"""The first part's global that is 1 for as long as it is alone."""
SLOTS = f"{SHARED}-slots"
"""The table that both share."""


class NotSplit(Exception):
    """Why this module cannot be taken apart."""


def unsigned(value: int) -> bytes:
    """LEB128 (5.2.2)."""
    made = bytearray()
    while True:
        value, low = value >> 7, value & 0x7F
        made.append(low | (0x80 if value else 0))
        if not value:
            return bytes(made)


def signed(value: int) -> bytes:
    """LEB128 of a number from 0 on whose highest bit is a sign."""
    made = bytearray(unsigned(value))
    if made[-1] & 0x40:
        made[-1] |= 0x80
        made.append(0)
    return bytes(made)


class Reader:
    """Goes through bytes."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self.data, self.at = data, at

    def take(self, count: int) -> bytes:
        """The next bytes."""
        self.at += count
        if self.at > len(self.data):
            raise NotSplit("it ends too early")
        return self.data[self.at - count : self.at]

    def number(self) -> int:
        """The next unsigned number."""
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    def name(self) -> bytes:
        """The next vector of bytes."""
        return self.take(self.number())


def vector(items: Sequence[bytes]) -> bytes:
    return unsigned(len(items)) + b"".join(items)


def sized(body: bytes) -> bytes:
    return unsigned(len(body)) + body


def name(text: str) -> bytes:
    return sized(text.encode())


class Signature(NamedTuple):
    """What a function takes and gives, encoded, and how many it takes."""

    encoded: bytes
    takes: int


@dataclass
class Module:
    """A module, by its sections; custom ones (names, producers) are left out, as they say nothing to a browser."""

    sections: dict[int, bytes]

    @classmethod
    def read(cls, data: bytes) -> Module:
        """Raises NotSplit."""
        reader = Reader(data)
        if reader.take(len(HEADER)) != HEADER:
            raise NotSplit("it is no WebAssembly")
        sections: dict[int, bytes] = {}
        while reader.at < len(data):
            number, body = reader.take(1)[0], reader.name()
            if number:
                sections[number] = body
        return cls(sections)

    def encoded(self) -> bytes:
        """The module as a file."""
        made = [bytes([number]) + sized(self.sections[number]) for number in ORDER if number in self.sections]
        return HEADER + b"".join(made)

    def items(self, section: int, one: Callable[[Reader], object]) -> list[bytes]:
        """What stands in a section, each as it is encoded; `one` reads past one."""
        reader, found = Reader(self.sections.get(section, b"\0")), []
        for _ in range(reader.number()):
            begin = reader.at
            one(reader)
            found.append(reader.data[begin : reader.at])
        return found

    def bodies(self) -> list[bytes]:
        """The code of each function, without its size."""
        reader = Reader(self.sections[CODE])
        return [reader.name() for _ in range(reader.number())]

    def types(self) -> list[Signature]:
        """All signatures."""
        return [Signature(item, Reader(item, 1).number()) for item in self.items(TYPE, _past_type)]

    def type_numbers(self) -> list[int]:
        """The signature of each function of its own."""
        reader = Reader(self.sections[FUNCTION])
        return [reader.number() for _ in range(reader.number())]

    def imported(self) -> int:
        """How many functions are imported: these have the first numbers."""
        found = self.items(IMPORT, _past_import)
        for item in found:
            reader = Reader(item)
            reader.name(), reader.name()
            if reader.take(1) != b"\0":
                raise NotSplit("it imports more than functions")
        return len(found)

    def extended(self, section: int, items: Sequence[bytes]) -> None:
        """Puts more behind what stands in a section, so that nothing there changes its number."""
        reader = Reader(self.sections.get(section, b"\0"))
        count = reader.number()
        self.sections[section] = unsigned(count + len(items)) + reader.data[reader.at :] + b"".join(items)

    def count(self, section: int) -> int:
        """How many stand in a section."""
        return Reader(self.sections.get(section, b"\0")).number()


def _past_type(reader: Reader) -> None:
    if reader.take(1) != b"\x60":
        raise NotSplit("it has types that are no functions")
    reader.name(), reader.name()  # a byte for each value


def _past_limits(reader: Reader) -> None:
    flags = reader.take(1)[0]
    if flags > 1:
        raise NotSplit("it has a memory that is shared or of 64 bits")
    for _ in range(1 + flags):
        reader.number()


def _past_table(reader: Reader) -> None:
    reader.take(1)
    _past_limits(reader)


def _past_constant(reader: Reader) -> None:
    """An i32.const: all that a global begins with here, and where segments lie."""
    if reader.take(1) != CONST:
        raise NotSplit("it has initial values that are not plain numbers")
    reader.number()
    if reader.take(1) != END:
        raise NotSplit("it has initial values that are more than a number")


def _past_global(reader: Reader) -> None:
    reader.take(2)
    _past_constant(reader)


def _past_import(reader: Reader) -> None:
    reader.name(), reader.name()
    kind = reader.take(1)[0]
    if kind != 0:
        raise NotSplit("it imports more than functions")
    reader.number()


def _functions_of_segment(reader: Reader) -> list[int]:
    """The functions in an element segment (5.5.12)."""
    flags = reader.number()
    if flags not in (0, 2):
        raise NotSplit("it has element segments of another kind")
    if flags == 2:
        reader.number()
    _past_constant(reader)
    if flags == 2:
        reader.take(1)
    return [reader.number() for _ in range(reader.number())]


def split(data: bytes, hot: Collection[int]) -> tuple[bytes, bytes]:
    """Two modules of one: with the functions `hot` (by place in the code), and with the others. Raises NotSplit."""
    whole = Module.read(data)
    if START in whole.sections:
        raise NotSplit("it runs something when it is loaded")
    count = whole.count(FUNCTION)
    first = [number for number in range(count) if number in hot]
    rest = [number for number in range(count) if number not in hot]
    slots = {number: slot for slot, number in enumerate([*first, *rest], 1)}
    return _first(whole, slots, first, rest), _second(whole, slots, first, rest)


def _first(whole: Module, slots: dict[int, int], first: list[int], rest: list[int]) -> bytes:
    made = Module(dict(whole.sections))
    imported, table, apart = whole.imported(), whole.count(TABLE), whole.count(GLOBAL)
    nothing = whole.count(TYPE)
    made.extended(TYPE, [b"\x60\0\0"])
    size = unsigned(len(slots) + 1)
    made.extended(TABLE, [FUNCREF + b"\1" + size + size])
    made.extended(GLOBAL, [I32 + MUTABLE + CONST + signed(1) + END])
    made.extended(
        EXPORT,
        [
            name(label) + bytes([KINDS[section]]) + unsigned(number)
            for label, section, number in shared(whole, table, apart)
        ],
    )
    made.extended(ELEMENT, [_segment(table, 1, [imported + number for number in first])])
    ask = (
        GLOBAL_GET
        + unsigned(apart)
        + IF
        + CONST
        + signed(0)
        + CALL_INDIRECT
        + unsigned(nothing)
        + unsigned(table)
        + END
    )
    _replace(made, whole, rest, slots, ask)
    return made.encoded()


def _second(whole: Module, slots: dict[int, int], first: list[int], rest: list[int]) -> bytes:
    made = Module(dict(whole.sections))
    imported, table = whole.imported(), whole.count(TABLE)
    size = unsigned(len(slots) + 1)
    kinds = {
        TABLE: [*whole.items(TABLE, _past_table), FUNCREF + b"\1" + size + size],
        MEMORY: whole.items(MEMORY, _past_limits),
        GLOBAL: [item[:2] for item in whole.items(GLOBAL, _past_global)],
    }
    imports = [
        name(SHARED) + name(label) + bytes([KINDS[section]]) + kinds[section][number]
        for label, section, number in shared(whole, table, -1)
    ]
    made.extended(IMPORT, imports)
    # What it only borrows it must not make anew; its segments keep their numbers, and lay down nothing.
    for section in (TABLE, MEMORY, GLOBAL, EXPORT):
        made.sections.pop(section, None)
    segments = [_functions_of_segment(Reader(item)) for item in whole.items(ELEMENT, _functions_of_segment)]
    declared = [b"\3\0" + vector([unsigned(number) for number in segment]) for segment in segments]
    made.sections[ELEMENT] = vector(
        [*declared, _segment(table, len(first) + 1, [imported + number for number in rest])]
    )
    made.sections[DATA] = vector([b"\1\0"] * whole.count(DATA))
    _replace(made, whole, first, slots, b"")
    return made.encoded()


def shared(whole: Module, table: int, apart: int) -> Iterator[tuple[str, int, int]]:
    """What the first part exports for the second one: name, section, number. `apart` is for our own script alone."""
    for section, letter in ((TABLE, "t"), (MEMORY, "m"), (GLOBAL, "g")):
        for number in range(whole.count(section)):
            yield f"{SHARED}-{letter}{number}", section, number
    yield SLOTS, TABLE, table
    if apart >= 0:
        yield APART, GLOBAL, apart


def _segment(table: int, offset: int, functions: Iterable[int]) -> bytes:
    """An element segment that fills a table's slots from `offset` on."""
    numbers = [unsigned(number) for number in functions]
    return b"\2" + unsigned(table) + CONST + signed(offset) + END + b"\0" + vector(numbers)


def _replace(made: Module, whole: Module, elsewhere: Collection[int], slots: dict[int, int], ask: bytes) -> None:
    """Puts calls into the other part where the functions `elsewhere` were; `ask` comes before each."""
    types, bodies, table = whole.types(), whole.bodies(), whole.count(TABLE)
    for number, kind in enumerate(whole.type_numbers()):
        if number not in elsewhere:
            continue
        given = b"".join(LOCAL_GET + unsigned(place) for place in range(types[kind].takes))
        call = CONST + signed(slots[number]) + CALL_INDIRECT + unsigned(kind) + unsigned(table)
        bodies[number] = b"\0" + ask + given + call + END
    made.sections[CODE] = vector([sized(body) for body in bodies])


def counting(data: bytes) -> bytes:
    """The module with a global `f0`, `f1` ... for each function, which is 1 when that has run: for a profile."""
    module = Module.read(data)
    first, count = module.count(GLOBAL), module.count(FUNCTION)
    module.extended(GLOBAL, [I32 + MUTABLE + CONST + signed(0) + END] * count)
    module.extended(EXPORT, [name(f"f{number}") + b"\3" + unsigned(first + number) for number in range(count)])
    bodies = module.bodies()
    for number, body in enumerate(bodies):
        reader = Reader(body)
        for _ in range(reader.number()):
            reader.number(), reader.take(1)
        mark = CONST + signed(1) + GLOBAL_SET + unsigned(first + number)
        bodies[number] = body[: reader.at] + mark + body[reader.at :]
    module.sections[CODE] = vector([sized(body) for body in bodies])
    return module.encoded()


def ranged(numbers: Iterable[int]) -> str:
    """Numbers as text that a diff can show: `0-4 7 9-12`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return " ".join(str(begin) if begin == end else f"{begin}-{end}" for begin, end in found)


def unranged(text: str) -> set[int]:
    """The same back again."""
    numbers: set[int] = set()
    for item in text.split():
        begin, _, end = item.partition("-")
        numbers |= set(range(int(begin), int(end or begin) + 1))
    return numbers
