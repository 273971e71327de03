"""python -m tests.fuzz.one PACKAGE,... TARGET [FOLDER|FILE...] [-OPTION...]: one target under libFuzzer, by atheris.

The packages are those whose branches guide the search. What stands behind the target's name goes to libFuzzer. A file
as an argument is tried once, and nothing is made up.
"""

from __future__ import annotations

import sys

import atheris


def main() -> None:
    """Never returns: libFuzzer ends the process."""
    # They must be loaded while they are looked at.
    with atheris.instrument_imports(include=sys.argv.pop(1).split(",")):
        from .all_targets import TARGETS
    target = TARGETS[sys.argv.pop(1)]
    atheris.Setup(sys.argv, target.made())
    atheris.Fuzz()


if __name__ == "__main__":
    main()
