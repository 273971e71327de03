"""The verbs but `run`, one function each: settings in, exit code out."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..errors import ExitCode, Refusal
from ..settings import Loaded, Settings, flag_of, in_toml, variable_of
from . import cli, connecting, folder, places, sessions

BUILD_RECORD = Path("/usr/share/7lbd/build.json")


def _load(options: argparse.Namespace) -> tuple[places.Places, Loaded]:
    here = places.look_around(os.environ)
    return here, places.settings(here, cli.source(options))


def doctor(options: argparse.Namespace, _umask: int) -> int:
    """Check every precondition on this node."""
    from . import doctor as examination

    findings = []
    if options.site:
        from .cluster.checks import examine as site_check

        findings = site_check.examine(places.look_around(os.environ))
    try:
        here, loaded = _load(options)
        told = {(finding.check, finding.text) for finding in findings}
        node = examination.examine(loaded.settings, here)
        findings = [finding for finding in node if (finding.check, finding.text) not in told] + findings
    except Refusal as refusal:
        if not options.site:
            raise
        if refusal.what not in {finding.text for finding in findings}:
            findings.insert(0, examination.Finding("settings", "error", refusal.what, refusal.hint))
        text = "not looked at: the settings come first"
        findings.append(examination.Finding("this node", "warning", text, "mend what is said above, and ask again"))
    if options.json:
        print(json.dumps([asdict(finding) for finding in findings], indent=1))
    else:
        print(examination.report(findings, colour=sys.stdout.isatty()))
    return examination.exit_code(findings)


def config(options: argparse.Namespace, _umask: int) -> int:
    """Show the settings in force; with --explain, where each comes from and what it means."""
    here, loaded = _load(options)
    values = loaded.settings.model_dump(mode="json")
    if options.explain:
        print(_explained(here, loaded, values))
        return ExitCode.OK
    for name, value in values.items():
        print(f"{name} = {in_toml(name, value)}")
    return ExitCode.OK


def _explained(here: places.Places, loaded: Loaded, values: dict[str, object]) -> str:
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


def collect(options: argparse.Namespace, _umask: int) -> int:
    """Remove what dead sessions left."""
    ours = sessions.seat(options)
    where = ours.where
    removed = folder.remove_leftovers(where, failed_too=options.all) + ours.lookout.sweep(where)
    for path in removed:
        print(f"removed {path}")
    print(f"{len(removed)} removed, {len(folder.alive(where))} running, {len(folder.failures(where))} failures kept")
    return ExitCode.OK


def version(options: argparse.Namespace, _umask: int) -> int:
    """Print the version; with --all, what the SIF was made from."""
    print(f"7lbd {__version__}")
    if options.all:
        try:
            record = BUILD_RECORD.read_text()
        except OSError:
            raise Refusal(ExitCode.NODE, f"{BUILD_RECORD} is missing: this is not the appliance's SIF") from None
        print(record.rstrip())
    return ExitCode.OK


VERBS: dict[str, Callable[[argparse.Namespace, int], int]] = {
    "status": sessions.status,
    "stop": sessions.stop,
    "connect": connecting.show_connection,
    "doctor": doctor,
    "config": config,
    "gc": collect,
    "version": version,
}
