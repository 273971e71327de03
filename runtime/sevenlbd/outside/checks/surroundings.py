"""Folders that the site's file names, and what the job's container would show."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from ...base.paths import is_folder
from ...config import sources
from ..node import filesystems
from ..node.node_programs import NODE_ROOT
from ..presence import records
from .checked_site import CALLED, CheckedSite
from .doctor import Finding


def of_folders(site: CheckedSite) -> Iterator[Finding]:
    yield _shared(records.where(site.settings.state_dir, site.here.environment))
    cache = sources.image_cache(site.settings)
    if cache and not is_folder(cache):
        text = f"{cache} is not a folder here, so images are read from their repository"
        yield Finding(
            "image_cache", "warning", text, f"make it on the node, or show it: apptainer run --bind {cache} ..."
        )
    elif cache and filesystems.is_shared(cache):
        text = f"{cache} is on {filesystems.kind(cache)}: a cache is for a node's own disk"
        yield Finding("image_cache", "warning", text, "choose a folder on a local disk")


def _shared(folder: Path | None) -> Finding:
    """Where sessions leave records of themselves. Other nodes must see it."""
    if folder is None:
        text = "sessions leave no word of themselves: status, stop and connect know only those of their own node"
        return Finding("state_dir", "ok", text)
    parent = next(path for path in (folder, *folder.parents) if os.access(path, os.F_OK))
    if not os.access(parent, os.W_OK | os.X_OK):
        text = f"{folder} cannot be made: {parent} is not writable for you"
        return Finding("state_dir", "warning", text, "choose one in the users' homes: leave state_dir out")
    if not filesystems.is_shared(parent):
        text = f"{folder} is on {filesystems.kind(parent)}, which other nodes do not see, as far as can be told"
        return Finding(
            "state_dir", "warning", text, "if homes are not shared, name a folder in the users' reach that is"
        )
    return Finding("state_dir", "ok", f"{folder}, on {filesystems.kind(parent)}")


def of_container(site: CheckedSite) -> Iterator[Finding]:
    """What the job's container would show, which is not what ours shows, if we were called in another way."""
    named = [("binds", bind.partition(":")[0]) for bind in site.slurm.binds]
    named += [("sif", site.slurm.sif)] if site.slurm.sif else []
    for key, path in named:
        if os.access(f"{NODE_ROOT}{path}" if NODE_ROOT.is_dir() else path, os.F_OK):
            continue
        text = f"[slurm] `{key}`: {path} is not on {os.uname().nodename}"
        if NODE_ROOT.is_dir():
            yield Finding("binds", "error", text, "name what every node has: else no job can start there")
        else:
            yield Finding("binds", "warning", f"{text}, or not shown here", CALLED)
