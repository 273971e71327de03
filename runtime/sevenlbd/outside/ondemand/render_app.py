"""`7lbd render ondemand`: the words of the command line, and what it says when it is done."""

from __future__ import annotations

from pathlib import Path

from ... import __version__
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...config import sources
from ...images.description import Description
from ...images.lookup import image as images
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser
from ..console import terminal
from ..job import leads
from ..site import appliance_call, ondemand_table, site_tables
from . import app_files, image_choices, placing


def _render(context: CommandContext) -> int:
    site = site_tables.read(context.here)
    for trouble in ondemand_table.amiss(site.ondemand, context.settings):
        where = site.file or "7lbd.toml beside the SIF"
        raise Refusal(ExitCode.USAGE, trouble, hint=f"mend it in the site's file ({where}), then render again")
    if "slurm" in site.ondemand.schedulers:
        lead = leads.least(context.settings, suspending=True)
        leads.check(context.settings, lead, site.ondemand.max_hours * 3600)
    sif = appliance_call.sif(site.job_table("slurm" if "slurm" in site.ondemand.schedulers else "condor"), context.here)
    folder = user_path(context.options.folder)
    made = app_files.compose(site, context.settings, sif, placing.read_own(folder), _look(context))
    outcome = placing.place(folder, made, __version__, force=context.options.force)
    terminal.say_text(_said(folder, outcome, sif))
    for name in outcome.kept:
        terminal.say(f"7lbd: {folder / name} has been changed since it was written, and was left as it is", error=True)
    if outcome.kept:
        own = folder / placing.SITE
        terminal.say(f"  put what you add into {own}/, which is woven in; --force overwrites", error=True)
    return ExitCode.OK


def _look(context: CommandContext) -> image_choices.Look:
    """What is seen from here of the images; one that only the nodes see is no mistake."""
    folders, cache = context.folders, sources.image_cache(context.settings)

    def described(name: str) -> Description | None:
        try:
            return images.resolve(name, folders, cache).description
        except Refusal:
            return None

    return described


def _said(folder: Path, outcome: placing.PlacingOutcome, sif: str) -> str:
    lines = [f"the app is in {folder}; its jobs run {sif}"]
    for name, paths in vars(outcome).items():
        if paths and name != "kept":
            lines.append(f"  {name:9}  {', '.join(paths)}")
    return "\n".join(lines)


def _options(parser: Parser) -> None:
    parser.add_argument("folder", metavar="DIR", help="the app's folder, for instance /var/www/ood/apps/sys/desktop")
    parser.add_argument("--force", action="store_true", help="overwrite files there that somebody has changed, too")


COMMANDS = {"render ondemand": Command(_render, _options)}
