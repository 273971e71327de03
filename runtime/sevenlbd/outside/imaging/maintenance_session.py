"""The session in which a version is changed by hand: the child that it works on, and what it is started with."""

from __future__ import annotations

import asyncio
import getpass
import shutil
import sys
from dataclasses import replace
from pathlib import Path

from ...base import text_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...images.lookup.image import Image
from ...images.repository.maintenance import Maintenance, MaintenanceRecord
from ...wire.plan import Layer
from ..cli.command import CommandContext
from ..session import overlay_disk
from ..session.preflight import prepare, timezones
from ..session.preflight.prepared import Prepared
from . import installation

# Somebody is looking: a guest that starts slowly, or only to a repair console, is not to be switched off for it.
_PATIENCE = 30 * 86400.0
_LONGEST_PASSWORD = 127  # characters; Windows' log-in takes no more


def begin(kept: Maintenance, base: Image) -> MaintenanceRecord:
    """A new maintenance, empty yet. Raises Refusal."""
    assert base.folder is not None
    try:
        kept.discard()  # what is left of one that was discarded halfway
        kept.begin(base.folder.name)
        layers = [Layer(str(layer.path), layer.format) for layer in base.layers]
        made = asyncio.run(overlay_disk.make_overlay(kept.folder, layers, base.size))
        Path(made).rename(kept.disk)
        if base.variables:
            shutil.copyfile(base.variables, kept.variables)
    except (OSError, Refusal) as error:
        kept.discard()
        why = getattr(error, "strerror", None) or getattr(error, "what", error)
        what = f"{kept.home}: a child cannot be made there: {why}"
        raise Refusal(ExitCode.RESOURCES, what, hint="make room in the repository") from None
    record = kept.record()
    assert record
    return record


def prepared(context: CommandContext, kept: Maintenance, base: Image, *, kept_already: bool) -> Prepared:
    """The admin's session. Raises Refusal; nothing is written."""
    discs = [user_path(name) for name in context.options.iso]
    installation.check_discs(discs)
    password = _password(context.options.password_file)
    chosen = context.settings.model_copy(
        update={
            "image": str(base.folder),
            "warm": False,
            # What is made lies in a repository, and not in its session.
            "encrypt": False,
            "project": "",
            # What is set now would be in the image.
            "timezone": timezones.IMAGE,
            "exit_when_ready": False,
            "ready_timeout": _PATIENCE,
        }
    )
    checked = prepare.prepare(chosen, context.here.environment, context.umask, context.folders)
    plan = checked.plan
    own_variables = kept_already and kept.variables.exists()
    plan = replace(
        plan,
        guest=replace(plan.guest, variables=str(kept.variables)) if own_variables else plan.guest,
        password=password or plan.password,
        administrator=base.description.administrator if plan.guest.agent else "",
        overlay=str(kept.disk),
        cdroms=tuple(str(disc.resolve()) for disc in discs),
        lasting=True,
    )
    return replace(checked, plan=plan, image_title=f"{checked.image_title} (maintenance)")


def _password(source: str) -> str:
    """A fixed password, or an empty text for a random one. It never stands on a command line. Raises Refusal."""
    if not source:
        return ""
    try:
        if source != "-":
            with user_path(source).open("rb") as file:
                text = text_files.decoded(file.read(4096))
        elif sys.stdin.isatty():
            text = getpass.getpass("password for the maintenance session: ")
        else:
            text = sys.stdin.readline(4096)
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Refusal(
            ExitCode.USAGE, f"{source}: the password cannot be read: {why}", hint="one line of text"
        ) from None
    password = text.removesuffix("\n").removesuffix("\r")
    if not password or not password.isprintable() or len(password) > _LONGEST_PASSWORD:
        what = f"{source}: is not a password: one line of 1 to {_LONGEST_PASSWORD} printable characters"
        raise Refusal(ExitCode.USAGE, what, hint="leave --password-file out for a random one")
    return password
