"""The doctor: every precondition of a session, each with the command that mends it. Changes nothing."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ...base.errors import ExitCode, Refusal, visible
from ...config import sources
from ...config.settings import Accel, Settings
from ...images.lookup import image as images
from ...images.lookup.image import Image
from ..folders import bases
from ..job import allocation
from ..job.sizing import gib
from ..node import abilities, cpu_models, rlimits
from ..session.preflight import prepare, warmth

# Older than this program: a clock that shows less is wrong.
_EARLIEST_CLOCK = 1_760_000_000
_USUAL_MEMORY = 4 << 30  # bytes; what an image asks for that says nothing (images/description.py)


@dataclass(frozen=True)
class Finding:
    """One check. `level` is ok, warning (a session works, but worse) or error (none will start)."""

    check: str
    level: str
    text: str
    mend: str = ""


def examine(chosen: Settings, here: sources.Places) -> list[Finding]:
    """Every finding, in the order in which a session would meet them."""
    return [
        _user(),
        _ability("user namespaces", abilities.user_namespaces(), "error"),
        _apparmor(),
        _ability("KVM", abilities.kvm(), "warning" if chosen.accel != "kvm" else "error"),
        _ability("tap network", abilities.tun(), "warning" if chosen.network != "tap" else "error"),
        _ability("fuse", abilities.fuse(), "warning"),
        *(Finding("job", "warning", text) for text in here.told),
        _memory(chosen, here),
        *_limits(chosen, here),
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
        lines.append(f"{mark}  {visible(finding.check)}: {visible(finding.text)}")
        if finding.mend:
            lines.append(f"           to mend: {visible(finding.mend)}")
    return "\n".join(lines)


def exit_code(findings: list[Finding]) -> ExitCode:
    """OK when a session would start."""
    return ExitCode.NODE if any(finding.level == "error" for finding in findings) else ExitCode.OK


def _ability(name: str, ability: abilities.Ability, otherwise: str) -> Finding:
    if ability.ok:
        return Finding(name, "ok", "usable")
    return Finding(name, otherwise, ability.why, ability.mend)


def _user() -> Finding:
    if os.getuid() == 0:
        return Finding("user", "error", "you are root", "run as an ordinary user, without sudo and without --fakeroot")
    return Finding("user", "ok", f"uid {os.getuid()}")


def _apparmor() -> Finding:
    if abilities.apparmor_restricts():
        mend = "as root on the node: sysctl -w kernel.apparmor_restrict_unprivileged_userns=0"
        return Finding("AppArmor", "warning", "it restricts user namespaces of ordinary users", mend)
    return Finding("AppArmor", "ok", "does not restrict user namespaces")


def _memory(chosen: Settings, here: sources.Places) -> Finding:
    image = _image_asked_for(chosen, here)
    guest = chosen.memory or (image.description.memory if image else _USUAL_MEMORY)
    cpus = chosen.cpus or (image.description.cpus if image else abilities.cpus())
    accel = "kvm" if abilities.kvm().ok and chosen.accel is not Accel.TCG else "tcg"
    limits = [abilities.memory_limit(dict(here.environment)), *rlimits.of_memory(accel, cpus)]
    limit = min(limits, key=lambda limit: limit.for_guest)
    needed = guest + limit.beside
    text = f"{gib(limit.size)} {limit.whose}; {gib(guest)} for a guest and {gib(limit.beside)} for {limit.beside_for} "
    text += f"make {gib(needed)}"
    if limit.size < needed:
        more = limit.more.format(mib=-(-needed // (1 << 20)), kib=-(-needed // 1024))
        return Finding("memory", "error", text, f"{more}, or take less (--memory)")
    return Finding("memory", "ok", text)


def _image_asked_for(chosen: Settings, here: sources.Places) -> Image | None:
    """The image; None when there is none to ask, which another finding tells."""
    try:
        return images.resolve(chosen.image, sources.image_folders(here, chosen))
    except Refusal:
        return None


def _limits(chosen: Settings, here: sources.Places) -> Iterator[Finding]:
    """What the shell, or whoever began it, allows to processes and files."""
    image, warnings = _image_asked_for(chosen, here), list[str]()
    try:
        rlimits.raise_soft()
        rlimits.check_file_size(image.size if image else chosen.min_space, chosen.min_space, warnings)
        rlimits.check_processes(chosen.cpus or (image.description.cpus if image else 1))
    except Refusal as refusal:
        yield Finding("limits", "error", refusal.what, refusal.hint)
        return
    for text in warnings:
        problem, _, mend = text.partition(" To mend: ")
        yield Finding("limits", "warning", problem, mend)
    if not warnings:
        yield Finding("limits", "ok", "of open files, of a file's size and of processes: a session fits in")


def _space(chosen: Settings, here: sources.Places) -> Iterator[Finding]:
    where = bases.base(chosen.session_dir, here.environment)
    try:
        bases.check_base(where)
    except Refusal as refusal:
        yield Finding("session folder", "error", refusal.what, refusal.hint)
        return
    free = abilities.free_space(where)
    text = f"{free / 2**30:.1f} GiB free at {where}"
    if free < chosen.min_space:
        yield Finding("session folder", "error", text, "--session-dir DIR on a larger local disk")
    else:
        yield Finding("session folder", "ok", text)
    for text in bases.hidden(here.environment) if not chosen.session_dir else ():
        problem, _, mend = text.partition(": ")
        yield Finding("session folder", "warning", problem, mend)


def _image(chosen: Settings, here: sources.Places) -> Finding:
    try:
        image = images.resolve(chosen.image, sources.image_folders(here, chosen), sources.image_cache(chosen))
    except Refusal as refusal:
        return Finding("image", "error" if chosen.image else "warning", refusal.what, refusal.hint)
    return Finding("image", "ok", f"{image.title}: {image.layers[0].path}")


def _warm(chosen: Settings, here: sources.Places) -> Iterator[Finding]:
    """Whether a session of the image would go on from its warm state; nothing when it has none."""
    try:
        job = allocation.of(here.environment)
        prepared = prepare.prepare(chosen, here.environment, 0o077, sources.image_folders(here, chosen), job)
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
    except (OSError, ValueError) as error:
        return Finding("warm state", "warning", f"QEMU could not be asked for its CPU models: {error}")
    if lacks is None or lacks:
        text = f"its CPU model {model} needs what this node lacks: {', '.join(lacks or ['the model itself'])}"
        mend = "choose an older model for mixed nodes (warm_cpu_model), then: 7lbd image warm --again"
        return Finding("warm state", "warning", text, mend)
    return Finding("warm state", "ok", f"fits this node; CPU model {model}")


def _site_file(here: sources.Places) -> Finding:
    if here.sif and not Path(here.sif).parent.is_dir():
        beside = Path(here.sif).parent
        return Finding(
            "site file",
            "warning",
            f"the container does not show {beside}, so a {sources.SITE_FILE} or images there are not seen",
            f"apptainer run --bind {beside} ..., or `bind path = {beside}` in apptainer.conf",
        )
    if strangers := here.passed_over():
        mend = "keep it where only its owner can put it: beside the SIF in such a folder, or in /etc/7lbd"
        return Finding("site file", "warning", "; ".join(strangers), mend)
    file, _ = sources.site_file(here)
    return Finding("site file", "ok", str(file) if file else "none; the defaults hold")


def _clock() -> Finding:
    if time.time() < _EARLIEST_CLOCK:
        return Finding("clock", "error", f"it shows {time.ctime()}", "set it: timedatectl set-ntp true")
    return Finding("clock", "ok", "plausible")
