"""A project's network in namespaces: a real OpenVPN server, and sessions with guests that are namespaces, too.

    guest eth0 == tap0 session tun0 -- openvpn -- 127.0.0.4 -- carried by this process -- 198.51.100.1 == the site

Runs by itself, as root of a user namespace of its own, plays all that a test wants to know, and prints it as JSON:
unshare -Urn --pid --fork --kill-child --mount-proc python3 project_world.py FOLDER. The client has no capability.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from sevenlbd.inside import setup
from sevenlbd.inside.net import network, project_link, ways_out
from sevenlbd.inside.services import openvpn, project_service
from sevenlbd.outside.project import client_keys
from sevenlbd.wire.private_network import Inbound, Project
from test_qemu import PLAN

SERVER, PORT, PREFIX = "198.51.100.1", 1194, "10.77.0.0/16"
SUBMIT, OUTSIDE = "10.77.0.1", "192.0.2.1"
ADDRESSES = {"one": "10.77.0.11", "two": "10.77.0.12"}
OPEN, SHUT = 7005, 7500
HOSTILE = (
    *("redirect-gateway def1", "route 192.0.2.0 255.255.255.0", "dhcp-option DNS 192.0.2.1", "setenv PATH /tmp"),
    *("dhcp-option PROXY_HTTP 192.0.2.1 3128", "ifconfig-ipv6 fd00::5/64 fd00::1", "ping-exit 5", "compress lzo"),
)
_MAKE = """
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -keyout ca.key -out ca.crt -subj /CN=ca
make() {
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout $1.key -out $1.csr -subj /CN=$1
    printf "basicConstraints=CA:FALSE\\nkeyUsage=digitalSignature\\nextendedKeyUsage=$2\\n" > $1.ext
    openssl x509 -req -in $1.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days 2 -extfile $1.ext -out $1.crt
    cat $1.crt $1.key > $1.pem
}
make server serverAuth; make one clientAuth; make two clientAuth
printf '[ca]\\ndefault_ca=it\\n[it]\\ndatabase=index.txt\\ncrlnumber=crlnumber\\ndefault_md=sha256\\n' > ca.cnf
printf 'default_crl_days=2\\ncertificate=ca.crt\\nprivate_key=ca.key\\n' >> ca.cnf
touch index.txt; echo 01 > crlnumber; openssl ca -config ca.cnf -gencrl -out crl.pem
openvpn --genkey tls-crypt wrap.key
mkdir ccd
"""
_SHAPE = """
import asyncio
from sevenlbd.inside.net.netlink import AsyncIPRoute
from sevenlbd.inside.net import shaping

async def shape() -> None:
    async with AsyncIPRoute() as ip:
        await shaping.add_bridge(ip, 1_000_000_000)

asyncio.run(shape())
"""
_CHATTER = """
import socket
for port in range(600):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
        wire.sendto(b"x", ("169.254.100.2", 5000))
"""
_ASK = """
import json, socket, sys
found = []
for word in sys.argv[1:]:
    source, host, port = word.split("|")
    try:
        with socket.create_connection((host, int(port)), 0.8, (source, 0) if source else None) as wire:
            found.append(wire.recv(100).decode())
    except OSError as error:
        found.append(error.strerror or "timed out")
print(json.dumps(found))
"""
_SERVE = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for port in sys.argv[1:]:
    one = socket.create_server(("0.0.0.0", int(port)))
    chosen.register(one, selectors.EVENT_READ)
print(flush=True)
while True:
    for key, _ in chosen.select():
        wire, peer = key.fileobj.accept()
        wire.send(peer[0].encode())
        wire.close()
"""


def sh(script: str) -> str:
    done = subprocess.run(["sh", "-ec", script], capture_output=True, text=True, check=False)
    assert not done.returncode, done.stderr
    return done.stdout


def _bound(port: int) -> socket.socket:
    """Somebody in the session who is spoken to, and does not answer."""
    wire = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    wire.bind(("0.0.0.0", port))
    return wire


class Space:
    """A network namespace."""

    def __init__(self) -> None:
        with subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec sleep 600"], stdout=subprocess.PIPE) as one:
            assert one.stdout
            one.stdout.readline()
            self.pid = one.pid
            one.returncode = 0  # it is to outlive this
        self.inside = ["nsenter", "-t", str(self.pid), "-n", "--"]

    def sh(self, script: str) -> str:
        done = subprocess.run([*self.inside, "sh", "-ec", script], capture_output=True, text=True, check=False)
        assert not done.returncode, f"{script}: {done.stderr}"
        return done.stdout

    def call(self, what: Callable[[], Any]) -> Any:
        """What a function returns that is called in there."""
        done: list[Any] = []

        def enter() -> None:
            entry = os.open(f"/proc/{self.pid}/ns/net", os.O_RDONLY)
            os.setns(entry, os.CLONE_NEWNET)
            os.close(entry)
            done.append(what())

        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        return done[0]

    def serve(self, *ports: int) -> None:
        """Answer everybody with the address that he comes from."""
        command = [*self.inside, sys.executable, "-c", _SERVE, *map(str, ports)]
        served = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert served.stdout
        served.stdout.readline()

    async def ask(self, *places: tuple[str, int], source: str = "") -> list[str]:
        """What is answered at each place, or why nothing is."""
        words = [f"{source}|{host}|{port}" for host, port in places]
        done = await asyncio.create_subprocess_exec(
            *self.inside, sys.executable, "-c", _ASK, *words, stdout=subprocess.PIPE
        )
        printed, _ = await done.communicate()
        found: list[str] = json.loads(printed)
        return found


class Site:
    """The server's side."""

    def __init__(self) -> None:
        sh(_MAKE)
        for name, address in ADDRESSES.items():
            self.give(name, address)
        self.space = Space()
        self.space.sh(f"ip link set lo up; ip addr add {SERVER}/32 dev lo; ip addr add {OUTSIDE}/32 dev lo")
        self.space.serve(9618)
        self.server: subprocess.Popen[bytes] | None = None

    def give(self, name: str, address: str) -> None:
        Path("ccd", name).write_text(f"ifconfig-push {address} 255.255.0.0\n")

    def start(self) -> None:
        options = f"""--dev tun9 --dev-type tun --proto tcp-server --local {SERVER} --port {PORT} --mode server
            --tls-server --topology subnet --ifconfig {SUBMIT} 255.255.0.0 --ca ca.crt --cert server.crt
            --key server.key --dh none --tls-crypt wrap.key --client-config-dir ccd --ccd-exclusive --client-to-client
            --remote-cert-tls client --keepalive 10 30 --disable-dco --crl-verify crl.pem""".split()
        pushed = [word for option in HOSTILE for word in ("--push", option)]
        with Path("server.log").open("ab") as log:
            self.server = subprocess.Popen(
                [*self.space.inside, "openvpn", *options, *pushed], stdout=log, stderr=subprocess.STDOUT
            )

    def stop(self) -> None:
        assert self.server
        self.server.kill()
        self.server.wait()

    async def refuses(self, name: str, seconds: float = 60) -> bool:
        """Wait until the server says that somebody has come with this key, and that it is revoked."""
        deadline = time.monotonic() + seconds
        log = Path("server.log")
        while not any("certificate revoked" in line and f"CN={name}" in line for line in log.read_text().splitlines()):
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            await asyncio.sleep(0.1)
        return True

    def revoke(self, name: str) -> None:
        sh(f"openssl ca -config ca.cnf -revoke {name}.crt; openssl ca -config ca.cnf -gencrl -out crl.pem")


class Node:
    """A session, its guest, and what carries its one connection out."""

    def __init__(self, name: str, site: Site, *, shaped: bool = False) -> None:
        self.name, self.site = name, site
        self.told: list[str] = []
        self.session, self.guest = Space(), Space()
        self.session.sh(f"ip link set lo up; ip link add tap0 type veth peer name eth0 netns {self.guest.pid}")
        plan = replace(PLAN, network="tap", network_rate=1_000_000_000 if shaped else 0)
        link = network.interface(plan)
        self.session.sh(
            f"""{f"{sys.executable} -c '{_SHAPE}'" if shaped else ":"}
            ip addr add 169.254.100.2/24 dev {link}; ip link set {link} up; ip link set tap0 up"""
        )
        self.guest.sh(
            "ip link set lo up; ip link set eth0 up; ip addr add 169.254.100.15/24 dev eth0;"
            "ip addr add 169.254.100.77/24 dev eth0; ip route add default via 169.254.100.2"
        )
        files = client_keys.KeyFiles((f"{name}.pem",), "ca.crt", "wrap.key")
        inbound = (Inbound("tcp", 7000, 7010),)
        self.project = Project(
            "p", SERVER, PORT, PREFIX, client_keys.credentials(f"{name}.pem", files), "server", inbound
        )
        build = (
            "import os, sys; from sevenlbd.inside.net import project_link; project_link.build(sys.stdin.read(), 0);"
            "os.system('ip link set tun0 up')"
        )
        rules = setup.render_rules(plan, self.project)
        subprocess.run([*self.session.inside, sys.executable, "-c", build], input=rules, text=True, check=True)
        self.session.serve(445)
        self.heard = self.session.call(lambda: _bound(5000))
        self.guest.serve(OPEN, SHUT)
        self.client: asyncio.subprocess.Process | None = None
        self.tunnel = project_service.Tunnel(
            PREFIX,
            self.told.append,
            lambda address, prefix: self.session.call(lambda: project_link.set_address(address, prefix)),
            lambda: self.session.call(project_link.take_address),
        )

    async def begin(self) -> None:
        def bound() -> socket.socket:
            return socket.create_server((ways_out.PROJECT_CLIENT, PORT))

        await asyncio.start_server(self._carry, sock=self.session.call(bound))
        management = Path(f"{self.name}.sock").absolute()
        Path(f"{self.name}.conf").write_text(openvpn.configuration(self.project, management))
        listener = project_service.listening(management)
        self.hearing = asyncio.create_task(
            project_service.listen(listener, self.tunnel, lambda: self.client.pid if self.client else 0)
        )

    async def start(self) -> None:
        """The client, without any right."""
        bare = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs", "--"]
        with Path(f"{self.name}.log").open("ab") as log:
            self.client = await asyncio.create_subprocess_exec(
                *self.session.inside, *bare, "openvpn", "--config", f"{self.name}.conf", stdout=log, stderr=log
            )

    async def kill(self) -> None:
        assert self.client
        self.client.kill()
        await self.client.wait()

    async def wait(self, what: str, seconds: float = 20) -> str:
        """The newest word of it, as soon as it begins like this."""
        deadline = time.monotonic() + seconds
        while not (self.told and self.told[-1].startswith(what)):
            assert time.monotonic() < deadline, (what, self.told, Path(f"{self.name}.log").read_text()[-2000:])
            await asyncio.sleep(0.05)
        return self.told[-1]

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            far = self.site.space.call(lambda: socket.create_connection((SERVER, PORT), 2))
        except (OSError, IndexError):
            writer.close()
            return
        far_reader, far_writer = await asyncio.open_connection(sock=far)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    writer.close()


async def play() -> dict[str, Any]:
    """All scenes, one after the other."""
    site = Site()
    found: dict[str, Any] = {}
    site.start()
    one, two = Node("one", site), Node("two", site, shaped=True)
    for node in (one, two):
        await node.begin()
        await node.start()
    found["up"] = [await one.wait("up"), await two.wait("up")]
    found["routes"] = one.session.sh("ip -4 route; ip -6 route show dev tun0").splitlines()
    mine, other = ADDRESSES["one"], ADDRESSES["two"]
    found["submit"] = await one.guest.ask((SUBMIT, 9618))
    found["neighbour"] = await one.guest.ask((other, OPEN), (other, SHUT), (other, 445))
    found["back"] = await two.guest.ask((mine, OPEN))
    found["elsewhere"] = await one.guest.ask((OUTSIDE, 9618), (SERVER, PORT), ("10.78.0.1", 9618))
    found["another's address"] = await one.guest.ask((SUBMIT, 9618), source="169.254.100.77")
    found["session itself"] = await one.session.ask((SUBMIT, 9618))
    found["from the site"] = await site.space.ask((mine, OPEN), (mine, SHUT), (mine, 445))
    site.space.sh(f"ip route add 169.254.100.0/24 via {mine} dev tun9")
    found["past the tunnel"] = await site.space.ask(("169.254.100.15", OPEN), ("169.254.100.2", 445))
    one.guest.sh(f"{sys.executable} -c '{_CHATTER}'")
    found["followed"] = int(one.session.sh("cat /proc/sys/net/netfilter/nf_conntrack_count"))
    await one.kill()
    found["killed at once"] = await one.guest.ask((SUBMIT, 9618))
    found["killed"] = [await one.wait("down"), *await one.guest.ask((SUBMIT, 9618))]
    await one.start()
    found["again"] = [await one.wait("up"), *await one.guest.ask((SUBMIT, 9618))]
    site.stop()
    found["no server"] = [await one.wait("down"), *await one.guest.ask((SUBMIT, 9618))]
    site.revoke("one")
    site.give("two", "10.99.0.12")
    site.start()
    found["not in the prefix"] = [await two.wait("down the server gives"), *await two.guest.ask(("10.99.0.1", 9618))]
    before = len(one.told)
    await site.refuses("one")
    last = await one.wait("down the server hangs up")
    found["revoked"] = [last, one.told[before:], *await one.guest.ask((SUBMIT, 9618))]
    site.stop()
    site.give("two", other)
    site.start()
    found["reconnected"] = [await two.wait("up", 40), *await two.guest.ask((SUBMIT, 9618))]
    for node in (one, two):
        await node.kill()
    site.stop()
    return found


if __name__ == "__main__":
    os.chdir(sys.argv[1])
    print(json.dumps(asyncio.run(play())))
