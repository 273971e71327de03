"""Which folders of a node a session's container must show, beside what Apptainer shows by itself (home, /tmp)."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ...settings import Settings
from .. import places


def folders(sif: str, chosen: Settings, more: Iterable[str] = ()) -> list[str]:
    """Their paths, the SIF's own first. A node need not have them all: a cache, say. Absolute paths only."""
    named = [*chosen.image_dirs, chosen.image_cache, chosen.session_dir, chosen.egress_log, *more]
    named += [path_of(share) for share in chosen.shares]
    files = [sif, chosen.web_certificate, chosen.web_key, chosen.image]
    named += [str(Path(file).parent) for file in files if file.startswith("/")]
    named.insert(0, str(Path(sif).parent) if sif.startswith("/") else "")
    named.append(str(places.ETC))
    return list(dict.fromkeys(name for name in named if name.startswith("/") and name != "/"))


def path_of(share: str) -> str:
    """The folder of a share, as `NAME=PATH[:ro]` has it."""
    return share.partition("=")[2].removesuffix(":ro").removesuffix(":rw")
