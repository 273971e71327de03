"""The inner root: all that the session's processes see of the file system.

    /usr, /etc ...       the appliance's own files, read-only as the SIF is, without what the node has put there
    /proc, /dev, /tmp    their own: this PID namespace, a handful of devices, empty
    /run/7lbd            private tmpfs: configuration, secrets, sockets
    /run/7lbd/session    the session's files that both sides touch, each by itself (`shared_files`)
    /run/7lbd/image      the layers of the disk, ISO files and the warm state, read-only
    /run/7lbd/overlay.qcow2   the only disk that is written to
    /run/7lbd/job, work  of a session that runs commands: where it is told them, and where they work on copies
    the shares           each at the path where the user sees it, so that absolute links in it work

The user's other files, sessions and sockets are not there. Sources: mount(2), pivot_root(2).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from ...base import syscalls
from ...base.syscalls import (
    MS_BIND,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_RELATIME,
    MS_REMOUNT,
    mount,
)
from ...wire import job_files, shared_files
from ...wire.inner_files import PRIVATE
from ...wire.keeper import NO_PROC
from ...wire.plan import Plan, Share
from . import mounts

SESSION = PRIVATE / "session"
LOGS = SESSION / shared_files.LOGS
JOB, WORK = PRIVATE / job_files.JOB, PRIVATE / job_files.WORK
IMAGE = PRIVATE / "image"
VARIABLES_TEMPLATE = IMAGE / "variables"
OVERLAY = PRIVATE / shared_files.OVERLAY
WARM_DISK, WARM_MEMORY, WARM_STATE = IMAGE / "warm-disk", IMAGE / "warm-memory", IMAGE / "warm-state"
WARM_VARIABLES = IMAGE / "warm-variables"

_APPLIANCE = ("usr", "etc", "var", "opt", "bin", "sbin", "lib", "lib64", ".singularity.d")
_DEVICES = ("null", "zero", "random", "urandom")  # what --contain leaves, too
_OWN = {"proc", "dev", "tmp", "run", "sys", *_APPLIANCE}
_SAFE = MS_NOSUID | MS_NODEV
_NAMED = 3  # of what covers /proc: enough to know whose work it is
_ST_NOSYMFOLLOW = 0x2000  # statfs(2); Python does not know it
# A remount may add flags, but must repeat those that the node set: statvfs(3) flag, mount(2) flag.
_KEPT_FLAGS = (
    (os.ST_NOSUID, MS_NOSUID),
    (os.ST_NODEV, MS_NODEV),
    (os.ST_NOEXEC, MS_NOEXEC),
    (os.ST_NOATIME, MS_NOATIME),
    (os.ST_NODIRATIME, MS_NODIRATIME),
    (os.ST_RELATIME, MS_RELATIME),
    (_ST_NOSYMFOLLOW, MS_NOSYMFOLLOW),
)
# smbd looks nobody up when it starts, though nobody is ever let in as a guest. It also judges each access by itself,
# before the kernel does, and of the user's groups it knows those that are found here. In here the kernel shows every
# other group as 65534, and in an access list as 2^32 - 1. With the user in both, smbd refuses nothing for a group's
# sake, and the kernel decides, which knows the groups of the process (user_namespaces(7)).
_PASSWD = "{user}:x:{uid}:{gid}::/run/7lbd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
_GROUP = "{user}:x:{gid}:\nnogroup:x:65534:{user}\nunmapped:x:4294967295:{user}\n"


def layer_path(number: int) -> Path:
    """Where layer `number` of the disk, 0 being the top, is found inside."""
    return IMAGE / str(number)


def cdrom_path(number: int) -> Path:
    """Where ISO file `number` is found inside."""
    return IMAGE / f"cdrom{number}"


def move_into(plan: Plan, descriptors: Mapping[str, int]) -> None:
    """Build the inner root and make it ours. Raises OSError that names the place.

    Among the `descriptors`, by name, is the memory that an encrypted session has instead of files.
    """
    mount("none", Path("/"), "", MS_REC | MS_PRIVATE)
    new = PRIVATE
    mount("tmpfs", new, "tmpfs", _SAFE, "mode=0755,size=4m,nr_inodes=4096")
    _appliance(new)
    _devices(new, plan)
    _proc(_folder(new / "proc"))
    mount("tmpfs", _folder(new / "tmp"), "tmpfs", _SAFE, "mode=0700,size=16m,nr_inodes=4096")
    _shares(new, plan)
    _private(new, plan, descriptors)
    syscalls.change_root(new)


class CoveredProc(OSError):
    """The kernel makes no /proc of our own, since it would show what this node covers (mount_namespaces(7))."""


def _proc(target: Path) -> None:
    try:
        mount("proc", target, "proc", _SAFE | MS_NOEXEC)
    except PermissionError as error:
        covers = [str(one.point) for one in mounts.below(Path("/proc"))[1:]]
        if not covers:
            raise
        what = f"{NO_PROC}, because something is mounted over {', '.join(covers[:_NAMED])}"
        raise CoveredProc(error.errno, what) from None


def _appliance(new: Path) -> None:
    for name in _APPLIANCE:
        source = Path("/") / name
        if source.is_symlink():
            (new / name).symlink_to(source.readlink())
        elif source.is_dir():
            _bind(source, _folder(new / name))
    _without_the_node(new)


def _without_the_node(new: Path) -> None:
    """Apptainer and sites mount the node's own into the appliance: /var/tmp, /etc/hosts, what not.

    A folder is hidden, a file is only read, and so are the folders that Apptainer itself makes to mount the
    appliance's pieces in.
    """
    strangers = [one for one in mounts.strangers(new, Path(sys.executable)) if one.point != new]
    ours = {one.point for one in mounts.below(new) if one not in strangers}
    hidden: list[Path] = []
    for one in strangers:
        if any(one.point.is_relative_to(folder) for folder in hidden):
            continue
        if one.point.is_dir() and not any(point.is_relative_to(one.point) for point in ours):
            mount("tmpfs", one.point, "tmpfs", _SAFE | MS_NOEXEC, "mode=0755,size=64k,nr_inodes=64")
            hidden.append(one.point)
        else:
            _restrict(one.point, MS_RDONLY)


def _devices(new: Path, plan: Plan) -> None:
    names = list(_DEVICES)
    names += ["kvm"] if plan.accel == "kvm" else []
    names += ["net/tun"] if plan.network == "tap" else []
    for name in names:
        _bind(Path("/dev") / name, _file(new / "dev" / name))


def _shares(new: Path, plan: Plan) -> None:
    """The shares, outer ones first; what is the user's and ours never shows in one: sessions, keys, settings."""
    for path in plan.hidden:
        with suppress(OSError):  # made later, it would show
            Path(path).mkdir(mode=0o700, parents=True, exist_ok=True)
    if plan.wide_links:
        # The site lets links lead out of a share: then what they may lead to must be there.
        for entry in Path("/").iterdir():
            if entry.name not in _OWN and entry.is_dir() and not entry.is_symlink():
                _bind(entry, _folder(new / entry.name))
    for share in shares_to_bind(plan.shares):
        target = _folder(new / share.path.lstrip("/"))
        _bind(Path(share.path), target)
        if share.read_only:
            _restrict(target, MS_RDONLY)
    for path in (str(Path(plan.folder).parent), *(path for path in plan.hidden if Path(path).is_dir())):
        for appearance in list(mounts.appearances(Path(path), new)):
            mount("tmpfs", appearance, "tmpfs", _SAFE | MS_RDONLY, "mode=0500,size=4k")


def shares_to_bind(shares: Iterable[Share]) -> Iterator[Share]:
    """One share for each path that needs a mount of its own, outer ones first.

    What lies in a writable share is there already, and must stay writable for it: where the same folder is offered
    read-only as well, that is smbd's to hold.
    """
    writable: list[Path] = []
    for share in sorted(shares, key=lambda share: (len(share.path), share.read_only)):
        if not share.read_only:
            writable.append(Path(share.path))
        elif any(Path(share.path).is_relative_to(path) for path in writable):
            continue
        yield share


def _private(new: Path, plan: Plan, descriptors: Mapping[str, int]) -> None:
    inner = _folder(new / "run/7lbd")
    mount("tmpfs", inner, "tmpfs", _SAFE | MS_NOEXEC, "mode=0700,size=64m,nr_inodes=16384")

    def placed(path: Path) -> Path:
        return inner / path.relative_to(PRIVATE)

    for name in shared_files.of(plan):
        _bind_data(Path(plan.folder) / name, _file(placed(SESSION / name)))
    if plan.encrypted:
        _without_files(placed(SESSION), descriptors)
    for path, target in _read_only_files(plan):
        _bind_data(Path(path), _file(placed(target)), MS_RDONLY)
    _bind_data(Path(plan.overlay), _file(placed(OVERLAY)))
    for path, target in _batch_folders(plan):
        _bind_data(Path(path), _folder(placed(target)), MS_NOSYMFOLLOW)
    for entry, content in _etc(plan):
        ours = inner / entry
        ours.write_text(content.format(user=plan.user, uid=plan.uid, gid=plan.gid))
        ours.chmod(0o644)
        mount(str(ours), new / "etc" / entry, "", MS_BIND)


def _without_files(session: Path, descriptors: Mapping[str, int]) -> None:
    """Files of an encrypted session that the node has not: memory by its descriptor, and what never leaves."""
    for name in shared_files.IN_MEMORY:
        (session / name).symlink_to(f"/proc/self/fd/{descriptors[str(name)]}")
    for name in shared_files.KEPT_INSIDE:
        _file(session / name)


def _batch_folders(plan: Plan) -> Iterator[tuple[str, Path]]:
    """Folders of the session's own that are shares, each with its place inside."""
    if plan.batch:
        yield plan.batch.job, JOB
        if plan.batch.work:
            yield plan.batch.work, WORK


def all_shares(plan: Plan) -> Iterator[Share]:
    """The plan's, and those of the session's own folders: no path of the user's leads to these inside."""
    yield from plan.shares
    for _, place in _batch_folders(plan):
        yield Share(place.name, str(place), read_only=False)


def _etc(plan: Plan) -> Iterator[tuple[str, str]]:
    """Files of /etc that are the session's own."""
    yield from (("passwd", _PASSWD), ("group", _GROUP))
    if plan.egress and Path("/etc/resolv.conf").exists():
        # QEMU's own network asks for the guest whom it finds named here: the session's DNS, not the node's.
        yield "resolv.conf", "nameserver 127.0.0.1\n"


def _read_only_files(plan: Plan) -> Iterator[tuple[str, Path]]:
    """The image's files, each with its place inside."""
    for number, layer in enumerate(plan.layers):
        yield layer.path, layer_path(number)
    for number, path in enumerate(plan.cdroms):
        yield path, cdrom_path(number)
    if plan.guest.variables:
        yield plan.guest.variables, VARIABLES_TEMPLATE
    if warm := plan.warm:
        yield warm.disk, WARM_DISK
        if not plan.encrypted:  # else they are in memory of the session's own already
            yield from ((warm.memory, WARM_MEMORY), (warm.state, WARM_STATE))
        if warm.variables:
            yield warm.variables, WARM_VARIABLES


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


def _file(path: Path) -> Path:
    _folder(path.parent)
    path.touch()
    return path


def _bind(source: Path, target: Path) -> None:
    mount(str(source), target, "", MS_BIND | MS_REC)


def _bind_data(source: Path, target: Path, flags: int = 0) -> None:
    """A file that is read or written, and never executed or a device."""
    _bind(source, target)
    _restrict(target, flags | _SAFE | MS_NOEXEC)


def _restrict(target: Path, flags: int) -> None:
    current = os.statvfs(target).f_flag
    kept = sum(flag for statvfs_flag, flag in _KEPT_FLAGS if current & statvfs_flag and not flags & flag)
    mount("none", target, "", MS_REMOUNT | MS_BIND | flags | kept)
