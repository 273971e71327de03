"""Warm states: a machine frozen just before anybody uses it, as a part of its image."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...errors import ExitCode, Refusal
from ...images import image as images
from ...images import warm
from ...images.description import Channel
from ...images.image import Image
from ...state import SessionState
from .. import display, folder, preflight, warmth
from ..prepared import Prepared
from . import desk, workshop
from .desk import Desk

_SETTINGS = ("memory", "cpus", "warm_cpu_model", "accel", "network", "session_dir", "ready_timeout", "min_space")


def register(verbs: Any) -> None:
    """Add this group's verbs to `7lbd image`."""
    make = desk.verb(
        verbs,
        "warm",
        "boot an image once and keep the machine as it is when it is ready: sessions start from there in seconds",
        make_warm,
        settings=_SETTINGS,
    )
    make.add_argument("image", metavar="NAME[@VERSION]|FOLDER", help="the image")
    when = make.add_mutually_exclusive_group()
    when.add_argument("--again", action="store_true", help="replace the warm state that it has")
    when.add_argument("--if-needed", action="store_true", help="do nothing when it has one that fits, else replace it")


def make_warm(call: Desk) -> int:
    """Freeze a machine of the image and add it to the version."""
    image = images.resolve(call.options.image, call.folders)
    where = _folder(image)
    prepared, needs = _prepared(call, image)
    if call.options.if_needed and _fits(where, needs):
        print(f"7lbd: {image.title} has a warm state that fits")
        return ExitCode.OK
    _check_place(where, image.title, again=call.options.again or call.options.if_needed)
    shown = display.choose(as_json=False, sif=call.here.sif)
    with _staging(where) as staging:

        def harvest(place: Path, state: SessionState) -> None:
            if "frozen" in state.milestones:
                _take(place, warm.WarmState(staging, needs, state.certificate))

        outcome = workshop.run(prepared, shown, harvest)
        if not (staging / warm.RECORD).exists():
            if outcome.code is ExitCode.OK:
                what = "the machine ended before it could be frozen, so there is no warm state"
                raise Refusal(ExitCode.NOT_READY, what, hint="try again, and leave the guest alone meanwhile")
            return outcome.code
        _put_in_place(staging, where)
    memory = _allocated(where / warm.FOLDER / warm.MEMORY)
    disk = _allocated(where / warm.FOLDER / warm.DISK)
    print(f"7lbd: {image.title} is warm: memory {memory >> 20} MiB, disk {disk >> 20} MiB, CPU model {needs.cpu}")
    return ExitCode.OK


def _folder(image: Image) -> Path:
    """The version's folder. Raises Refusal for an image that cannot have a warm state."""
    if image.folder is None:
        what = f"{image.title}: a bare disk file has no place for a warm state"
        raise Refusal(ExitCode.IMAGE, what, hint="7lbd image add DISK --name NAME --version VERSION")
    if Channel.AGENT not in image.description.channels:
        what = f"{image.title}: a warm start sets the password by the guest agent, which the image does not have"
        raise Refusal(ExitCode.IMAGE, what, hint='install it, and add "agent" to `channels` in image.toml')
    return image.folder


def _fits(where: Path, needs: warm.Needs) -> bool:
    try:
        found = warm.read(where)
    except warm.WarmError:
        return False
    return found is not None and found.needs == needs


def _check_place(where: Path, title: str, *, again: bool) -> None:
    """Raises Refusal when no warm state can be put there."""
    if (where / warm.FOLDER).exists() and not again:
        what = f"{title} has a warm state already"
        raise Refusal(ExitCode.IMAGE, what, hint="7lbd image warm --again replaces it, when no session runs from it")
    if where.stat().st_uid != os.getuid():
        what = f"{where}: is not yours, so nothing can be added to it"
        raise Refusal(ExitCode.IMAGE, what, hint="call this as the owner of the image repository")


def _prepared(call: Desk, image: Image) -> tuple[Prepared, warm.Needs]:
    """A session of nobody's: no shares, no SMBIOS strings, a password that dies with it."""
    chosen = call.settings.model_copy(
        update={
            "image": str(image.folder),
            "name": f"warm-{folder.new_name()}",
            "home_share": False,
            "shares": (),
            "warm": False,
            "web": "off",
            "rdp_tls": "",
            "exit_when_ready": False,
        }
    )
    prepared = preflight.prepare(chosen, call.here.environment, call.umask, call.folders)
    plan = prepared.plan
    cpu = warmth.cpu_model(call.settings, plan.accel)
    guest = replace(plan.guest, smbios=False, cpu=cpu)
    needs = warmth.needs(image, guest, plan.accel, plan.network, cpu)
    return replace(prepared, plan=replace(plan, guest=guest, freeze=True)), needs


@contextmanager
def _staging(where: Path) -> Iterator[Path]:
    """A hidden folder beside the version's, on the same file system; gone when this ends."""
    try:
        staging = Path(tempfile.mkdtemp(prefix=".warm-", dir=where.parent))
    except OSError as error:
        what = f"{where.parent}: cannot be written to: {error.strerror}"
        raise Refusal(ExitCode.IMAGE, what, hint="make the warm state where the repository is writable") from None
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _take(place: Path, state: warm.WarmState) -> None:
    """Copy what the frozen machine left. Raises Refusal."""
    wanted = {"overlay.qcow2": state.disk, "memory": state.memory, "state": state.state}
    if state.variables:
        wanted["variables.fd"] = state.variables
    try:
        for source, target in wanted.items():
            _copy_sparse(place / source, target)
        warm.write(state)
    except (OSError, RuntimeError) as error:
        what = f"{state.folder.parent}: the warm state cannot be kept there: {error}"
        raise Refusal(ExitCode.RESOURCES, what, hint="make room there; nothing was changed") from None


def _copy_sparse(source: Path, target: Path) -> None:
    command = ["/usr/bin/cp", "--sparse=always", "--reflink=auto", "--", str(source), str(target)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip())


def _put_in_place(staging: Path, where: Path) -> None:
    """Show the warm state to sessions by one rename; readable for all, writable for none."""
    for path in staging.iterdir():
        path.chmod(0o444)
    old = where / warm.FOLDER
    mode = where.stat().st_mode
    where.chmod(mode | 0o200)
    try:
        if old.exists():
            old.chmod(0o700)
            old.rename(staging.with_name(f"{staging.name}.old"))
        (fresh := staging / "warm").mkdir()
        for path in list(staging.iterdir()):
            if path != fresh:
                path.rename(fresh / path.name)
        fresh.rename(old)
        old.chmod(0o555)
    finally:
        where.chmod(mode)
        shutil.rmtree(staging.with_name(f"{staging.name}.old"), ignore_errors=True)


def _allocated(path: Path) -> int:
    with suppress(OSError):
        return path.stat().st_blocks * 512
    return 0
