"""A node with a project's VPN server on it, in a network namespace, and a guest's stand-in in a session's. No root.

The server is the SIF's own OpenVPN on a device that the namespace has for it. The stand-in is a namespace at the
session's bridge, with the guest's address: the machine itself boots to nothing.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import harness
from harness import Session

SERVER, PORT, SUBMIT, MINE = "198.51.100.1", 1194, "10.77.0.1", "10.77.0.11"
_DIE = ["setpriv", "--pdeathsig", "KILL", "--"]
_NODE = f"""
ip link set lo up
ip addr add {SERVER}/32 dev lo
ip tuntap add dev tun9 mode tun user $(id -u)
ip addr add {SUBMIT}/16 dev tun9
ip link set tun9 up
echo
exec sleep infinity
"""
_KEYS = """
cd "$1"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt -subj /CN=ca
make() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr -subj /CN=$1
    printf "basicConstraints=CA:FALSE\\nkeyUsage=digitalSignature\\nextendedKeyUsage=$2\\n" > $1.ext
    openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.crt
    (umask 077; cat $1.crt $1.key > $1.pem)
}
make server serverAuth; make one clientAuth
printf '[ca]\\ndefault_ca=it\\n[it]\\ndatabase=index.txt\\ncrlnumber=crlnumber\\ndefault_md=sha256\\n' > ca.cnf
printf 'default_crl_days=2\\ncertificate=ca.crt\\nprivate_key=ca.key\\n' >> ca.cnf
touch index.txt; echo 01 > crlnumber; openssl ca -config ca.cnf -gencrl -out crl.pem
mkdir ccd; echo "ifconfig-push 10.77.0.11 255.255.0.0" > ccd/one
"""
_SERVE = """
import socket, sys
with socket.create_server((sys.argv[1], 9618)) as here:
    print(flush=True)
    while True:
        wire, peer = here.accept()
        wire.send(peer[0].encode())
        wire.close()
"""
_ASK = """
import json, socket, sys
found = []
for place in sys.argv[1:]:
    host, port = place.rsplit(":", 1)
    try:
        with socket.create_connection((host, int(port)), 1.5) as wire:
            found.append(wire.recv(100).decode())
    except OSError as error:
        found.append(error.strerror or "timed out")
print(json.dumps(found))
"""
_STAND_IN = """
unshare --net sh -c 'echo; exec sleep infinity' > ready &
guest=$!
while [ ! -s ready ]; do sleep 0.1; done
ip link add stand0 type veth peer name eth0 netns $guest
ip link set stand0 master bridge0 up
there() { nsenter -t $guest -n "$@"; }
there ip link set lo up
there ip addr add 169.254.100.15/24 dev eth0
there ip link set eth0 up
there ip route add default via 169.254.100.2
echo $guest
wait
"""
HOSTILE = ("redirect-gateway def1", "route 192.0.2.0 255.255.255.0", "dhcp-option DNS 192.0.2.1")
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # <linux/sched.h>
_PR_CAP_AMBIENT, _RAISE = 47, 2  # <linux/prctl.h>
_VERSION_3 = 0x20080522  # <linux/capability.h>
_NEEDED = (12, 21)  # CAP_NET_ADMIN, CAP_SYS_ADMIN


class Node:
    """The node: `prefix` runs a command on it, as an ordinary user."""

    def __init__(self, pid: int, folder: Path) -> None:
        self.prefix = ["nsenter", "-t", str(pid), "-U", "-n", "--preserve-credentials", "--"]
        self.folder = folder
        self._server: subprocess.Popen[bytes] | None = None

    def start_server(self) -> None:
        options = f"""--dev tun9 --dev-type tun --proto tcp-server --local {SERVER} --port {PORT} --mode server
            --tls-server --topology subnet --ifconfig {SUBMIT} 255.255.0.0 --ifconfig-noexec --route-noexec --ca ca.crt
            --cert server.crt --key server.key --dh none --client-config-dir ccd --ccd-exclusive --crl-verify crl.pem
            --remote-cert-tls client --keepalive 10 30 --disable-dco --cd {self.folder}""".split()
        pushed = [word for option in HOSTILE for word in ("--push", option)]
        call = ["apptainer", "exec", "--bind", str(self.folder), str(harness.SIF), "openvpn", *options, *pushed]
        with (self.folder / "server.log").open("ab") as log:
            self._server = subprocess.Popen([*_DIE, *self.prefix, *call], stdout=log, stderr=log)

    def stop_server(self) -> None:
        assert self._server
        for pid in harness.descendants(self._server.pid):
            os.kill(pid, signal.SIGKILL)
        self._server.wait()

    def revoke(self) -> None:
        script = "openssl ca -config ca.cnf -revoke one.crt && openssl ca -config ca.cnf -gencrl -out crl.pem"
        subprocess.run(["sh", "-ec", script], cwd=self.folder, check=True, capture_output=True)


@contextmanager
def up(folder: Path) -> Iterator[Node]:
    """The node with its server, for as long as this lasts."""
    subprocess.run(["sh", "-ec", _KEYS, "keys", str(folder)], check=True, capture_output=True)
    spaces = ["unshare", "--user", "--map-current-user", "--net", "--keep-caps", "--", "sh", "-ec", _NODE]
    with subprocess.Popen([*_DIE, *spaces], stdout=subprocess.PIPE) as here:
        assert here.stdout
        here.stdout.readline()
        node = Node(here.pid, folder)
        node.start_server()
        submit = [*_DIE, *node.prefix, sys.executable, "-c", _SERVE, SUBMIT]
        with subprocess.Popen(submit, stdout=subprocess.PIPE) as serving:
            assert serving.stdout
            serving.stdout.readline()
            try:
                yield node
            finally:
                serving.kill()
                node.stop_server()
                here.kill()


class StandIn:
    """Plays the guest."""

    def __init__(self, entered: int, pid: int) -> None:
        self._enter = _entering(entered, pid)

    def ask(self, *places: str) -> list[str]:
        """What is answered at each place, or why nothing is."""
        command = [*self._enter, sys.executable, "-c", _ASK, *places]
        done = subprocess.run(command, capture_output=True, text=True, timeout=harness.PATIENCE, check=True)
        found: list[str] = json.loads(done.stdout)
        return found


@contextmanager
def standing_in(session: Session, folder: Path) -> Iterator[StandIn]:
    """A namespace at the session's bridge, with the guest's address."""
    dnsmasq = session.pid_of("dnsmasq")
    command = [*_entering(dnsmasq, dnsmasq), "sh", "-ec", _STAND_IN]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as here:
        assert here.stdout
        try:
            yield StandIn(dnsmasq, int(here.stdout.readline()))
        finally:
            for one in harness.descendants(here.pid):
                os.kill(one, signal.SIGKILL)


def _entering(user: int, net: int) -> list[str]:
    """What runs a command in the user namespace of one process, and the network of another."""
    return [sys.executable, __file__, str(user), str(net)]


def _enter(user: int, net: int) -> None:
    """Go into namespaces, and keep the rights over them for what is executed (capabilities(7), ambient)."""
    libc = ctypes.CDLL(None, use_errno=True)
    for pid, kind, flag in ((user, "user", _CLONE_NEWUSER), (net, "net", _CLONE_NEWNET)):
        entry = os.open(f"/proc/{pid}/ns/{kind}", os.O_RDONLY)
        if libc.setns(entry, flag):
            raise OSError(ctypes.get_errno(), kind)
        os.close(entry)
    head = (ctypes.c_uint32 * 2)(_VERSION_3, 0)
    # Effective, permitted and inheritable, low and high words.
    words = (ctypes.c_uint32 * 6)(*(sum(1 << one for one in _NEEDED) for _ in range(3)), 0, 0, 0)
    if libc.capset(head, words):
        raise OSError(ctypes.get_errno(), "capset")
    for one in _NEEDED:
        libc.prctl(_PR_CAP_AMBIENT, _RAISE, one, 0, 0)


def wait_for(look: Session, up: bool, seconds: float = harness.PATIENCE) -> dict[str, object]:
    """The session's state as soon as it is in its project's network, or is not."""
    deadline = time.monotonic() + seconds
    look.wait_phase("booting", seconds)
    while True:
        assert look.process.poll() is None, look.story()
        state: dict[str, object] = json.loads((look.folder / "session.json").read_text())
        if bool(state["project_address"]) is up and state["project_since"]:
            return state
        assert time.monotonic() < deadline, (state, (look.folder / "logs" / "openvpn.log").read_text()[-3000:])
        time.sleep(0.1)


if __name__ == "__main__":
    _enter(int(sys.argv[1]), int(sys.argv[2]))
    os.execvp(sys.argv[3], sys.argv[3:])
