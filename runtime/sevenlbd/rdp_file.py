"""The .rdp file for the port that `ssh -L` brings to the user's computer. Both sides of the wall give it out."""

from __future__ import annotations

LOCAL_PORT = 13389


def rdp_file(account: str) -> str:
    """An .rdp file for the forwarded port, with everything but the password.

    Keys: Microsoft, "Supported RDP properties with Remote Desktop Services".
    """
    lines = (
        f"full address:s:127.0.0.1:{LOCAL_PORT}",
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
