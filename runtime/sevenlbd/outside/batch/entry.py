"""The verb `exec` where it starts its machine: checker and keeper begin before anything slow is loaded, as with `run`.

Whatever fails of ours ends with 125, so that a workflow can tell it from what the command ends with.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...base.errors import ExitCode, Refusal
from ..session.preflight.checker import Checker
from .request import JobRequest
from .verdict import OwnCode

if TYPE_CHECKING:
    from argparse import Namespace

    from ...config.settings import Settings
    from ...config.sources import Places
    from ..job.allocation import Allocation
    from ..session.preflight.prepared import Prepared

_ELSEWHERE = ("--session", "--parallel", "--help", "-h")
"""With these no machine is started here."""


def run(words: Sequence[str], umask: int) -> int:
    """Run one command to its end; returns its exit code, or one of ours."""
    from ..console import terminal

    try:
        if _begins_elsewhere(words):
            from ..cli import dispatch

            return dispatch.run(words, umask)
        checker = Checker(words, umask, _planned)
        import asyncio  # beside the check

        return asyncio.run(_run(checker))
    except Refusal as refusal:
        terminal.say_text(f"7lbd: {refusal}", error=True)
    except KeyboardInterrupt:
        return ExitCode.INTERRUPTED
    except OSError as error:
        terminal.say(f"7lbd: {error.filename or 'this node'}: {error.strerror}", error=True)
    except Exception:
        traceback.print_exc()
    return OwnCode.FAILED


def _begins_elsewhere(words: Sequence[str]) -> bool:
    ours = words[: words.index("--")] if "--" in words else words
    return any(word.partition("=")[0] in _ELSEWHERE for word in ours)


def _planned(
    options: Namespace, chosen: Settings, here: Places, umask: int, job: Allocation | None
) -> tuple[Prepared, JobRequest]:
    """In the checker's fork."""
    from . import planned

    return planned.planned(options, chosen, here, umask, job)


async def _run(checker: Checker) -> int:
    from ..session import keeper_link

    async with keeper_link.started() as link:
        from ..session import supervisor
        from . import sinks
        from .job_display import JobDisplay

        checked = await checker.answer()
        try:
            checked.raise_trouble()
            if checked.prepared is None or not isinstance(checked.more, JobRequest):
                return OwnCode.FAILED if checked.code else ExitCode.OK
            await link.inside()
            display = JobDisplay(checked.prepared, checked.more)
            with display.until_taken():
                display.over(await supervisor.run(link, checked.prepared, display, hear=display.hear))
        except Refusal as refusal:
            if checked.as_json:
                sinks.Json().refused(refusal)
            raise
    return display.exit_code
