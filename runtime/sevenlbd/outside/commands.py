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

from .. import __version__, people, tls
from ..errors import ExitCode, Refusal
from ..rdp_file import rdp_file
from ..settings import Loaded, Settings, flag_of, in_toml, variable_of
from ..state import Phase, SessionState
from . import access, cli, connect, control, folder, places, tls_files
from .access import Access

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
        print(f"{state.id}  {state.phase}  up {people.duration(state.elapsed())}  {kind}")
        if state.paused:
            print(f"    PAUSED: {state.paused}")
        times = [*state.phases.items(), *state.milestones.items()]
        for name, at in sorted(times, key=lambda item: item[1]):
            print(f"    {at:8.1f} s  {name}")
        for text in state.warnings:
            print(f"    WARNING: {text}")
    return ExitCode.OK


def stop(options: argparse.Namespace, _umask: int) -> int:
    """Tell a session to end, and wait until it has."""
    target = folder.find(_base(options), options.session)
    try:
        control.send_stop(target, now=options.now)
    except (OSError, ValueError) as error:
        raise _deaf(target, error) from None
    while folder.is_alive(target):
        time.sleep(_STOP_POLL)
    print(f"session {target.name} has ended")
    return ExitCode.OK


def _deaf(target: Path, error: Exception) -> Refusal:
    why = getattr(error, "strerror", None) or str(error)
    return Refusal(ExitCode.NO_SESSION, f"session {target.name} does not listen ({why})", hint="7lbd gc, if it is dead")


def show_connection(options: argparse.Namespace, _umask: int) -> int:
    """Print how to reach the desktop, and write its .rdp file; or only what was asked for."""
    here = places.look_around(os.environ)
    target = folder.find(_base(options), options.session)
    state, secret = _known(target)
    if options.password:
        print(secret.password)
    elif options.url:
        print(_link(state, secret, options.url))
    elif options.renew:
        _renew(target, state, here.sif)
    elif options.client is not None:
        _give_bundle(target, state, Path(options.client or f"7lbd-{state.id}-client").absolute())
    else:
        if state.phase is not Phase.READY:
            print(f"the desktop is not ready yet ({state.phase}); 7lbd status shows its progress")
        written = _write_rdp(Path(options.rdp or f"7lbd-{state.id}.rdp"), secret.account)
        key = f"#token={secret.tokens['desktop']}" if sys.stdout.isatty() else ""
        print(connect.instructions(state, secret.account, here.sif, written, key))
    return ExitCode.OK


def _known(target: Path) -> tuple[SessionState, Access]:
    state = folder.read_state(target)
    try:
        secret = access.read(target)
    except (OSError, ValueError):
        secret = None
    if state is None or secret is None:
        raise Refusal(
            ExitCode.NO_SESSION, f"session {target.name} is only just beginning", hint="try again in a second"
        )
    return state, secret


def _link(state: SessionState, secret: Access, role: str) -> str:
    if role == "console" and not connect.has_console(state):
        what = f"the console of session {state.id} is switched off"
        raise Refusal(ExitCode.USAGE, what, hint="the desktop is at: connect --url")
    return connect.link(state, secret, role)


def _renew(target: Path, state: SessionState, sif: str) -> None:
    try:
        trouble = control.send_renew(target)
    except (OSError, ValueError) as error:
        raise _deaf(target, error) from None
    if trouble:
        raise Refusal(ExitCode.RESOURCES, f"the locks of session {target.name} could not all be changed: {trouble}")
    print(
        f"session {target.name} has new locks: old links and the windows that they opened are cut off", file=sys.stderr
    )
    if state.native_port:
        again = f"{connect.call(sif, 'connect', state)} --client"
        print(f"so are clients with the old bundle; the new one: {again}", file=sys.stderr)
    print(connect.link(*_known(target), "desktop"))


def _give_bundle(target: Path, state: SessionState, where: Path) -> None:
    if not state.native_port:
        what = f"session {state.id} offers no RDP over mutual TLS"
        raise Refusal(
            ExitCode.USAGE, what, hint="start it with --rdp-tls ADDRESS:PORT, or take the way by ssh: connect"
        )
    try:
        with tls_files.taken(target) as packed:
            tls_files.unpack(packed, where)
    except tls_files.Gone:
        what = f"the client's bundle of session {state.id} has been taken, and there is only one"
        hint = "if that was not you, or it is lost: connect --renew makes a new one and cuts the old one off"
        raise Refusal(ExitCode.USAGE, what, hint=hint) from None
    except OSError as error:
        hint = "name another folder, which is made: connect --client DIR"
        raise Refusal(ExitCode.USAGE, f"{where}: cannot be written: {error.strerror}", hint=hint) from None
    print(connect.bundle_written(state, where, (where / tls.README).read_text()))


def _write_rdp(path: Path, account: str) -> str:
    try:
        path.write_text(rdp_file(account), newline="")
    except OSError as error:
        print(f"7lbd: {path} could not be written: {error.strerror}", file=sys.stderr)
        return ""
    return str(path.absolute())


def doctor(options: argparse.Namespace, _umask: int) -> int:
    """Check every precondition on this node."""
    from . import doctor as examination

    findings = []
    if options.site:
        from .cluster import site_check

        findings = site_check.examine(places.look_around(os.environ))
    try:
        here, loaded = _load(options)
        findings = examination.examine(loaded.settings, here) + findings
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
            record = BUILD_RECORD.read_text()
        except OSError:
            raise Refusal(ExitCode.NODE, f"{BUILD_RECORD} is missing: this is not the appliance's SIF") from None
        print(record.rstrip())
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
