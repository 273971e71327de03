"""The doctor: every precondition of a session, each with the command that mends it. Changes nothing."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExitCode, Refusal
from ..images import image as images
from ..settings import Settings
from . import cpu_models, folder, node, places, preflight, warmth
from .cluster import allocation
from .sizing import HELPERS_MEMORY

# Older than this program: a clock that shows less is wrong.
_EARLIEST_CLOCK = 1_760_000_000
_USUAL_MEMORY = 4 << 30


@dataclass(frozen=True)
class Finding:
    """One check. `level` is ok, warning (a session works, but worse) or error (none will start)."""

    check: str
    level: str
    text: str
    mend: str = ""


def examine(chosen: Settings, here: places.Places) -> list[Finding]:
    """Every finding, in the order in which a session would meet them."""
    return [
        _user(),
        _ability("user namespaces", node.user_namespaces(), "error"),
        _apparmor(),
        _ability("KVM", node.kvm(), "warning" if chosen.accel != "kvm" else "error"),
        _ability("tap network", node.tun(), "warning" if chosen.network != "tap" else "error"),
        _ability("fuse", node.fuse(), "warning"),
        _memory(chosen, here),
        *_space(chosen, here),
        _image(chosen, here),
        *_warm(chosen, here),
        _site_file(here),
        _clock(),
    ]


def report(findings: list[Finding], *, colour: bool) -> str:
    """The findings for a person."""
    marks = {"ok": "  ok   ", "warning": "WARNING", "error": " ERROR "}
    colours = {"ok": "32", "warning": "33", "error": "31"}
    lines = []
    for finding in findings:
        mark = marks[finding.level]
        if colour:
            mark = f"\x1b[{colours[finding.level]}m{mark}\x1b[0m"
        lines.append(f"{mark}  {finding.check}: {finding.text}")
        if finding.mend:
            lines.append(f"           to mend: {finding.mend}")
    return "\n".join(lines)


def exit_code(findings: list[Finding]) -> ExitCode:
    """OK when a session would start."""
    return ExitCode.NODE if any(finding.level == "error" for finding in findings) else ExitCode.OK


def _ability(name: str, ability: node.Ability, otherwise: str) -> Finding:
    if ability.ok:
        return Finding(name, "ok", "usable")
    return Finding(name, otherwise, ability.why, ability.mend)


def _user() -> Finding:
    if os.getuid() == 0:
        return Finding("user", "error", "you are root", "run as an ordinary user, without sudo and without --fakeroot")
    return Finding("user", "ok", f"uid {os.getuid()}")


def _apparmor() -> Finding:
    if node.apparmor_restricts():
        mend = "as root on the node: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        return Finding("AppArmor", "warning", "it restricts user namespaces of ordinary users", mend)
    return Finding("AppArmor", "ok", "does not restrict user namespaces")


def _memory(chosen: Settings, here: places.Places) -> Finding:
    needed = (chosen.memory or _memory_of_image(chosen, here)) + HELPERS_MEMORY
    limit = node.memory_limit(dict(here.environment))
    text = f"{limit.size / 2**30:.1f} GiB {limit.whose}; a guest with its helpers needs {needed / 2**30:.1f} GiB"
    if limit.size < needed:
        return Finding("memory", "error", text, "ask the scheduler for more (--mem), or take less (--memory)")
    return Finding("memory", "ok", text)


def _memory_of_image(chosen: Settings, here: places.Places) -> int:
    """Bytes that the image asks for; a usual amount when there is none to ask."""
    try:
        return images.resolve(chosen.image, places.image_folders(here, chosen)).description.memory
    except Refusal:
        return _USUAL_MEMORY


def _space(chosen: Settings, here: places.Places) -> Iterator[Finding]:
    where = folder.base(chosen.session_dir, here.environment)
    try:
        folder.check_base(where)
    except Refusal as refusal:
        yield Finding("session folder", "error", refusal.what, refusal.hint)
        return
    free = node.free_space(where)
    text = f"{free / 2**30:.1f} GiB free at {where}"
    if free < chosen.min_space:
        yield Finding("session folder", "error", text, "--session-dir DIR on a larger local disk")
    else:
        yield Finding("session folder", "ok", text)
    temporary = here.environment.get("TMPDIR", "")
    if temporary and not Path(temporary).is_dir():
        yield Finding(
            "TMPDIR", "warning", f"{temporary} is not visible in the container", f"apptainer run --bind {temporary} ..."
        )


def _image(chosen: Settings, here: places.Places) -> Finding:
    try:
        found = images.resolve(chosen.image, places.image_folders(here, chosen), places.image_cache(chosen))
    except Refusal as refusal:
        return Finding("image", "error" if chosen.image else "warning", refusal.what, refusal.hint)
    return Finding("image", "ok", f"{found.title}: {found.layers[0].path}")


def _warm(chosen: Settings, here: places.Places) -> Iterator[Finding]:
    """Whether a session of the image would go on from its warm state; nothing when it has none."""
    try:
        job = allocation.of(here.environment)
        prepared = preflight.prepare(chosen, here.environment, 0o077, places.image_folders(here, chosen), job)
    except Refusal:
        return  # which other findings tell
    again = "7lbd image warm --again, where the sessions are to run, or --no-warm"
    if plan := prepared.plan.warm:
        yield _cpu_of(plan.cpu, prepared.plan.accel)
    for text in prepared.warnings:
        if text.startswith(warmth.NOT_USED):
            yield Finding("warm state", "warning", text, again)


def _cpu_of(model: str, accel: str) -> Finding:
    try:
        lacks = cpu_models.missing(model, accel)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return Finding("warm state", "warning", f"QEMU could not be asked for its CPU models: {error}")
    if lacks is None or lacks:
        text = f"its CPU model {model} needs what this node lacks: {', '.join(lacks or ['the model itself'])}"
        mend = "choose an older model for mixed nodes (warm_cpu_model), then: 7lbd image warm --again"
        return Finding("warm state", "warning", text, mend)
    return Finding("warm state", "ok", f"fits this node; CPU model {model}")


def _site_file(here: places.Places) -> Finding:
    if here.sif and not Path(here.sif).parent.is_dir():
        beside = Path(here.sif).parent
        return Finding(
            "site file",
            "warning",
            f"the container does not show {beside}, so a {places.SITE_FILE} or images there are not seen",
            f"apptainer run --bind {beside} ..., or `bind path = {beside}` in apptainer.conf",
        )
    found = next((path for path in here.site_files if os.access(path, os.F_OK)), None)
    return Finding("site file", "ok", str(found) if found else "none; the defaults hold")


def _clock() -> Finding:
    if time.time() < _EARLIEST_CLOCK:
        return Finding("clock", "error", f"it shows {time.ctime()}", "set it: timedatectl set-ntp true")
    return Finding("clock", "ok", "plausible")
