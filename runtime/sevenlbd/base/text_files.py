"""Text files that people write, on whatever system: read whole, bounded; what is no UTF-8 is named for what it is.

Notepad and PowerShell begin UTF-8 with a byte order mark, or write UTF-16. The mark says nothing and is skipped; of
another encoding it is said which one it is, because what a parser says of it helps nobody. Source: Unicode 15, 23.8.
"""

from __future__ import annotations

import codecs
from pathlib import Path

_MOST = 256 * 1024  # bytes; a guess: what people write by hand has some KiB
# UTF-32's mark begins with UTF-16's.
_MARKS = (
    (codecs.BOM_UTF32_LE, "UTF-32"),
    (codecs.BOM_UTF32_BE, "UTF-32"),
    (codecs.BOM_UTF16_LE, "UTF-16"),
    (codecs.BOM_UTF16_BE, "UTF-16"),
)


def read(path: Path, most: int = _MOST) -> str:
    """The text in `path`: a file of a modest size; a pipe or a device would never end. Raises OSError, ValueError."""
    if not path.is_file():
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError("it is far too long")
    return decoded(data)


def decoded(data: bytes) -> str:
    """The text in these bytes, without a mark at its begin and with one kind of line end. Raises ValueError."""
    if other := _other_encoding(data):
        raise ValueError(f"it is {other}, as Notepad and PowerShell can write it: save it again as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"it is not UTF-8 in line {line}: save it again as UTF-8") from None
    return text.replace("\r\n", "\n")


def _other_encoding(data: bytes) -> str:
    for mark, name in _MARKS:
        if data.startswith(mark):
            return name
    # Without a mark, too: text begins with a letter of ASCII, and no text in UTF-8 has zeroes.
    if len(data) > 1 and (not data[0]) != (not data[1]):
        return "UTF-16"
    return ""
