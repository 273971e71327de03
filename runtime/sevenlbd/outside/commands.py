"""The verbs but `run`, one function each: settings in, exit code out."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from .. import __version__
from ..errors import ExitCode, Refusal
from ..settings import Loaded, Settings, flag_of, in_toml, variable_of
from ..state import Phase
from . import cli, connect, control, folder, places

BUILD_RECORD = Path("/usr/share/7lbd/build.json")
_STOP_POLL = 0.2


def _load(options: argparse.Namespace) -> tuple[places.Places, Loaded]:
    here = places.look_around(os.environ)
    return here, places.settings(here, cli.source(options))


def _base(options: argparse.Namespace) -> Path:
    """Where this user's sessions are; a folder that somebody else put there is not even looked into."""
    here, loaded = _load(options)
    where = folder.base(loaded.settings.session_dir, here.environment)
    folder.check_owned(where)
    return where


def status(options: argparse.Namespace, _umask: int) -> int:
    """Show this user's sessions on this node."""
    where = _base(options)
    wanted = [folder.find(where, options.session)] if options.session else folder.alive(where)
    states = [state for state in map(folder.read_state, wanted) if state]
    if options.json:
        print(json.dumps([asdict(state) for state in states], indent=1))
        return ExitCode.OK
    if not states:
        print(f"no session of yours is running on {os.uname().nodename}")
    for state in states:
        kind = f"{state.image}  {state.accel}, {state.network}"
        print(f"{state.id}  {state.phase}  up {_spelled(state.elapsed())}  {kind}")
        if state.paused:
            print(f"    PAUSED: {state.paused}")
        times = [*state.phases.items(), *state.milestones.items()]
        for name, at in sorted(times, key=lambda item: item[1]):
            print(f"    {at:8.1f} s  {name}")
        for text in state.warnings:
            print(f"    WARNING: {text}")
    return ExitCode.OK


def _spelled(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def stop(options: argparse.Namespace, _umask: int) -> int:
    """Tell a session to end, and wait until it has."""
    target = folder.find(_base(options), options.session)
    try:
        control.send_stop(target, now=options.now)
    except OSError as error:
        raise Refusal(
            ExitCode.NO_SESSION,
            f"session {target.name} does not listen ({error.strerror})",
            hint="7lbd gc, if it is dead",
        ) from None
    while folder.is_alive(target):
        time.sleep(_STOP_POLL)
    print(f"session {target.name} has ended")
    return ExitCode.OK


def show_connection(options: argparse.Namespace, _umask: int) -> int:
    """Print how to reach the desktop, and write its .rdp file."""
    here = places.look_around(os.environ)
    target = folder.find(_base(options), options.session)
    state = folder.read_state(target)
    try:
        secret = connect.credentials(target)
    except (OSError, ValueError):
        secret = {}
    if state is None or not secret:
        raise Refusal(
            ExitCode.NO_SESSION, f"session {target.name} is only just beginning", hint="try again in a second"
        )
    if options.password:
        print(secret["password"])
        return ExitCode.OK
    if state.phase is not Phase.READY:
        print(f"the desktop is not ready yet ({state.phase}); 7lbd status shows its progress")
    written = _write_rdp(Path(options.rdp or f"7lbd-{state.id}.rdp"), secret["account"])
    print(connect.instructions(state, secret["account"], here.sif, written))
    return ExitCode.OK


def _write_rdp(path: Path, account: str) -> str:
    try:
        path.write_text(connect.rdp_file(account), newline="")
    except OSError as error:
        print(f"7lbd: {path} could not be written: {error.strerror}", file=sys.stderr)
        return ""
    return str(path.absolute())


def doctor(options: argparse.Namespace, _umask: int) -> int:
    """Check every precondition on this node."""
    from . import doctor as examination

    here, loaded = _load(options)
    findings = examination.examine(loaded.settings, here)
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
    where = _base(options)
    removed = folder.remove_leftovers(where, failed_too=options.all)
    for path in removed:
        print(f"removed {path}")
    print(f"{len(removed)} removed, {len(folder.alive(where))} running, {len(folder.failures(where))} failures kept")
    return ExitCode.OK


def version(options: argparse.Namespace, _umask: int) -> int:
    """Print the version; with --all, what the SIF was made from."""
    print(f"7lbd {__version__}")
    if options.all:
        try:
            print(BUILD_RECORD.read_text().rstrip())
        except OSError:
            raise Refusal(ExitCode.NODE, f"{BUILD_RECORD} is missing: this is not the appliance's SIF") from None
    return ExitCode.OK


VERBS: dict[str, Callable[[argparse.Namespace, int], int]] = {
    "status": status,
    "stop": stop,
    "connect": show_connection,
    "doctor": doctor,
    "config": config,
    "gc": collect,
    "version": version,
}
