"""A saved desktop that is to go on here: opened, compared with what this node and the image give, made into a plan.

QEMU itself would take another CPU, more memory or another card in silence, and the guest would hang: all of it is
compared here, before anything is touched. What the file says is somebody's word: it chooses among what the settings
could have chosen, and names nothing.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path

from ....base import process
from ....base.errors import ExitCode, Refusal
from ....config.settings import Accel, Network, Settings
from ....images import names
from ....images.signing.digest import Changed
from ....wire.plan import Layer, Resumed
from ...access.credentials import account_name
from ...console.passphrase import PassphraseSource
from ...folders import session_folders
from ...job.allocation import Allocation
from ...saved import layers, places, reading, saved_format, unlocking
from ...saved.claims import Claim
from ...saved.facts import Facts, LayerFact, MachineFacts, Secrets
from ...saved.messages import LayerFile, Read
from ...saved.unlocking import Opener
from . import at_rest, warmth
from .guest_machine import AsSaved
from .prepared import Prepared

_PASSWORD = re.compile(r"[A-Za-z0-9]{16,64}")
_DESKTOP = re.compile(r"[0-9a-f]{32}")
_DISK_KEY = re.compile(r"[0-9a-f]{64}")
_CPU = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")  # a model's name: nothing that QEMU would take for a feature
_WORDS = {
    "qemu": "QEMU",
    "machine": "machine type",
    "accel": "accelerator",
    "cpu": "CPU model",
    "cpus": "CPUs",
    "mac": "MAC address",
    "tpm": "TPM",
    "disk_bus": "disk bus",
    "disk_size": "size of the disk",
    "nic": "network card",
    "logical_block_size": "the disk's sector size",
}
# Looked at apart.
_OTHERWISE = frozenset({"qemu", "host", "enforced"})
_MACHINE = re.compile(r"pc-q35-\d{1,3}\.\d{1,3}")
_HELP_SECONDS = 20.0  # a guess: it takes a fiftieth of a second


@dataclass(frozen=True)
class SavedDesktop:
    """One that was opened."""

    path: Path
    keys: Path | None
    """The folder of the user's saved desktops; None when there is no such folder."""
    opener: Opener
    facts: Facts
    secrets: Secrets
    digest: str
    """Of the header that was looked at, which the rest of the file is held to."""
    copied: bool
    """Whether it goes on beside another session of it."""
    started_again: bool = False
    """Whether an earlier life of the same job is surely over."""


def opened(
    text: str,
    settings: Settings,
    environment: Mapping[str, str],
    *,
    copied: bool,
    again: Allocation | None = None,
    asked: bool = False,
) -> SavedDesktop:
    """The saved desktop that is meant; `again` is the job that was started again, `asked` whether a passphrase closes
    it. Raises Refusal."""
    folder = places.folder(settings.state_dir, environment)
    path = places.find(folder, text)
    source = PassphraseSource(settings.passphrase_file, asked)
    try:
        key = unlocking.opener(path, reading.header(path), folder, source.known, closed=source.is_wanted)
        opening, digest = reading.opening(path, key.identity)
    except OSError as error:
        raise Refusal(
            ExitCode.NO_SESSION, f"{path}: cannot be read: {error.strerror}", hint="7lbd saved list"
        ) from None
    facts = opening.facts
    _check_words(path, facts, opening.secrets)
    if not copied:
        job, session = again.job if again else "", settings.name or facts.session
        Claim(path, session, facts.desktop, folder, job=job, again=again is not None).check()
    return SavedDesktop(path, folder, key, facts, opening.secrets, digest, copied, again is not None)


def _check_words(path: Path, facts: Facts, secrets: Secrets) -> None:
    """What goes into commands and configuration must be what we write there ourselves. Raises Refusal."""
    machine = facts.machine
    fits = (
        session_folders.is_name(facts.session)
        and _CPU.fullmatch(machine.cpu)
        and _MACHINE.fullmatch(machine.machine)
        and machine.accel in (Accel.KVM, Accel.TCG)
        and machine.network in (Network.TAP, Network.USER)
        and (not facts.image or names.is_name(facts.image))
        and (not facts.version or names.is_version(facts.version))
        and _PASSWORD.fullmatch(secrets.password)
        and account_name(secrets.share_user) == secrets.share_user
        and facts.memory_at <= saved_format.MOST_STATE_MORE
        and _DESKTOP.fullmatch(facts.desktop)
        and (not secrets.disk_key or _DISK_KEY.fullmatch(secrets.disk_key))
    )
    if not fits:
        what = f"{path}: is no saved desktop to go on from: what it says of its machine makes no sense"
        raise Refusal(ExitCode.USAGE, what, hint="take another copy of it")


def machine_of(desktop: SavedDesktop) -> AsSaved:
    """What is as it was, and in no setting. QEMU knows the machine types of its older releases, and is asked.

    Raises Refusal when it has not the desktop's.
    """
    wanted = desktop.facts.machine.machine
    call = ["/usr/bin/qemu-system-x86_64", "-machine", "help"]
    known = process.run(call, seconds=_HELP_SECONDS).printed
    if wanted not in {line.partition(" ")[0] for line in known.splitlines()}:
        qemu = warmth.qemu_version()
        raise _no(desktop, f"machine type {wanted} when suspended, which the QEMU {qemu} here does not have")
    return AsSaved(machine=wanted, warm=desktop.facts.memory is not None)


def settings_for(settings: Settings, desktop: SavedDesktop) -> tuple[Settings, list[str]]:
    """The settings with all that must be as it was; and what is therefore not as they say."""
    facts, machine = desktop.facts, desktop.facts.machine
    was = {
        "memory": machine.memory,
        "cpus": machine.cpus,
        "accel": Accel(machine.accel),
        "network": Network(machine.network),
        "warm": facts.memory is not None,
        "cpu_model": "auto" if facts.memory else machine.cpu,
    }
    usual = Settings()
    notes = [
        f"{name} is as the desktop was suspended, not as it is set: {getattr(settings, name)}"
        for name, value in was.items()
        if getattr(settings, name) not in (getattr(usual, name), value)
    ]
    name = settings.name or (session_folders.new_name() if desktop.copied else facts.session)
    return settings.model_copy(update={**was, "image": settings.image or facts.image_name, "name": name}), notes


@contextmanager
def naming_its_image(desktop: SavedDesktop) -> Iterator[None]:
    """Whoever resumes has named no image, perhaps: what is missing is what the desktop was suspended from."""
    try:
        yield
    except Refusal as refusal:
        if refusal.code is not ExitCode.IMAGE:
            raise
        what = f"{desktop.path}: was suspended from {desktop.facts.title}: {refusal.what}"
        raise Refusal(refusal.code, what, hint=refusal.hint) from None


def fitted(prepared: Prepared, desktop: SavedDesktop, notes: list[str]) -> Prepared:
    """The session as one that goes on. Raises Refusal when it cannot."""
    plan, savable, facts = prepared.plan, prepared.savable, desktop.facts
    assert savable is not None, "every session has the facts of its own"
    _check_encryption(desktop, prepared)
    _check_machine(desktop, savable.facts.machine, prepared)
    _check_layers(desktop, savable.layers, savable.memory)
    warm = plan.warm
    stack = (Layer(warm.disk, "qcow2"), *plan.layers) if warm else plan.layers
    resumed = Resumed(hook=savable.hook, smbios=facts.machine.smbios and plan.guest.smbios)
    guest = replace(plan.guest, cpu=facts.machine.cpu, portable=facts.machine.enforced)
    order = Read(
        source=str(desktop.path),
        folder=plan.folder,
        facts=facts,
        digest=desktop.digest,
        keys=str(desktop.keys or ""),
        memory=savable.memory.path if savable.memory and not savable.memory.sealed else "",
        most=saved_format.most_of_parts(savable.facts.machine, encrypted=bool(desktop.secrets.disk_key)),
        identity=str(desktop.opener.identity) if desktop.opener.lock else "",
    )
    # The guest has mounted its shares by these secrets, and goes on with them.
    changed = replace(
        plan,
        layers=stack,
        warm=None,
        resumed=resumed,
        guest=guest,
        password=desktop.secrets.password,
        user=desktop.secrets.share_user,
        disk_key=desktop.secrets.disk_key,
    )
    here = savable.facts.machine
    machine = replace(facts.machine, host=here.host, qemu=here.qemu)  # who writes it the next time
    target = "" if desktop.copied else str(desktop.path)
    # A copy is another desktop from now on, and has a number of its own.
    number = savable.facts.desktop if desktop.copied else facts.desktop
    same = replace(
        savable, facts=replace(savable.facts, machine=machine, desktop=number), target=target, lock=desktop.opener.lock
    )
    return replace(
        prepared,
        plan=changed,
        resume=order,
        copied=desktop.copied,
        started_again=desktop.started_again,
        savable=same,
        warnings=(*prepared.warnings, *_encrypted_only_by_itself(desktop, prepared)),
        notes=(*prepared.notes, *notes),
    )


def _check_encryption(desktop: SavedDesktop, prepared: Prepared) -> None:
    """One that was encrypted goes on encrypted, wherever that is; another would lie here as it was. Raises Refusal."""
    if prepared.plan.encrypted and not desktop.secrets.disk_key:
        what = f"{desktop.path}: its disk is not encrypted, and a session here has to be (encrypt = true)"
        raise Refusal(ExitCode.USAGE, what, hint="--no-encrypt, where the site allows that; or begin a new desktop")


def _encrypted_only_by_itself(desktop: SavedDesktop, prepared: Prepared) -> Iterable[str]:
    """What a session that nothing here has encrypted was not yet warned of."""
    if prepared.plan.encrypted or not desktop.secrets.disk_key:
        return ()
    return at_rest.warnings(prepared.options.checkpoint_every)


def _check_machine(desktop: SavedDesktop, here: MachineFacts, prepared: Prepared) -> None:
    was = desktop.facts.machine
    if desktop.facts.memory and not prepared.plan.warm:
        why = next((text for text in prepared.warnings if "warm state" in text), "the image has none")
        raise _no(desktop, f"it began in the image's warm state, and stands on it: {why}")
    if unlike := differences(was, here):
        raise _no(desktop, "; ".join(unlike))


def differences(was: MachineFacts, here: MachineFacts) -> list[str]:
    """What is not as it was, in words; empty when it can go on."""
    unlike = []
    for field in fields(MachineFacts):
        then, now = getattr(was, field.name), getattr(here, field.name)
        if field.name not in _OTHERWISE and then != now:
            unlike.append(f"{_WORDS.get(field.name, field.name)} {then} when suspended, {now} here")
    if _release(was.qemu) > _release(here.qemu):
        unlike.append(f"QEMU {was.qemu} when suspended, and the older {here.qemu} here")
    if was.accel == "kvm" and was.enforced and was.host.vendor != here.host.vendor:
        # A kernel calls its hypervisor by the vendor's own instruction, whatever the model is.
        unlike.append(f"a CPU of {was.host.vendor} when suspended, of {here.host.vendor} here")
    if was.accel == "kvm" and not was.enforced:
        unlike += _cpu_differences(was, here)
    return unlike


def _cpu_differences(was: MachineFacts, here: MachineFacts) -> list[str]:
    """A guest that saw the node's own CPU finds the same one, with all that it had."""
    then, now = was.host, here.host
    if (then.vendor, then.model) != (now.vendor, now.model):
        return [f"CPU {then.model} ({then.vendor}) when suspended, {now.model} ({now.vendor}) here"]
    missing = sorted(set(then.flags.split()) - set(now.flags.split()))
    return [f"this CPU lacks {', '.join(missing)}"] if missing else []


def _release(version: str) -> tuple[int, ...]:
    """The upstream release in Debian's version of a package: `1:10.0.2+ds-2` is 10, 0."""
    match = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else ()


def _check_layers(desktop: SavedDesktop, here: tuple[LayerFile, ...], memory: LayerFile | None) -> None:
    """What it stands on must be the same, byte by byte. Raises Refusal that names what is not."""
    facts = desktop.facts
    was = [*facts.layers, *([facts.memory] if facts.memory else [])]
    now = [*here, *([memory] if memory else [])]
    if len(was) != len(now):
        raise _no(desktop, f"its disk stood on {len(was)} files of the image, and here there are {len(now)}")
    for fact, file in zip(was, now, strict=True):
        _check_layer(desktop, fact, file)


def _check_layer(desktop: SavedDesktop, was: LayerFact, file: LayerFile) -> None:
    path = Path(file.path)
    if was.format != file.format or was.size != path.stat().st_size:
        raise _no(desktop, f"{path} is not the {was.name} that it stood on: its size or format is another")
    try:
        now = layers.fact(path, file.name, file.format, desktop.keys)
    except Changed as error:
        raise _no(desktop, f"{path}: {error}") from None
    if now.root != was.root:
        raise _no(desktop, f"{path} is not the {was.name} that it stood on: its content is another")


def _no(desktop: SavedDesktop, why: str) -> Refusal:
    title, path = desktop.facts.title, shlex.quote(str(desktop.path))
    hint = f"it needs {title}, on a node like that of {desktop.facts.host}: 7lbd saved show {path}"
    return Refusal(ExitCode.IMAGE, f"{desktop.path}: cannot go on here: {why}", hint=hint)
