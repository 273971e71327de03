"""`doctor --site`: the whole site file against this node, as a session, a job and the portal would meet it.

What the command line, the environment and the user's file say is left out. It changes nothing; of other machines it
asks the name servers for the hosts of `egress_allow`, and the scheduler whether it would take the job.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ... import people
from ...errors import Refusal
from ...images import image as images
from ...images.seal import signature
from ...paths import user_path
from ...settings import TABLES, Settings, Source, from_table, load
from .. import connectors, listeners, places, shares
from ..doctor import Finding
from ..egress import decide
from ..sizing import HELPERS_MEMORY
from . import filesystems, jobscript, keys, register
from .node_programs import NODE_ROOT, Missing, NodePrograms
from .ondemand.table import OnDemand, amiss
from .site import Slurm
from .site_file import NOT_FOR_ALL

_MORE_MEMORY = "give the job more, or describe the image as smaller: memory in its image.toml"


@dataclass(frozen=True)
class Site:
    """The site's file, and what of it is right: what is wrong is told once, and left to the default after that."""

    here: places.Places
    file: Path
    said: Mapping[str, object]
    settings: Settings
    slurm: Slurm
    ondemand: OnDemand

    @property
    def folders(self) -> list[Path]:
        """Where images are looked up."""
        return places.image_folders(self.here, self.settings)


def examine(here: places.Places) -> list[Finding]:
    """Every finding, in the order of the file."""
    try:
        file, said = places.site_file(here)
    except Refusal as refusal:
        return [_refused("site file", refusal)]
    if file is None:
        return [_none(here)]
    wrong: list[Finding] = []
    found = Site(
        here,
        file,
        said,
        settings=_settings(file, said, wrong),
        slurm=_table(Slurm, "slurm", file, said, wrong),
        ondemand=_table(OnDemand, "ondemand", file, said, wrong),
    )
    checks = (_file, _sense, _images, _files, _ways_in, _ways_out, _folders, _container, _portal, _scheduler)
    return [
        *(
            wrong
            or [Finding("keys", "ok", f"all {_count(said)} that are set are known, with values that they can have")]
        ),
        *(finding for check in checks for finding in check(found)),
    ]


def _none(here: places.Places) -> Finding:
    text = f"there is none, so the defaults hold; looked for {', '.join(map(str, here.site_files))}"
    return Finding(
        "site file", "warning", text, f"7lbd render site > {here.site_files[0]}, and set in it what you need"
    )


def _refused(check: str, refusal: Refusal, level: str = "error") -> Finding:
    return Finding(check, level, refusal.what, refusal.hint)


def _count(said: Mapping[str, object]) -> int:
    return sum(len(value) if isinstance(value, Mapping) else 1 for value in said.values())


def _settings(file: Path, said: Mapping[str, object], wrong: list[Finding]) -> Settings:
    """The settings, each tried by itself, so that all that is wrong is told at once."""
    good = {}
    for name, value in said.items():
        if name not in TABLES:
            try:
                load([from_table({name: value}, str(file), trusted=True)])
                good[name] = value
            except Refusal as refusal:
                wrong.append(_refused("keys", refusal))
    return load([Source(str(file), good, trusted=True)]).settings


def _table[T: keys.Table](kind: type[T], name: str, file: Path, said: Mapping[str, object], wrong: list[Finding]) -> T:
    values = said.get(name, {})
    good: dict[str, object] = {}
    tries = [{key: value} for key, value in values.items()] if isinstance(values, Mapping) else [values]
    try:
        return keys.checked(kind, name, values, file)
    except Refusal as whole:
        for one in tries:
            try:
                keys.checked(kind, name, one, file)
                good |= one if isinstance(one, dict) else {}
            except Refusal as refusal:
                wrong.append(_refused("keys", refusal))
        if len(good) == len(tries):  # it is the keys together that do not fit
            wrong.append(_refused("keys", whole))
            return kind()
    return keys.checked(kind, name, good, file)


def _file(found: Site) -> Iterator[Finding]:
    """Whether only the site can change what the site locks."""
    yield Finding("site file", "ok", str(found.file))
    for path in (found.file, found.file.parent):
        mode = path.stat().st_mode
        if mode & stat.S_IWOTH and not (mode & stat.S_ISVTX and path.is_dir()):
            text = f"{path} is writable for everybody, and so is what the site locks"
            yield Finding("site file", "error", text, f"chmod o-w {path}")
    others = [path for path in found.here.site_files if path != found.file and path.exists()]
    for path in others:
        yield Finding("site file", "warning", f"{path} is there, too, and is not read", f"keep one: {found.file}")
    locked = found.settings.locked
    text = (
        f"users cannot change {', '.join(locked)}" if locked else "nothing: users may set all that is not yours alone"
    )
    yield Finding("locked", "ok", text)


def _sense(found: Site) -> Iterator[Finding]:
    """Keys that are right, and still not what a site can have meant."""
    for name in found.said:
        if name in NOT_FOR_ALL:
            yield Finding(
                "keys", "warning", f"`{name}` is one session's affair, and here it is that of all", "leave it out"
            )
    settings = found.settings
    if settings.session_dir:
        text = f"`session_dir` = {settings.session_dir}: one folder cannot be the private one of each user"
        yield Finding("keys", "error", text, "leave it out, and set TMPDIR or SEVENLBD_SESSION_DIR in the job's prolog")
    if settings.require_signed and not settings.trusted_keys:
        text = "`require_signed` without `trusted_keys`: no image would be let through"
        yield Finding("keys", "error", text, "7lbd image keygen makes a key, and prints the lines for this file")
    if settings.signal_lead < settings.stop_grace:
        text = f"`signal_lead` ({people.duration(settings.signal_lead)}) is less than `stop_grace` "
        text += f"({people.duration(settings.stop_grace)}): Slurm would end a job before its guest has shut down"
        yield Finding("keys", "warning", text, "raise signal_lead")


def _images(found: Site) -> Iterator[Finding]:
    try:
        trusted = signature.trusted(found.settings.trusted_keys)
    except Refusal as refusal:
        yield _refused("trusted_keys", refusal)
        trusted = ()
    wanted = dict.fromkeys([found.settings.image, *(name for name, _ in found.ondemand.choices())])
    for name in filter(None, wanted):
        yield from _image(found, name, trusted)
    for folder in found.settings.image_dirs:
        if not user_path(folder).is_dir():
            text = f"{folder} is not a folder that the container shows"
            yield Finding("image_dirs", "error", text, f"make it, or show it: apptainer run --bind {folder} ...")


def _image(found: Site, name: str, trusted: tuple[str, ...]) -> Iterator[Finding]:
    check = f"image {name}"
    try:
        image = images.resolve(name, found.folders, places.image_cache(found.settings))
        if found.settings.require_signed and image.folder:
            signature.check(image.folder, trusted)
    except Refusal as refusal:
        yield _refused(check, refusal)
        return
    asks = found.settings.memory or image.description.memory
    yield Finding(check, "ok", f"{image.title}, {people.size(asks)} for the guest, {image.layers[0].path}")
    jobs = [
        (f"[ondemand] size `{size.title}`", size.memory) for size in found.ondemand.sizes if "ondemand" in found.said
    ]
    jobs += [("[slurm]", found.slurm.memory)] if found.slurm.memory else []
    for what, memory in jobs:
        if memory < asks + HELPERS_MEMORY:
            text = f"{what} gives {people.size(memory)}; the guest takes {people.size(asks)}, its helpers "
            yield Finding(check, "error", f"{text}{people.size(HELPERS_MEMORY)}", _MORE_MEMORY)


def _files(found: Site) -> Iterator[Finding]:
    """The shares for all, and the folders that the portal's form offers."""
    for text in (*found.settings.shares, *found.ondemand.shares):
        try:
            share = shares.parse(text)
            yield Finding("shares", "ok", f"{share.name}: {share.path}")
        except Refusal as refusal:
            yield _refused("shares", refusal)
    for root in found.ondemand.share_roots:
        if not Path(root).is_dir():
            text = f"[ondemand] `share_roots`: {root} is not a folder that the container shows"
            yield Finding("shares", "error", text, f"add it to [slurm] binds, or: apptainer run --bind {root} ...")


def _ways_in(found: Site) -> Iterator[Finding]:
    try:
        ways = connectors.check(found.settings, clipboard=True)
    except Refusal as refusal:
        yield _refused("ways in", refusal)
        return
    for path in filter(None, (ways.certificate, ways.key)):
        if not os.access(path, os.R_OK):
            yield Finding("web_certificate", "error", f"{path} is not readable for you", "each session's user reads it")
    wanted = {"web": ways.web, "rdp_tls": ways.rdp_tls}
    if "ondemand" in found.said:
        with suppress(Refusal):  # which `amiss` tells
            wanted["[ondemand] web"] = listeners.parse("web", found.ondemand.web)
    for name, place in wanted.items():
        if place:
            yield _port(name, place)


def _port(name: str, place: listeners.Place) -> Finding:
    try:
        with listeners.tcp(name, place) as socket:
            free = socket.getsockname()[1]
    except Refusal as refusal:
        return _refused("ways in", refusal)
    first = "any free port" if place.first == 0 else f"port {free} is free"
    return Finding("ways in", "ok", f"{name}: {place.address}, {first}")


def _ways_out(found: Site) -> Iterator[Finding]:
    """Each host is looked up: one that is not found is an error here, as the desktop's user could not mend it."""
    settings = found.settings
    if not settings.egress_allow:
        return
    try:
        decision = decide.decide(settings.model_copy(update={"egress": True}))
    except Refusal as refusal:
        yield _refused("ways out", refusal)
        return
    for note in decision.notes:
        yield Finding("ways out", "error", note, "mend the name, the name server, or say where it is: egress_hosts")
    if allowed := decision.allowed:
        for name, addresses in allowed.names:
            yield Finding("ways out", "ok", f"{name}: {', '.join(addresses)}")
        doors, patterns = len(allowed.tcp) + len(allowed.udp), len(allowed.proxy)
        yield Finding("ways out", "ok", f"{doors} ports of servers, {patterns} patterns of the proxy")


def _folders(found: Site) -> Iterator[Finding]:
    yield _shared(register.where(found.settings.state_dir, found.here.environment))
    cache = places.image_cache(found.settings)
    if cache and not cache.is_dir():
        text = f"{cache} is not a folder here, so images are read from their repository"
        yield Finding(
            "image_cache", "warning", text, f"make it on the node, or show it: apptainer run --bind {cache} ..."
        )
    elif cache and filesystems.is_shared(cache):
        text = f"{cache} is on {filesystems.kind(cache)}: a cache is for a node's own disk"
        yield Finding("image_cache", "warning", text, "choose a folder on a local disk")


def _shared(folder: Path | None) -> Finding:
    """Where sessions leave word of themselves. Other nodes must see it."""
    if folder is None:
        text = "sessions leave no word of themselves: status, stop and connect know only those of their own node"
        return Finding("state_dir", "ok", text)
    parent = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(parent, os.W_OK | os.X_OK):
        text = f"{folder} cannot be made: {parent} is not writable for you"
        return Finding("state_dir", "warning", text, "choose one in the users' homes: leave state_dir out")
    if not filesystems.is_shared(parent):
        text = f"{folder} is on {filesystems.kind(parent)}, which other nodes do not see, as far as can be told"
        return Finding(
            "state_dir", "warning", text, "if homes are not shared, name a folder in the users' reach that is"
        )
    return Finding("state_dir", "ok", f"{folder}, on {filesystems.kind(parent)}")


def _container(found: Site) -> Iterator[Finding]:
    """What the job's container would show, which is not what ours shows, if we were called in another way."""
    for bind in found.slurm.binds:
        source = bind.partition(":")[0]
        there = Path(f"{NODE_ROOT}{source}") if NODE_ROOT.is_dir() else Path(source)
        if not there.exists():
            text = f"[slurm] `binds`: {source} is not there, or not shown here"
            yield Finding("binds", "error" if NODE_ROOT.is_dir() else "warning", text, _CALLED)
    if found.slurm.sif and not Path(found.slurm.sif).is_file():
        text = f"[slurm] `sif` = {found.slurm.sif} is not there, or not shown here"
        yield Finding("binds", "warning", text, _CALLED)


_CALLED = "call doctor by the `7lbd` command (7lbd render command), which shows what jobs are shown"


def _portal(found: Site) -> Iterator[Finding]:
    if "ondemand" not in found.said:
        return
    wrong = list(amiss(found.ondemand, found.settings))
    for text in wrong:
        yield Finding("portal", "error", text, "see docs/ondemand.md")
    if not wrong:
        portals = ", ".join(found.ondemand.portals or found.settings.portals)
        yield Finding("portal", "ok", f"{portals}; clusters: {', '.join(found.ondemand.cluster)}")


def _scheduler(found: Site) -> Iterator[Finding]:
    """Whether sbatch would take each job (sbatch(1), --test-only): partition, account, features, sizes."""
    programs = NodePrograms(found.here.environment)
    if not programs.has("sbatch"):
        if "slurm" in found.said or "ondemand" in found.said:
            yield Finding("scheduler", "warning", "sbatch cannot be called from here, so no job was tried", _CALLED)
        return
    for what, slurm in _jobs(found):
        yield _tried(found, programs, what, slurm)


def _jobs(found: Site) -> Iterator[tuple[str, Slurm]]:
    yield "the job of submit", found.slurm
    if "ondemand" in found.said:
        for size in found.ondemand.sizes:
            options = (*found.slurm.options, *found.ondemand.options, *size.options)
            changes = {"memory": size.memory, "cpus": size.cpus, "options": options}
            yield f"[ondemand] size `{size.title}`", found.slurm.model_copy(update=changes)


def _tried(found: Site, programs: NodePrograms, what: str, slurm: Slurm) -> Finding:
    try:
        want = jobscript.Wanted(slurm, {}, (), ())
        script = jobscript.text(want, found.settings, found.here, "7lbd doctor")
        done = programs.run("sbatch", "--test-only", stdin=script)
    except Refusal as refusal:
        return _refused("scheduler", refusal, "warning")
    except Missing as missing:
        return Finding("scheduler", "warning", str(missing), _CALLED)
    said = " ".join(done.said.replace("sbatch: ", "").split())
    if done.code:
        return Finding(
            "scheduler", "error", f"{what} would be refused: {said}", "see [slurm] of the site's file, and: sinfo"
        )
    return Finding("scheduler", "ok", f"{what}: {said}")
