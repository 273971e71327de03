"""A site's network for tests: a node in a namespace of its own, and a wire to servers in another. No root needed.

    node: 198.51.100.2 == site0 ---- site1 == 198.51.100.1: 192.0.2.0/24, 2001:db8::/64, siteserver.py

The node's resolver is over there. An owner who calls from the node (`grid pause`) is heard by the coordinators on it
alone, not by those of other tests. Source: user_namespaces(7): who makes a user namespace may make networks in it.
"""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import harness
from siteserver import ADDRESSES, ADDRESSES_V6, GATEWAY, GATEWAY_V6, NODE, NODE_V6, RESOLVER

HERE = Path(__file__).parent
_DIE = ["setpriv", "--pdeathsig", "KILL", "--"]
_HEARD = f"/tmp/7lbd-grid-{os.getuid()}"
# A folder that somebody removes is no place for a mount any more: the file keeps it.
# Who enters a user namespace from elsewhere has no capability there after the next exec: all begins in here.
_SET_UP = f"""
set -e
cd "$1"
# mount gives away what it may unless it is root where there is one.
root() {{ "$@"; }}
[ "${{3:-}}" != accounts ] || root() {{ setpriv --reuid 0 --regid 0 --clear-groups -- "$@"; }}
root mount --bind resolv.conf /etc/resolv.conf
mkdir -p -m 0711 {_HEARD} own
touch {_HEARD}/$$.site
root mount --bind own {_HEARD}
ip link set lo up
mkfifo go up
setpriv --pdeathsig KILL unshare --net -- sh -c '
    echo > up; read go < go; exec python3 "$0" portal.pem portal.key
' "$2" &
server=$!
read up < up
ip link add site0 type veth peer name site1 netns $server
ip addr add {NODE}/24 dev site0
ip addr add {NODE_V6}/64 dev site0 nodad
ip link set site0 up
there() {{ nsenter -t $server -n "$@"; }}
there ip link set lo up
there ip addr add {GATEWAY}/24 dev site1
there ip addr add {GATEWAY_V6}/64 dev site1 nodad
there ip link set site1 up
for address in {" ".join(ADDRESSES)}; do there ip addr add $address/32 dev lo; done
for address in {" ".join(ADDRESSES_V6)}; do there ip addr add $address/128 dev lo; done
ip route add default via {GATEWAY}
ip -6 route add default via {GATEWAY_V6}
echo > go
exec sleep infinity
"""


class SiteNet:
    """The network, up. `prefix` runs a command on its node, as an ordinary user."""

    def __init__(self, node: subprocess.Popen[str]) -> None:
        self.prefix = ["nsenter", "-t", str(node.pid), "-U", "-n", "-m", "--preserve-credentials", "--"]
        self.told: list[dict[str, Any]] = []
        self.pid = node.pid
        self._node = node
        threading.Thread(target=self._listen, daemon=True).start()

    def beyond(self) -> list[str]:
        """What runs a command on the far side, where the servers are."""
        below = harness.descendants(self._node.pid).items()
        server = next(pid for pid, words in below if words.startswith("python3") and "siteserver.py" in words)
        return ["nsenter", "-t", str(server), "-U", "-n", "-m", "--preserve-credentials", "--"]

    def wait_for(self, seconds: float = harness.PATIENCE, **what: object) -> dict[str, Any]:
        """The first thing that the servers have told with all of these."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in list(self.told):
                if what.items() <= line.items():
                    return line
            time.sleep(0.05)
        raise AssertionError(f"the servers have not told {what}: {self.told}")

    def all_of(self, key: str) -> list[Any]:
        """Everything told under one key."""
        return [line[key] for line in list(self.told) if key in line]

    def _listen(self) -> None:
        assert self._node.stdout
        for line in self._node.stdout:
            with suppress(ValueError):  # half a line of one that was ended
                self.told.append(json.loads(line))


@contextmanager
def up(folder: Path, *, accounts: bool = False) -> Iterator[SiteNet]:
    """The network with its servers, for as long as this lasts. `folder / "portal.pem"` is the portal's certificate.

    With `accounts`, others than the tests' user may have one on the node (other_account.py).
    """
    (folder / "resolv.conf").write_text(f"nameserver {RESOLVER}\nsearch example.edu\noptions timeout:1 attempts:2\n")
    names = "subjectAltName=DNS:portal.example.edu,DNS:other.example.edu,DNS:other.example.com"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    files = ["-keyout", str(folder / "portal.key"), "-out", str(folder / "portal.pem")]
    subprocess.run([*make, "-subj", "/CN=portal", "-addext", names, *files], check=True, capture_output=True)
    others, kind = (["--map-auto"], ["accounts"]) if accounts else ([], [])
    spaces = ["unshare", "--user", "--map-current-user", *others, "--net", "--mount", "--keep-caps", "--"]
    script = ["bash", "-c", _SET_UP, "sitenet", str(folder), str(HERE / "siteserver.py"), *kind]
    with subprocess.Popen([*_DIE, *spaces, *script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as node:
        try:
            net = SiteNet(node)
            net.wait_for(ready=True)
            yield net
        finally:
            node.kill()
            Path(_HEARD, f"{node.pid}.site").unlink(missing_ok=True)
