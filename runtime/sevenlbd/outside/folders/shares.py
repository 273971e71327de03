"""The folders that the guest is given: the settings' words, checked against what is really there."""

from __future__ import annotations

import os
import pwd
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...config.settings import Settings, nearest
from ...wire.plan import Share

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_RESERVED = {"global", "homes", "printers", "ipc"}
_NOT_FOR_SHARING = ("/proc", "/dev", "/sys", "/run/7lbd")


def all_of(settings: Settings, environment: Mapping[str, str]) -> tuple[Share, ...]:
    """The home, unless it is not wanted, and `shares`. Raises Refusal."""
    shares = [home(environment)] if settings.home_share else []
    for text in settings.shares:
        share = parse(text)
        if share.name.lower() in {known.name.lower() for known in shares}:
            raise Refusal(ExitCode.SHARE, f"the share `{share.name}` is given twice", hint="give each its own name")
        shares.append(share)
    if settings.protect_dot_files:
        for share in shares:
            _refuse_dot(share, Path(environment.get("HOME", "/")).resolve())
    return tuple(_cached(shares, settings.cached_shares))


def _cached(shares: list[Share], names: Iterable[str]) -> Iterator[Share]:
    """The shares, those of `names` as such that the guest has for itself. Raises Refusal for a name without a share."""
    cached_names = {name.lower() for name in names}
    known = {share.name.lower() for share in shares}
    for name in names:
        if name.lower() not in known:
            what = f"`cached_shares`: there is no share `{name}`{nearest(name, sorted(known))}"
            raise Refusal(ExitCode.SHARE, what, hint="the home is `home`, the others are named by --share NAME=PATH")
    for share in shares:
        yield replace(share, cached=share.name.lower() in cached_names)


def _refuse_dot(share: Share, home: Path) -> None:
    """What smbd keeps from the guest are names in a share, not those that lead to it."""
    path = Path(share.path)
    below = path.relative_to(home).parts if path.is_relative_to(home) else path.parts[-1:]
    if any(part.startswith(".") for part in below):
        what = f"share `{share.name}`: {share.path} is in a folder whose name begins with a dot"
        raise Refusal(ExitCode.SHARE, what, hint="leave it out; or, if the site lets you: --no-protect-dot-files")


def home(environment: Mapping[str, str]) -> Share:
    """The user's home as a share. Raises Refusal when it cannot be one."""
    home = environment.get("HOME", "")
    if not home:
        try:
            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            raise Refusal(
                ExitCode.SHARE, "HOME is not set and you have no passwd entry", hint="set HOME, or use --no-home-share"
            ) from None
    return _checked(Share("home", home, read_only=False), "use --no-home-share to do without")


def parse(text: str) -> Share:
    """A share as `shares` has it, with its real path. Raises Refusal."""
    name, equals, path = text.partition("=")
    read_only = path.endswith(":ro")
    path = path.removesuffix(":ro").removesuffix(":rw")
    if not equals or not path or not _NAME.fullmatch(name) or name.lower() in _RESERVED:
        raise Refusal(
            ExitCode.SHARE,
            f"share `{text}`: is not NAME=PATH or NAME=PATH:ro",
            hint="NAME has up to 32 letters, digits, _ and -; for instance --share data=/scratch/data:ro",
        )
    return _checked(Share(name, path, read_only), "see what the container shows: apptainer exec 7lbd.sif ls -ld ...")


def _would_be_misread(path: str) -> bool:
    """smb.conf(5); a quote at the end smbd takes off when it reads the path, and serves the folder of that name."""
    return path != path.strip() or path.endswith(("\\", '"')) or any(c == "%" or not c.isprintable() for c in path)


def _checked(share: Share, hint: str) -> Share:
    """The share with its real path, or a Refusal."""
    path = user_path(share.path)
    if _would_be_misread(share.path) or _would_be_misread(str(path.resolve())):
        raise Refusal(
            ExitCode.SHARE,
            f"share `{share.name}`: {share.path!r} has a `%`, a control character, or a space, quote or backslash at "
            "its end, which Samba's configuration cannot hold",
            hint="show it under another name: apptainer run --bind 'PATH:/mnt/NAME' ... --share NAME=/mnt/NAME",
        )
    if any(path.resolve().is_relative_to(folder) for folder in _NOT_FOR_SHARING) or path.resolve() == Path("/"):
        what = f"share `{share.name}`: {path} belongs to the system, not to you"
        raise Refusal(ExitCode.SHARE, what, hint="share a folder with files of yours")
    if not os.access(path, os.F_OK):
        hint = f"a folder that the container does not show is added with: apptainer run --bind {path} ...; or {hint}"
        raise Refusal(ExitCode.SHARE, f"share `{share.name}`: {path} does not exist here", hint=hint)
    if not path.is_dir():
        raise Refusal(ExitCode.SHARE, f"share `{share.name}`: {path} is not a folder", hint=hint)
    if not os.access(path, os.R_OK | os.X_OK):
        raise Refusal(ExitCode.SHARE, f"share `{share.name}`: {path} is not readable for you", hint=hint)
    return Share(share.name, str(path.resolve()), share.read_only)
