"""Keys that are right, and still not what a site can have meant; and who could change them."""

from __future__ import annotations

import stat
from collections.abc import Iterator

from ...base import units
from ..site.site_file import NOT_FOR_ALL
from .checked_site import CheckedSite
from .doctor import Finding


def file(site: CheckedSite) -> Iterator[Finding]:
    """Whether everybody can read it, and only the site can change what it locks."""
    yield Finding("site file", "ok", str(site.file))
    for path, reading in ((site.file, stat.S_IROTH), (site.file.parent, stat.S_IXOTH)):
        mode = path.stat().st_mode
        if mode & stat.S_IWOTH and not (mode & stat.S_ISVTX and stat.S_ISDIR(mode)):
            text = f"{path} is writable for everybody, and so is what the site locks"
            yield Finding("site file", "error", text, f"chmod o-w {path}")
        if not mode & reading:
            text = f"{path} is not for everybody to read (mode {mode & 0o777:04o}): who cannot is refused a session"
            yield Finding("site file", "warning", text, f"chmod a+rX {path}, if that is not what you want")
    others = [path for path in site.here.site_files if path != site.file and path.exists()]
    for path in others:
        yield Finding("site file", "warning", f"{path} is there, too, and is not read", f"keep one: {site.file}")
    locked = site.settings.locked
    text = (
        f"users cannot change {', '.join(locked)}" if locked else "nothing: users may set all that is not yours alone"
    )
    yield Finding("locked", "ok", text)


def sense(site: CheckedSite) -> Iterator[Finding]:
    """Keys that are right, and still not what a site can have meant."""
    for name in site.said:
        if name in NOT_FOR_ALL:
            yield Finding(
                "keys", "warning", f"`{name}` is one session's affair, and here it is that of all", "leave it out"
            )
    settings = site.settings
    if settings.session_dir:
        text = f"`session_dir` = {settings.session_dir}: one folder cannot be the private one of each user"
        yield Finding("keys", "error", text, "leave it out, and set TMPDIR or SEVENLBD_SESSION_DIR in the job's prolog")
    if settings.require_signed and not settings.trusted_keys:
        text = "`require_signed` without `trusted_keys`: no image would be let through"
        yield Finding("keys", "error", text, "7lbd image keygen makes a key, and prints the lines for this file")
    if settings.signal_lead < settings.stop_grace:
        text = f"`signal_lead` ({units.duration(settings.signal_lead)}) is less than `stop_grace` "
        text += f"({units.duration(settings.stop_grace)}): Slurm would end a job before its guest has shut down"
        yield Finding("keys", "warning", text, "raise signal_lead")
