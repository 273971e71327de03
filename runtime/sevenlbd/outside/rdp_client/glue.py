"""What a client's own JavaScript tells of its imports, read from the file that wasm-bindgen wrote beside the module.

Names end in a hash of the build, and only the script says which constructor a `new` is and which function of the
module a closure calls. Read by its regular form; what is not there in it is a client that we do not know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

_HASH = re.compile(r"_[0-9a-f]{16}$")
_IMPORT = re.compile(r"^      (__wb[\w]+): function\(.*?\) \{\n(.*?)^      \},?$", re.MULTILINE | re.DOTALL)
_CLOSURE = re.compile(r"return Z\(A, I, (\w+)\)".replace("Z", r"\w+"))
_CALLER = re.compile(r"^function (\w+)\([\w, ]*\) \{\n.*?\b(wasm_bindgen__convert__closures\w+)\(", re.MULTILINE)
_PROMISE = re.compile(r"return (\w+)\(\w+, \w+\.b, \w+, \w+\)")
_NEW = re.compile(r"new (\w+)\(")


@dataclass(frozen=True)
class Glue:
    """By the names of the module's imports."""

    constructors: dict[str, str] = field(default_factory=dict)
    """What is made: `WebSocket`."""
    closures: dict[str, str] = field(default_factory=dict)
    """The module's function that the closure, or the promise's executor, calls."""


def plain(name: str) -> str:
    """The name of an import without its build's hash."""
    return _HASH.sub("", name)


def read(script: Path) -> Glue:
    """What the script says."""
    text = script.read_text()
    callers = dict(_CALLER.findall(text))
    glue = Glue()
    for name, body in _IMPORT.findall(text):
        found = _CLOSURE.search(body) if "__wbindgen_cast" in name else _PROMISE.search(body)
        if found and found[1] in callers:
            glue.closures[name] = callers[found[1]]
        elif plain(name).startswith("__wbg_new") and (made := _NEW.search(body)):
            glue.constructors[name] = made[1]
    return glue
