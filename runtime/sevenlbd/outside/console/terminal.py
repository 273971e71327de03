"""What people read on their terminal and in a job's log: the one place that writes there.

Names, texts and records come from images, guests, disks, other nodes and other users. Each line is one argument here,
and stays one: what a terminal would obey, or what would look like a line of ours, is shown as an escape.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from ...base.errors import visible

# A line may be made of several texts, each of which is bounded.
_LONGEST_LINE = 1 << 20


def say(*lines: str, error: bool = False) -> None:
    """Print lines now. Whoever gathers text hands over its lines apart."""
    write("".join(f"{visible(line, _LONGEST_LINE)}\n" for line in lines), error=error)


def say_text(text: str, *, error: bool = False) -> None:
    """Print a text whose lines we have put together ourselves, of parts that are one line each."""
    say(*text.split("\n"), error=error)


def warn(*texts: str) -> None:
    """Tell what is not as it should be, beside what the verb prints."""
    say(*(f"7lbd: WARNING: {text}" for text in texts), error=True)


def say_json(value: object, indent: int | None = 1) -> None:
    """Print a value for programs: JSON's escapes leave ASCII only."""
    write(json.dumps(value, indent=indent) + "\n")


def write(text: str, *, error: bool = False) -> None:
    """Print what is whole as it is: a file that was asked for, or lines that `say` has made.

    Raises OSError that names where it could not be written, a job's log say.
    """
    stream = sys.stderr if error else sys.stdout
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        raise
    except OSError as trouble:
        raise OSError(trouble.errno, trouble.strerror, output_of(2 if error else 1)) from None


def output_of(number: int) -> str:
    """The name of what a descriptor leads to, for people."""
    try:
        return str(Path(f"/proc/self/fd/{number}").readlink())
    except OSError:
        return "standard output"


def say_on(*lines: str, error: bool = False) -> str:
    """The same while a desktop runs: a reader that has gone, or a job's log on a full disk, must not end it.

    Returns why nothing could be written, or nothing.
    """
    try:
        say(*lines, error=error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2 if error else 1)
    except OSError as trouble:
        return f"{trouble.filename}: {trouble.strerror}"  # what waits in the buffer is printed when there is room
    return ""
