"""Which folders of a node a session's container must show, beside what Apptainer shows by itself (home, /tmp)."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Iterable
from pathlib import Path

from ...config import sources
from ...config.settings import Settings

# What the appliance itself lives on: the node's would take its place.
_OWN = {"/", "/bin", "/dev", "/etc", "/lib", "/lib64", "/proc", "/run", "/sbin", "/sys", "/var", "/var/lib"}
_OWN |= {"/usr", "/usr/bin", "/usr/lib", "/usr/sbin", "/usr/share"}


def folders(sif: str, chosen: Settings, more: Iterable[str] = ()) -> list[str]:
    """Their paths, the SIF's own first. A node need not have them all: a cache, say.

    Absolute paths only, and none that the appliance itself lives on.
    """
    named = [*chosen.image_dirs, chosen.image_cache, chosen.session_dir, chosen.egress_log, *more]
    named += [path_of(share) for share in chosen.shares]
    files = [sif, chosen.web_certificate, chosen.web_key, chosen.image]
    named += [str(Path(file).parent) for file in files if file.startswith("/")]
    named.insert(0, str(Path(sif).parent) if sif.startswith("/") else "")
    named.append(str(sources.ETC))
    return [name for name in dict.fromkeys(named) if name.startswith("/") and not _is_own(name)]


def _is_own(name: str) -> bool:
    return str(Path(f"/{name.lstrip('/')}")) in _OWN


def path_of(share: str) -> str:
    """The folder of a share, as `NAME=PATH[:ro]` has it."""
    return share.partition("=")[2].removesuffix(":ro").removesuffix(":rw")


def script(folders: Collection[str], binds: Iterable[str], first: str = "") -> str:
    """Lines of bash that gather Apptainer's options for it in the array `desktop_binds`.

    A node that does not have one of `folders` does not show it. `binds` are for `--bind`. `first` is one more folder,
    as the shell is to read it.
    """
    # A site that makes a folder for each job tells it to the job only.
    words = [*filter(None, [first]), *map(shlex.quote, folders), '"${SLURM_TMPDIR-}"', '"${_CONDOR_SCRATCH_DIR-}"']
    lines = [
        "# What the container shows: these folders, each if this node has it, and the site's binds.",
        "desktop_binds=()",
        f"for desktop_shown in {' '.join(words)}; do",
        "    [[ $desktop_shown == /* && -d $desktop_shown ]] || continue",
        # CSV: --bind cannot say a name with a comma or a colon.
        r"    desktop_shown=${desktop_shown//\"/\"\"}",
        r'    desktop_binds+=(--mount "type=bind,\"source=$desktop_shown\",\"destination=$desktop_shown\"")',
        "done",
        *(f"desktop_binds+=(--bind {shlex.quote(bind)})" for bind in binds if bind not in folders),
    ]
    return "\n".join(lines)
