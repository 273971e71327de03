"""Another site's user on this machine: another number of his account, another name, home and host name.

To whoever runs there it is all that there is: it is the outer of two user namespaces that may change the host name and
mount, and the inner one that gives the number (user_namespaces(7)). Files of whoever tests belong to that user there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

HOST, USER, UID = "login7.other-cluster.example.edu", "bob", 12345
_MOVE = """
hostname "$1"; mount --bind "$2" /etc/passwd; mount --bind "$3" /etc/group; number=$4; shift 4
exec unshare --user --map-user="$number" --map-group="$number" "$@"
"""


@dataclass(frozen=True)
class OtherSite:
    """`folder` has the user's home and state, and the accounts that are known there."""

    folder: Path

    @property
    def home(self) -> Path:
        """The user's."""
        return self.folder / "home"

    @property
    def state(self) -> Path:
        """Where the user's saved desktops and their key are."""
        return self.home / ".local" / "state" / "7lbd"

    @property
    def prefix(self) -> list[str]:
        """Runs a command there."""
        accounts = [str(self.folder / name) for name in ("passwd", "group")]
        spaces = ["unshare", "--user", "--map-root-user", "--mount", "--uts", "sh", "-ec", _MOVE, "sh"]
        return [*spaces, HOST, *accounts, str(UID)]

    @property
    def env(self) -> dict[str, str | None]:
        """What its user has in the environment, beside what tests have."""
        return {"HOME": str(self.home), "USER": USER, "LOGNAME": USER, "SEVENLBD_STATE_DIR": None}


def made(folder: Path) -> OtherSite:
    """The home of a user whom nobody else knows."""
    (folder / "home").mkdir(parents=True)
    (folder / "passwd").write_text(f"root:x:0:0::/root:/bin/sh\n{USER}:x:{UID}:{UID}::{folder}/home:/bin/bash\n")
    (folder / "group").write_text(f"root:x:0:\n{USER}:x:{UID}:\n")
    return OtherSite(folder)
