"""What a session that the program itself has started prints with `--json`: read as `json_lines` writes it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import suppress

from ...base.errors import visible


def read(lines: Iterable[bytes]) -> Iterator[dict[str, object] | str]:
    """Each line as an event, or as the words that it is: a refusal before there is a session, say."""
    for line in lines:
        said: object = None
        with suppress(ValueError, RecursionError):
            said = json.loads(line)
        yield said if isinstance(said, dict) else visible(line.decode(errors="replace").strip())
