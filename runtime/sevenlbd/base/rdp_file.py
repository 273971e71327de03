"""The .rdp file for the port that `ssh -L` brings to the user's computer. Both sides of the wall give it out.

So they do with the lines that are pasted there, into whatever shell that computer has.
"""

from __future__ import annotations

import re
import zlib

FIRST_PORT = 13389  # near RDP's own 3389, which the user's computer may need for itself
PORTS = 1000
"""How many there are, so that two sessions rarely want the same."""
_PLAIN = re.compile(r"[\w@%+=:,./-]+", re.ASCII)


def local_port(session: str) -> int:
    """A session's own port on its user's computer: two ssh lines at the same time must not want the same."""
    return FIRST_PORT + zlib.crc32(session.encode()) % PORTS


def pasted(argument: str) -> str:
    """A word for a POSIX shell and for cmd.exe: that knows double quotes only.

    There is no quoting of `"`, `$`, a backtick and a backslash that both understand: these are for the POSIX shell.
    """
    return argument if _PLAIN.fullmatch(argument) else '"' + re.sub(r'(["$`\\])', r"\\\1", argument) + '"'


def rdp_file(account: str, port: int) -> str:
    """An .rdp file for the forwarded port, with everything but the password.

    Keys: Microsoft, "Supported RDP properties with Remote Desktop Services".
    """
    lines = (
        f"full address:s:127.0.0.1:{port}",
        f"username:s:{account}",
        "prompt for credentials:i:1",
        "authentication level:i:2",
        "enablecredsspsupport:i:1",
        "redirectclipboard:i:1",
        "redirectdrives:i:0",
        "redirectprinters:i:0",
        "screen mode id:i:1",
        "dynamic resolution:i:1",
        "session bpp:i:32",
        "networkautodetect:i:1",
    )
    return "\r\n".join(lines) + "\r\n"
