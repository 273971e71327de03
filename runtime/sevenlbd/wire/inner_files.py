"""What the session's own processes find of each other in the inner root, without being told: names of files there.

Whoever is told only these, as the gateway is, needs to know nothing of how that root is made, or of the programs in it.
"""

from __future__ import annotations

from pathlib import Path

PRIVATE = Path("/run/7lbd")
"""The session's private tmpfs: configuration, secrets, sockets."""
NATIVE_RDP = PRIVATE / "native.sock"
"""Where stunnel listens: the gateway has the node's port, and lets strangers through one after the other."""
SMB_CONFIGURATION = PRIVATE / "smb.conf"
WITH_CHARSET = ("/usr/bin/env", "GCONV_PATH=/usr/lib/7lbd/charset")
"""For every program that reads smb.conf, which names the character set."""
