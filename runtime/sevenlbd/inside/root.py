"""The inner root: all that the session's processes see of the file system.

    /usr, /etc ...       the appliance's own files, read-only as the SIF is
    /proc, /dev, /tmp    their own: this PID namespace, a handful of devices, empty
    /run/7lbd            private tmpfs: configuration, secrets, sockets
    /run/7lbd/session    the session's folder
    /run/7lbd/image      the layers of the disk, read-only
    the shares           each at the path where the user sees it, so that absolute links in it work

The user's other files, sessions and sockets are not there. Sources: mount(2), pivot_root(2).
"""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from ..messages import Plan, Share

PRIVATE = Path("/run/7lbd")
SESSION = PRIVATE / "session"
LOGS = SESSION / "logs"
IMAGE = PRIVATE / "image"
VARIABLES_TEMPLATE = IMAGE / "variables"

_APPLIANCE = ("usr", "etc", "var", "opt", "bin", "sbin", "lib", "lib64", ".singularity.d")
_DEVICES = ("null", "zero", "full", "random", "urandom")
_OWN = {"proc", "dev", "tmp", "run", "sys", *_APPLIANCE}
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT = 1, 2, 4, 8, 32
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_SAFE = _MS_NOSUID | _MS_NODEV
_MNT_DETACH = 2
# A remount may add flags, but must repeat those that the node set: statvfs(3) flag, mount(2) flag.
_KEPT_FLAGS = ((2, _MS_NOSUID), (4, _MS_NODEV), (8, _MS_NOEXEC), (1024, 1024), (2048, 2048), (4096, 1 << 21))
# smbd looks nobody up when it starts, though nobody is ever let in as a guest.
_PASSWD = "{user}:x:{uid}:{gid}::/run/7lbd:/usr/sbin/nologin\nnobody:x:65534:65534::/:/usr/sbin/nologin\n"
_GROUP = "{user}:x:{gid}:\nnogroup:x:65534:\n"

_libc = ctypes.CDLL(None, use_errno=True)


def layer_path(number: int) -> Path:
    """Where layer `number` of the disk, 0 being the top, is found inside."""
    return IMAGE / str(number)


def move_into(plan: Plan) -> None:
    """Build the inner root and make it ours. Raises OSError that names the place."""
    _mount("none", Path("/"), "", _MS_REC | _MS_PRIVATE)
    new = PRIVATE
    _mount("tmpfs", new, "tmpfs", _SAFE, "mode=0755,size=4m")
    _appliance(new)
    _devices(new, plan)
    _mount("proc", _folder(new / "proc"), "proc", _SAFE | _MS_NOEXEC)
    _mount("tmpfs", _folder(new / "tmp"), "tmpfs", _SAFE, "mode=0700,size=16m")
    _shares(new, plan)
    _private(new, plan)
    os.chdir(new)
    _check(_libc.pivot_root(b".", b"."), "pivot_root", new)
    _check(_libc.umount2(b".", _MNT_DETACH), "umount of the old root", Path("/"))
    os.chdir("/")


def _appliance(new: Path) -> None:
    for name in _APPLIANCE:
        source = Path("/") / name
        if source.is_symlink():
            (new / name).symlink_to(source.readlink())
        elif source.is_dir():
            _bind(source, _folder(new / name))


def _devices(new: Path, plan: Plan) -> None:
    wanted = list(_DEVICES)
    wanted += ["kvm"] if plan.accel == "kvm" else []
    wanted += ["net/tun"] if plan.network == "tap" else []
    for name in wanted:
        _bind(Path("/dev") / name, _file(new / "dev" / name))


def _shares(new: Path, plan: Plan) -> None:
    """The shares, outer ones first; the sessions' folders never show in one, not even this session's."""
    if plan.wide_links:
        # The site lets links lead out of a share: then what they may lead to must be there.
        for entry in Path("/").iterdir():
            if entry.name not in _OWN and entry.is_dir() and not entry.is_symlink():
                _bind(entry, _folder(new / entry.name))
    for share in sorted(plan.shares, key=lambda share: len(share.path)):
        target = _folder(new / share.path.lstrip("/"))
        _bind(Path(share.path), target)
        _protect(share, target)
    hidden = new / str(Path(plan.folder).parent).lstrip("/")
    if hidden.is_dir():
        _mount("tmpfs", hidden, "tmpfs", _SAFE | _MS_RDONLY, "mode=0500,size=4k")


def _protect(share: Share, target: Path) -> None:
    if share.read_only:
        _read_only(target)


def _private(new: Path, plan: Plan) -> None:
    inner = _folder(new / "run/7lbd")
    _mount("tmpfs", inner, "tmpfs", _SAFE | _MS_NOEXEC, "mode=0700,size=64m")

    def placed(path: Path) -> Path:
        return inner / path.relative_to(PRIVATE)

    _bind(Path(plan.folder), _folder(placed(SESSION)))
    for number, layer in enumerate(plan.layers):
        target = _file(placed(layer_path(number)))
        _bind(Path(layer.path), target)
        _read_only(target)
    if plan.guest.variables:
        _bind(Path(plan.guest.variables), _file(placed(VARIABLES_TEMPLATE)))
    for name, content in (("passwd", _PASSWD), ("group", _GROUP)):
        ours = inner / name
        ours.write_text(content.format(user=plan.user, uid=plan.uid, gid=plan.gid))
        ours.chmod(0o644)
        _mount(str(ours), new / "etc" / name, "", _MS_BIND)


def _folder(path: Path) -> Path:
    path.mkdir(mode=0o755, parents=True, exist_ok=True)
    return path


def _file(path: Path) -> Path:
    _folder(path.parent)
    path.touch()
    return path


def _bind(source: Path, target: Path) -> None:
    _mount(str(source), target, "", _MS_BIND | _MS_REC)


def _read_only(target: Path) -> None:
    found = os.statvfs(target).f_flag
    kept = sum(flag for seen, flag in _KEPT_FLAGS if found & seen)
    _mount("none", target, "", _MS_REMOUNT | _MS_BIND | _MS_RDONLY | kept)


def _mount(source: str, target: Path, kind: str, flags: int, data: str = "") -> None:
    """mount(2). Raises OSError that names the target."""
    done = _libc.mount(os.fsencode(source), os.fsencode(target), kind.encode(), flags, data.encode())
    _check(done, f"mount of {kind or source}", target)


def _check(result: int, what: str, where: Path) -> None:
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}", str(where))
