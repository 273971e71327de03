"""A suspended desktop that a form asks to go on from: found in the user's folder, and its image among the site's.

The form may be hours old: what was suspended last has a word of its own, and what is gone is refused, with what there
is.
"""

from __future__ import annotations

from pathlib import Path

from ...base.errors import ExitCode, Refusal
from ...config import sources
from ...config.settings import Settings
from ...images import names
from ...images.lookup import image as images
from ..saved import places, reading
from ..saved.facts import Facts
from ..site.ondemand_table import LAST, OnDemandTable

_NEW = "start a new session, and begin with another one or with a new desktop"


def chosen(table: OnDemandTable, wanted: str, here: sources.Places) -> dict[str, object]:
    """The settings that lead to the desktop called `wanted`. Raises Refusal when it cannot be gone on from."""
    if not table.saved:
        raise Refusal(ExitCode.USAGE, "the form asks for a suspended desktop", hint="this site offers no such choice")
    settings = sources.settings(here).settings
    path = _found(settings, wanted, here)
    return {"resume": str(path), "image": _image(table, settings, reading.header(path).facts)}


def _found(settings: Settings, wanted: str, here: sources.Places) -> Path:
    folder = places.folder(settings.state_dir, here.environment)
    known = {path.stem: path for path in (places.all_in(folder) if folder else [])}
    if not known:
        raise Refusal(ExitCode.NO_SESSION, "there is no suspended desktop of yours", hint=_NEW)
    if wanted == LAST:
        return max(known.values(), key=_written_at)
    if wanted not in known:
        what = f"the suspended desktop {wanted!r} is not there any more; there are: {', '.join(known)}"
        raise Refusal(ExitCode.NO_SESSION, what, hint=_NEW)
    return known[wanted]


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # gone meanwhile
        return 0.0


def _image(table: OnDemandTable, settings: Settings, facts: Facts) -> str:
    """What the site calls the image that the desktop stands on. Raises Refusal when it offers none like that."""
    offered = [name for name, _ in table.choices()] or [settings.image]
    if facts.image in {name.partition("@")[0] for name in offered}:
        return f"{facts.image}@{facts.version}" if names.is_version(facts.version) else str(facts.image)
    for path in offered:
        if facts.image and "/" in path and facts.image == _called(path):
            return path
    what = f"the suspended desktop stands on the image {facts.image!r}, which is not offered here any more"
    raise Refusal(ExitCode.IMAGE, what, hint=f"the site offers: {', '.join(offered)}")


def _called(path: str) -> str:
    """The name of an image that is offered as a path; empty for one that cannot be read."""
    try:
        return str(images.resolve(path, []).description.name)
    except Refusal:
        return ""
