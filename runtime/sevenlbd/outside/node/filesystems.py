"""What kind of file system a folder is on, as far as the node tells: seen by other nodes, or its own.

Source: proc_pid_mountinfo(5).
"""

from __future__ import annotations

import re
from pathlib import Path

from ...base import mount_table

# File systems over a network, or of a cluster; those of FUSE by the name that they give themselves.
_SHARED = re.compile(
    r"nfs4?|lustre|gpfs|beegfs(_nodev)?|ceph|fuse\.(ceph|ceph-fuse|glusterfs|sshfs|cvmfs2|juicefs|weka\w*)|glusterfs|wekafs"
    r"|pvfs2|orangefs|panfs|afs|cifs|smb3|smbfs|9p|virtiofs|ocfs2|gfs2|quobyte|fuse\.quobyte"
)


def kind(path: Path, mounts: Path | None = None) -> str:
    """The name of the file system that `path`, which is there, is on."""
    real = path.resolve()
    best, name = -1, "an unknown file system"
    for line in mount_table.lines(mounts):
        fields, _, more = line.partition(" - ")
        point = Path(re.sub(r"\\(\d{3})", lambda octal: chr(int(octal[1], 8)), fields.split(" ")[4]))
        # Of two at the same place the later one hides the other.
        if real.is_relative_to(point) and len(point.parts) >= best:
            best, name = len(point.parts), more.split(" ")[0]
    return name


def is_shared(path: Path, mounts: Path | None = None) -> bool:
    """Whether other nodes see it, too, by the kind of its file system."""
    return bool(_SHARED.fullmatch(kind(path, mounts)))
