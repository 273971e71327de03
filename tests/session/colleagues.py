"""A node with colleagues: files of other users and groups, and a user who is a member of 20 groups.

Nobody's right is needed for that: the numbers are the user's own in /etc/subuid and /etc/subgid, in a user namespace
that the session starts in. To the session's own namespaces they are as foreign as anybody's.
"""

from __future__ import annotations

import os
import subprocess
import textwrap
from pathlib import Path

COLLEAGUE, STRANGERS = 2001, 4001
GROUPS = tuple(range(3001, 3021))
LAB, COURSE = GROUPS[0], GROUPS[-1]

_SPACE = ["unshare", "--map-current-user", "--map-auto", "--keep-caps", "--"]


def member() -> list[str]:
    """A prefix: the command runs as the user, with 20 supplementary groups and no privilege."""
    groups = ",".join(map(str, (os.getgid(), *GROUPS)))
    return [*_SPACE, "setpriv", "--groups", groups, "--inh-caps=-all", "--ambient-caps=-all", "--"]


# Each place: a folder and a file `f` in it, with owner, group, mode and, for some, an access list.
PLACES = {
    "project": (COLLEAGUE, LAB, 0o2770, 0o660, ""),
    "course": (COLLEAGUE, COURSE, 0o2775, 0o664, ""),
    "readers": (COLLEAGUE, LAB, 0o2750, 0o640, ""),
    "writable-file": (COLLEAGUE, LAB, 0o2750, 0o660, ""),
    "not-mine": (COLLEAGUE, STRANGERS, 0o2770, 0o660, ""),
    "file-not-mine": (COLLEAGUE, LAB, 0o2770, 0o600, ""),
    "everybody": (COLLEAGUE, STRANGERS, 0o705, 0o604, ""),
    "sticky": (COLLEAGUE, STRANGERS, 0o1777, 0o666, ""),
    "acl-group": (COLLEAGUE, STRANGERS, 0o700, 0o600, f"g:{LAB}:rwX"),
    "acl-readers": (COLLEAGUE, STRANGERS, 0o700, 0o600, f"g:{LAB}:rX"),
    "acl-other-group": (COLLEAGUE, STRANGERS, 0o700, 0o600, f"g:{STRANGERS}:rwX"),
    "acl-user": (COLLEAGUE, STRANGERS, 0o700, 0o600, f"u:{os.getuid()}:rwX"),
    "acl-inherited": (COLLEAGUE, LAB, 0o2770, 0o660, f"g:{COURSE}:rwX,d:g:{COURSE}:rwX,d:o::-"),
    "mine": (os.getuid(), os.getgid(), 0o750, 0o640, ""),
    "mine-closed": (os.getuid(), os.getgid(), 0o550, 0o440, ""),
}


def make_places(top: Path) -> None:
    """The folders of PLACES below `top`, which is ours."""
    lines = ["umask 022"]
    for name, (uid, gid, mode, file_mode, rights) in PLACES.items():
        folder = top / name
        lines += [f"mkdir -p '{folder}'", f"echo {name} >'{folder}/f'", f"chown {uid}:{gid} '{folder}/f' '{folder}'"]
        lines += [f"chmod {mode:o} '{folder}'", f"chmod {file_mode:o} '{folder}/f'"]
        if rights:
            here = ",".join(entry for entry in rights.split(",") if not entry.startswith("d:"))
            lines += [f"setfacl -m {rights} '{folder}'", f"setfacl -m {here} '{folder}/f'"]
    subprocess.run([*_SPACE, "sh", "-ec", "\n".join(lines)], check=True)


def take_back(top: Path) -> None:
    """Make all below `top` the user's own again, to be removed."""
    subprocess.run([*_SPACE, "chown", "-R", f"{os.getuid()}:{os.getgid()}", str(top)], check=True)
    subprocess.run(["chmod", "-R", "u+rwX", str(top)], check=True)


DEEDS = ("list", "read", "create", "folder", "write", "rename", "back", "remove")

_ON_THE_NODE = textwrap.dedent("""
    import os, sys
    top, deeds, places, umask = sys.argv[1], sys.argv[2].split(), sys.argv[3].split(), int(sys.argv[4], 8)
    os.umask(umask)
    def write(path):
        with open(path, "w") as file:
            file.write("written\\n")
    for place in places:
        f = f"{top}/{place}/f"
        for deed in deeds:
            try:
                {"list": lambda: os.listdir(f"{top}/{place}"), "read": lambda: open(f).read(),
                 "create": lambda: write(f"{top}/{place}/new"), "folder": lambda: os.mkdir(f"{top}/{place}/folder"),
                 "rename": lambda: os.rename(f, f + "2"), "back": lambda: os.rename(f + "2", f),
                 "write": lambda: write(f), "remove": lambda: os.unlink(f)}[deed]()
            except OSError:
                print(place, deed, "no")
            else:
                print(place, deed, "yes")
""")


def done_on_the_node(top: Path, umask: int) -> dict[str, str]:
    """What the user may do in each place, by the node's kernel: `PLACE DEED` to `yes` or `no`."""
    words = [str(top), " ".join(DEEDS), " ".join(PLACES), f"{umask:o}"]
    call = [*member(), "python3", "-I", "-c", _ON_THE_NODE, *words]
    lines = subprocess.run(call, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.rpartition(" ")[0]: line.rpartition(" ")[2] for line in lines}


def left_behind(top: Path) -> dict[str, str]:
    """Owner, group, mode and access list of what DEEDS have made."""
    made = [f"{place}/{name}" for place in PLACES for name in ("new", "folder")]
    script = 'cd "$0" && for made in "$@"; do [ ! -e "$made" ] || getfacl --absolute-names --numeric "$made"; done'
    call = [*_SPACE, "sh", "-c", script, str(top), *made]
    told = subprocess.run(call, capture_output=True, text=True, check=False).stdout
    blocks = [block.splitlines() for block in told.strip().split("\n\n") if block]
    return {block[0].removeprefix("# file: "): "\n".join(block[1:]) for block in blocks}


# Names as they are on the node, and as Windows must see them; an empty one is any short name (8.3).
NAMES = {
    b"plain.txt": "plain.txt",
    b"run*.log": "run\ufe61.log",
    b"what?.txt": "what\ufe56.txt",
    b'quo"te.txt': "quo\u02bate.txt",
    b"less<more>.txt": "less\ufe64more\ufe65.txt",
    b"time 12:30.log": "time 12\ufe5530.log",
    b"pipe|.txt": "pipe\u2223.txt",
    b"back\\slash.txt": "back\ufe68slash.txt",
    b"latin-\xe4.txt": "latin-\uefe4.txt",
    b"latin-\xfc.txt": "latin-\ueffc.txt",
    b"cut-\xc3": "cut-\uefc3",
    "\u4ec0\u4e48\uff1f.txt".encode(): "\u4ec0\u4e48\uff1f.txt",
    "\U0001f600 \u00fc.txt".encode(): "\U0001f600 \u00fc.txt",
    b"dot.": "",
    b"dots...": "",
    b"space ": "",
    b"CON": "",
    b"aux": "",
    b"NUL.txt": "",
    b"com1.log": "",
    b"tab\there": "",
    b"z-last.txt": "z-last.txt",
}


def make_names(top: Path) -> None:
    """A file of each name, with its own name in it."""
    top.mkdir()
    for name in NAMES:
        Path(os.fsdecode(os.fsencode(top) + b"/" + name)).write_bytes(name)
