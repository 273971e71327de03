"""Verbs of the node: `doctor`, `config`, `gc`, `version`."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path

from ... import __version__
from ...base.errors import ExitCode, Refusal
from ...config.settings import Settings, flag_of, in_toml, variable_of
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import terminal
from ..folders import session_folders
from ..node import orphans
from ..saved import abroad, places
from . import session_verbs

BUILD_RECORD = Path("/usr/share/7lbd/build.json")


def doctor(context: CommandContext) -> int:
    """Check every precondition on this node."""
    from ..checks import doctor as examination

    options = context.options
    findings = []
    if options.site:
        from ..checks import site_check

        findings = site_check.examine(context.here)
    try:
        reported = {(finding.check, finding.text) for finding in findings}
        node = examination.examine(context.settings, context.here)
        findings = [finding for finding in node if (finding.check, finding.text) not in reported] + findings
    except Refusal as refusal:
        if not options.site:
            raise
        if refusal.what not in {finding.text for finding in findings}:
            findings.insert(0, examination.Finding("settings", "error", refusal.what, refusal.hint))
        text = "not looked at: the settings come first"
        findings.append(examination.Finding("this node", "warning", text, "mend what is said above, and ask again"))
    if options.json:
        terminal.say_json([asdict(finding) for finding in findings])
    else:
        terminal.write(examination.report(findings, colour=sys.stdout.isatty()) + "\n")
    return examination.exit_code(findings)


def config(context: CommandContext) -> int:
    """Show the settings in force; with --explain, where each comes from and what it means."""
    values = context.settings.model_dump(mode="json")
    if context.options.explain:
        terminal.say_text(_explained(context, values))
        return ExitCode.OK
    for name, value in values.items():
        terminal.say(f"{name} = {in_toml(name, value)}")
    return ExitCode.OK


def _explained(context: CommandContext, values: dict[str, object]) -> str:
    here, loaded = context.here, context.loaded
    files = [str(path) for path in (here.user_file, *here.site_files) if path]
    lines = ["# Strongest first: command line, environment, then " + ", ".join(files), ""]
    for name, value in values.items():
        lock = ", locked by the site" if name in loaded.settings.locked else ""
        ways = f"{flag_of(name)}; {variable_of(name)}" if variable_of(name) else "in the site's file only"
        lines += [
            f"# {Settings.model_fields[name].description}",
            f"# {ways}; now from: {loaded.origin[name]}{lock}",
            f"{name} = {in_toml(name, value)}",
            "",
        ]
    return "\n".join(lines).rstrip()


def collect(context: CommandContext) -> int:
    """Remove what dead sessions left."""
    ours = session_verbs.seat(context)
    all_too = context.options.all
    removed = [path for base in ours.bases for path in session_folders.remove_leftovers(base, failed_too=all_too)]
    removed += ours.lookout.sweep(ours.bases)
    if folder := places.folder(context.settings.state_dir, context.here.environment):
        removed += abroad.tidied(folder)
    for path in removed:
        terminal.say(f"removed {path}")
    failures = sum(len(session_folders.failures(base)) for base in ours.bases)
    terminal.say(f"{len(removed)} removed, {len(session_folders.alive(*ours.bases))} running, {failures} failures kept")
    if ended := orphans.end_all():
        terminal.say(f"{ended} mount{'s' if ended > 1 else ''} of the SIF that a killed Apptainer left")
    return ExitCode.OK


def version(context: CommandContext) -> int:
    """Print the version; with --all, what the SIF was made from."""
    terminal.say(f"7lbd {__version__}")
    if context.options.all:
        try:
            record = BUILD_RECORD.read_text()
        except OSError:
            raise Refusal(ExitCode.NODE, f"{BUILD_RECORD} is missing: this is not the appliance's SIF") from None
        terminal.write(record.rstrip() + "\n")
    return ExitCode.OK


def _doctor_options(parser: Parser) -> None:
    parser.add_argument("--json", action="store_true", help="as JSON")
    parser.add_argument(
        "--site",
        action="store_true",
        help="check the site's settings file, too: every key, and what it names, from here",
    )
    options(parser, "image", "memory", "session_dir", "min_space")


def _config_options(parser: Parser) -> None:
    parser.add_argument(
        "--explain", action="store_true", help="with the meaning of each, where its value comes from, and how to set it"
    )


def _collect_options(parser: Parser) -> None:
    parser.add_argument("--all", action="store_true", help="also the kept logs of failed sessions")
    options(parser, "session_dir", "state_dir")


def _version_options(parser: Parser) -> None:
    parser.add_argument(
        "--all", action="store_true", help="with what it was built from: every package and its version, as JSON"
    )


COMMANDS = {
    # Wrong settings are among what it tells.
    "doctor": Command(doctor, _doctor_options, checks_settings=False),
    "config": Command(config, _config_options),
    "gc": Command(collect, _collect_options),
    "version": Command(version, _version_options, checks_settings=False),
}
