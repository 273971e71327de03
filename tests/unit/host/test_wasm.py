"""A WebAssembly module in two parts does what the whole did, wherever the cut is."""

from __future__ import annotations

import itertools
import json
import subprocess

import pytest
from sifbuild import paths, wasm
from sifbuild.wasm import NotSplit, name, sized, vector

# Two signatures; "env.told" is imported; then "sum(a, b)" = told(a) + twice(b) + memory's first byte, and "twice"
# counts its calls in a global and asks the function in the table for the double of its number.
TYPES = vector([b"\x60\x01\x7f\x01\x7f", b"\x60\x02\x7f\x7f\x01\x7f"])
SUM = b"\x20\x00\x10\x00" + b"\x20\x01\x10\x02\x6a" + b"\x41\x00\x2d\x00\x00\x6a\x0b"
TWICE = b"\x23\x00\x41\x01\x6a\x24\x00" + b"\x20\x00\x41\x00\x11\x00\x00\x0b"
DOUBLE = b"\x20\x00\x20\x00\x6a\x0b"
WHOLE = wasm.Module(
    {
        wasm.TYPE: TYPES,
        wasm.IMPORT: vector([name("env") + name("told") + b"\0\0"]),
        wasm.FUNCTION: vector([b"\1", b"\0", b"\0"]),
        wasm.TABLE: vector([b"\x70\0\1"]),
        wasm.MEMORY: vector([b"\0\1"]),
        wasm.GLOBAL: vector([b"\x7f\1\x41\0\x0b"]),
        wasm.EXPORT: vector([name("sum") + b"\0\1", name("calls") + b"\3\0"]),
        wasm.ELEMENT: vector([b"\0\x41\0\x0b\1\3"]),
        wasm.CODE: vector([sized(b"\0" + body) for body in (SUM, TWICE, DOUBLE)]),
        wasm.DATA: vector([b"\0\x41\0\x0b\1\5"]),
    }
).encoded()
USE = """
const [module, first, rest, whole] = process.argv.slice(1);
Object.assign(globalThis, {
  CLIENT_FILE: "first", CLIENT_BYTES: 1, CLIENT_REST: "rest",
  history: { state: whole ? { whole: true } : null, replaceState(state) { this.state = state; } },
});
let fetched = 0;
globalThis.fetch = async () => {
  fetched++;
  return new Response(Buffer.from(rest, "hex"), { headers: { "Content-Type": "application/wasm" } });
};
const { clientParts, CutOff } = await import(module);
const made = await clientParts.instantiate(Buffer.from(first, "hex"), { env: { told: (number) => number * 100 } });
const { sum, calls } = made.instance.exports;
try {
  console.log(JSON.stringify([sum(3, 4), sum(1, 1), calls.value, fetched]));
} catch (error) {
  console.log(JSON.stringify([error instanceof CutOff, history.state, fetched]));
}
"""


@pytest.mark.parametrize(
    "hot", [set(hot) for count in range(4) for hot in itertools.combinations(range(3), count)], ids=str
)
def test_both_parts_together_do_what_the_whole_does(hot: set[int]) -> None:
    # The rest is fetched once.
    assert used(hot, "whole") == [313, 107, 2, 1]


@pytest.mark.parametrize("hot", [set[int](), {0}, {0, 1, 2}], ids=str)
def test_a_call_of_what_is_not_there_yet_holds_no_page_and_asks_for_one_that_has_it(hot: set[int]) -> None:
    """A page that is held shows nothing and hears nothing, on a silent line for minutes."""
    assert used(hot) == ([313, 107, 2, 0] if len(hot) == 3 else [True, {"whole": True}, 0])


def used(hot: set[int], whole: str = "") -> list[object]:
    first, rest = wasm.split(WHOLE, hot)
    module = (paths.WEB / "assets/lib/client-parts.js").as_uri()
    command = ["node", "--input-type=module", "--eval", USE, module, first.hex(), rest.hex(), whole]
    told: list[object] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return told


def test_a_profile_says_what_has_run() -> None:
    script = """
    const imports = { env: { told: (number) => number } };
    const made = await WebAssembly.instantiate(Buffer.from(process.argv[1], "hex"), imports);
    const { sum, f0, f1, f2 } = made.instance.exports;
    const flags = () => [f0, f1, f2].map((flag) => flag.value);
    console.log(JSON.stringify([flags(), sum(1, 2), flags()]));
    """
    command = ["node", "--input-type=module", "--eval", script, wasm.counting(WHOLE).hex()]
    told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert json.loads(told) == [[0, 0, 0], 10, [1, 1, 1]]


def test_numbers_are_kept_as_ranges() -> None:
    assert wasm.ranged({3, 0, 1, 2, 9}) == "0-3 9"
    assert wasm.unranged("0-3 9") == {0, 1, 2, 3, 9}
    assert wasm.unranged(wasm.ranged(())) == set()


def test_what_it_cannot_cut_is_refused() -> None:
    module = wasm.Module.read(WHOLE)
    for section, content, why in (
        (wasm.START, b"\1", "runs something"),
        (wasm.IMPORT, vector([name("a") + name("b") + b"\2\0\1"]), "more than functions"),
        (wasm.MEMORY, vector([b"\3\1\2"]), "shared"),
        (wasm.GLOBAL, vector([b"\x7f\1\x23\0\x0b"]), "plain numbers"),
        (wasm.ELEMENT, vector([b"\4\x41\0\x0b\1\xd2\1\x0b"]), "another kind"),
        (wasm.TYPE, vector([b"\x5f\0"]), "no functions"),
    ):
        with pytest.raises(NotSplit, match=why):
            wasm.split(wasm.Module({**module.sections, section: content}).encoded(), {0})
    with pytest.raises(NotSplit, match="no WebAssembly"):
        wasm.split(b"\x7fELF\1\0\0\0", ())
    with pytest.raises(NotSplit, match="too early"):
        wasm.split(WHOLE[:-3], ())


def test_names_and_producers_are_not_sent() -> None:
    custom = b"\0" + sized(name("producers") + b"rustc")
    assert wasm.split(WHOLE + custom, {0}) == wasm.split(WHOLE, {0})
