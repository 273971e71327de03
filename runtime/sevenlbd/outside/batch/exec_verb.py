"""What `exec` takes, and what it does where the machine is another's: `--session` and `--parallel`."""

from __future__ import annotations

from collections.abc import Mapping

from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options

_GROUPS: Mapping[str, tuple[str, ...]] = {
    "the machine": (
        *("image", "image_dirs", "image_cache", "image_cache_quota", "image_cache_rate", "warm"),
        *("memory", "cpus", "cpu_model", "accel", "timezone", "network", "network_rate", "egress"),
    ),
    "the node": (
        *("background", "background_memory", "time_limit", "ready_timeout", "stop_grace"),
        *("name", "session_dir", "min_space", "state_dir", "json_events"),
    ),
    "more files": ("shares", "home_share", "cached_shares", "protect_dot_files"),
}


EXIT_CODES: Mapping[str, str] = {
    "123": "of a list (--parallel): some commands failed",
    "124": "it was not done within --timeout",
    "125": "ours: no such image, no room, the machine did not start or died, a file could not be copied",
    "126": "the program cannot be run",
    "127": "there is no such program",
    "128+N": "it ended by signal N (Linux); 130 and 143 also when we were interrupted before it began",
}
"""Beside the command's own: what docs/exec.md says more of, and `OwnCode` has."""


def _options(parser: Parser) -> None:
    parser.usage = "%(prog)s [OPTION ...] -- COMMAND [ARGUMENT ...]"
    codes = "\n".join(f"  {code:>5}  {meaning}" for code, meaning in EXIT_CODES.items())
    parser.epilog = f"exit codes: the command's own, and\n{codes}"
    job = parser.add_argument_group("the command, which stands behind `--`")
    job.add_argument(
        "--env", metavar="NAME=VALUE", action="append", default=[], help="a variable for it; may be given several times"
    )
    job.add_argument(
        "--shell",
        nargs=2,
        metavar=("SHELL", "FILE"),
        help="run a script: powershell, cmd or sh, and its file; what stands behind `--` are its arguments",
    )
    desktop = (
        "give it the account's visible desktop, for a program that draws windows to be seen (image.toml: exec_desktop)"
    )
    job.add_argument("--desktop", action="store_true", help=desktop)
    job.add_argument("--timeout", metavar="DURATION", help="end it after this time, and with exit code 124")
    job.add_argument("--no-stdin", action="store_true", help="do not hand our standard input on to it")
    apart = "copy this file or folder into a folder of the session's, where it works instead of in your current one"
    job.add_argument("--input", metavar="FILE", action="append", default=[], help=apart)
    back = (
        "copy such files back from there into your current folder (of a list, into --results); * and ** as in a shell"
    )
    job.add_argument("--output", metavar="GLOB", action="append", default=[], help=back)
    several = parser.add_argument_group("one machine for several commands")
    several.add_argument(
        "--keep", metavar="ID", default="", help="let the machine stay when it has ended: 7lbd stop ID"
    )
    several.add_argument("--session", metavar="ID", default="", help="run it in a machine that was kept")
    several.add_argument("--parallel", metavar="N", default="", help="run a list of commands in so many machines")
    listed = "the list: a command a line, behind the words that follow `--`; - is standard input (default: -)"
    several.add_argument("--list", metavar="FILE", default="-", help=listed)
    results = "folder for what each prints and brings back, and the table of all (default: exec-results)"
    several.add_argument("--results", metavar="DIR", default="exec-results", help=results)
    again = "how often one that fails is run again (default: 0); one whose machine is lost is, once, in any case"
    several.add_argument("--retries", metavar="N", default="0", help=again)
    several.add_argument("--fresh", action="store_true", help="a new machine for each command of the list")
    for title, names in _GROUPS.items():
        options(parser.add_argument_group(title), *names)
    parser.set_defaults(form="", join="", goes_on=False, acceptance=False, copy=False, passphrase=False, command=())


def call(context: CommandContext) -> int:
    """`exec` in a machine that is there already, or in several. Raises Refusal."""
    if context.options.parallel:
        from . import many

        return many.run(context)
    from . import in_session

    return in_session.run(context)


COMMANDS = {"exec": Command(call, _options)}
