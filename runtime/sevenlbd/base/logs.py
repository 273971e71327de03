"""The programs' own logs: one line a record, whatever was in a name or a message from the guest."""

from __future__ import annotations

import logging

from .errors import visible


class LogLines(logging.Formatter):
    """A record as one line, and what a traceback adds."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(name)s: %(message)s")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's own name
        record.message = visible(record.message)
        return super().formatMessage(record)


def begin(level: int) -> None:
    """From now on records go to the standard error, which is a log file or the job's output."""
    handler = logging.StreamHandler()
    handler.setFormatter(LogLines())
    logging.basicConfig(level=level, handlers=[handler])
