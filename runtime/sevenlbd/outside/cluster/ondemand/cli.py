"""`7lbd render ondemand`: the words of the command line, and what it says when it is done."""

from __future__ import annotations

from pathlib import Path

from .... import __version__
from ....errors import ExitCode, Refusal
from ....paths import user_path
from ... import cli, terminal
from ...command import Command, CommandContext
from .. import program, site
from . import app, placing, table


def _render(context: CommandContext) -> int:
    found = site.read(context.here)
    for trouble in table.amiss(found.ondemand, context.settings):
        where = found.file or "7lbd.toml beside the SIF"
        raise Refusal(ExitCode.USAGE, trouble, hint=f"mend it in the site's file ({where}), then render again")
    sif = program.sif(found.slurm, context.here)
    folder = user_path(context.options.folder)
    made = app.compose(found, context.settings, sif, placing.read_own(folder))
    outcome = placing.place(folder, made, __version__, force=context.options.force)
    terminal.say_text(_said(folder, outcome, sif))
    for name in outcome.kept:
        terminal.say(f"7lbd: {folder / name} has been changed since it was written, and was left as it is", error=True)
    if outcome.kept:
        own = folder / placing.SITE
        terminal.say(f"  put what you add into {own}/, which is woven in; --force overwrites", error=True)
    return ExitCode.OK


def _said(folder: Path, outcome: placing.Outcome, sif: str) -> str:
    lines = [f"the app is in {folder}; its jobs run {sif}"]
    for name, paths in vars(outcome).items():
        if paths and name != "kept":
            lines.append(f"  {name:9}  {', '.join(paths)}")
    return "\n".join(lines)


def _options(parser: cli.Parser) -> None:
    parser.add_argument("folder", metavar="DIR", help="the app's folder, for instance /var/www/ood/apps/sys/desktop")
    parser.add_argument("--force", action="store_true", help="overwrite files there that somebody has changed, too")


COMMANDS = {"render ondemand": Command(_render, _options)}
