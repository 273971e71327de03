"""The ways out inside: their sockets, what the guest is told of them, and what smbd and dnsmasq listen on."""

from __future__ import annotations

import json
import re
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sevenlbd.inside import setup
from sevenlbd.inside.builder import Builder
from sevenlbd.inside.net import router, ways_out
from sevenlbd.wire import packets
from sevenlbd.wire.forwards import FORWARDS, Egress, Forward
from sevenlbd.wire.plan import PLANS, Plan
from sevenlbd.wire.private_network import Project
from test_qemu import PLAN, command, values

DOORS = (
    Forward("tcp", "192.0.2.10", 27000),
    Forward("udp", "2001:db8::10", 5093),
    Forward("proxy", "169.254.100.2", 3128),
)
EGRESS = Egress(DOORS, (("lic.example.edu", ("192.0.2.10",)), ("lic6.example.edu", ("2001:db8::10", "192.0.2.11"))))


def options(text: str) -> set[str]:
    return {line for line in text.splitlines() if line and not line.startswith("#")}


def test_without_ways_out_there_is_dhcp_and_nothing_else() -> None:
    written = options(setup.render_dnsmasq_conf(PLAN))
    assert {"port=0", "interface=tap0", "dhcp-option=option:router", "dhcp-option=option:dns-server"} <= written
    assert not [line for line in written if re.search("hosts|domain|address|252|169.254.100.2$", line)]


def test_with_ways_out_the_guest_gets_a_route_and_names_and_the_proxys_script() -> None:
    written = options(setup.render_dnsmasq_conf(replace(PLAN, egress=EGRESS)))
    assert {"port=53", "no-resolv", "no-hosts", "address=/#/", "except-interface=lo", "bind-interfaces"} <= written
    assert {f"dhcp-option=option:{what},169.254.100.2" for what in ("router", "dns-server")} <= written
    assert "dhcp-option=252,http://169.254.100.2:3128/proxy.pac" in written
    assert not [line for line in written if line.startswith(("server=", "listen-address="))]
    without = replace(PLAN, egress=replace(EGRESS, doors=DOORS[:2]))
    assert "252" not in setup.render_dnsmasq_conf(without)
    assert setup.render_names(EGRESS).splitlines() == [
        "192.0.2.10\tlic.example.edu",
        "2001:db8::10\tlic6.example.edu",
        "192.0.2.11\tlic6.example.edu",
    ]


@pytest.mark.parametrize("egress", [None, EGRESS])
def test_dnsmasq_takes_its_configuration(egress: Egress | None, tmp_path: Path) -> None:
    for mode in ("tap", "user"):
        path = tmp_path / "dnsmasq.conf"
        path.write_text(setup.render_dnsmasq_conf(replace(PLAN, network=mode, egress=egress)))
        call = ["/usr/sbin/dnsmasq", "--test", f"--conf-file={path}"]
        done = subprocess.run(call, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


def test_a_slowed_link_has_a_device_of_its_own_for_the_hosts_address() -> None:
    assert "interface=host0" in options(setup.render_dnsmasq_conf(replace(PLAN, network_rate=1_000_000)))


def test_with_user_mode_networking_names_are_answered_on_loopback_only() -> None:
    written = options(setup.render_dnsmasq_conf(replace(PLAN, network="user", egress=EGRESS)))
    assert "listen-address=127.0.0.1" in written
    assert not [line for line in written if line.startswith(("dhcp", "interface="))]
    net = values(command(replace(PLAN, network="user", egress=EGRESS), None), "-netdev")[0]
    assert "ipv6-net=fd07:1bd0:6400::/64" in net
    only_ipv4 = replace(EGRESS, doors=DOORS[:1])
    assert "ipv6=off" in values(command(replace(PLAN, network="user", egress=only_ipv4), None), "-netdev")[0]


@pytest.mark.parametrize(("mode", "only"), [("tap", "169.254.100.2/24"), ("user", "127.0.0.1/8")])
def test_the_shares_are_on_the_hosts_address_alone(mode: str, only: str) -> None:
    written = setup.render_smb_conf(replace(PLAN, network=mode, egress=EGRESS))
    assert f"interfaces = {only}\nbind interfaces only = yes\n" in written


class Relay:
    """The other end of the wire."""

    def __init__(self) -> None:
        self.wire, theirs = packets.pair()
        self.theirs = theirs.detach()
        self.wire.settimeout(5)

    def doors(self) -> list[tuple[Forward, socket.socket]]:
        found: list[tuple[Forward, socket.socket]] = []
        while True:
            data, descriptors, _, _ = socket.recv_fds(self.wire, packets.MAX_MESSAGE, 64)
            given = FORWARDS.unpack(data)
            if not given:
                assert not descriptors
                return found
            found += zip(given, [socket.socket(fileno=number) for number in descriptors], strict=True)


@pytest.fixture
def relay() -> Iterator[Relay]:
    made = Relay()
    yield made
    made.wire.close()


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in sockets]
    for one in sockets:
        one.close()
    return ports


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_each_door_is_a_socket_at_its_own_address_and_all_are_given_away(relay: Relay) -> None:
    before = open_descriptors()
    ports = free_ports(150)
    doors = [Forward("udp" if port % 2 else "tcp", "127.0.0.1", port) for port in ports]
    doors.append(Forward("proxy", "169.254.100.2", free_ports(1)[0]))
    warnings: list[str] = []
    ways_out.hand_over(relay.theirs, doors, "127.0.0.1", warnings.append)
    assert not warnings
    assert open_descriptors() == before - 1, "nothing is kept, the wire neither"
    given = relay.doors()
    assert [door for door, _ in given] == doors
    for door, ours in given:
        with ours:
            assert ours.getsockname() == ("127.0.0.1", door.port)
            assert ours.type == (socket.SOCK_DGRAM if door.kind == "udp" else socket.SOCK_STREAM)
            if door.kind != "udp":
                assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1


def test_a_door_that_cannot_be_made_is_told_and_the_others_are_there(relay: Relay) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        doors = (
            Forward("tcp", "127.0.0.1", port),
            Forward("tcp", "198.51.100.7", 1),
            Forward("tcp", "127.0.0.1", free_ports(1)[0]),
        )
        warnings: list[str] = []
        ways_out.hand_over(relay.theirs, doors, "127.0.0.1", warnings.append)
        ((door, ours),) = relay.doors()
        ours.close()
    assert door == doors[2]
    assert [f":{where.port} cannot be offered" in text for where, text in zip(doors, warnings, strict=False)] == [
        True
    ] * 2


def test_the_door_of_the_sessions_own_client_is_at_an_address_that_no_guest_can_name(relay: Relay) -> None:
    (port,) = free_ports(1)
    forwards = ways_out.to_open(Egress((), ()), Project("p", "192.0.2.10", port, "10.77.0.0/16"))
    assert forwards == (Forward("project", "192.0.2.10", port),)
    assert ways_out.to_open(EGRESS, None) == DOORS
    ways_out.hand_over(relay.theirs, forwards, "169.254.100.2", pytest.fail)
    ((_, ours),) = relay.doors()
    with ours:
        assert ours.getsockname() == ("127.0.0.4", port)


def test_a_relay_that_is_gone_is_told(relay: Relay) -> None:
    relay.wire.close()
    warnings: list[str] = []
    ways_out.hand_over(relay.theirs, [Forward("tcp", "127.0.0.1", free_ports(1)[0])], "", warnings.append)
    assert "cannot be handed to the relay" in warnings[0]


def test_the_advertisement_is_of_one_router_and_one_prefix() -> None:
    """RFC 4861 4.2, 4.6.1 and 4.6.2."""
    message = router.advertisement()
    assert struct.unpack_from("!BBHBBH", message) == (134, 0, 0, 64, 0, 9000)
    assert message[16:24] == bytes([1, 1]) + bytes.fromhex("525400071b02")
    kind, length, bits, flags, valid, preferred = struct.unpack_from("!BBBBII", message, 24)
    assert (kind, length, bits, flags, valid, preferred) == (3, 4, 64, 0xC0, 2**32 - 1, 2**32 - 1)
    assert socket.inet_ntop(socket.AF_INET6, message[40:]) == "fd07:1bd0:6400::"


def test_a_builder_that_fails_says_why() -> None:
    builder = Builder()
    builder.begin(b"{}")
    with pytest.raises(RuntimeError, match=r"could not be made: .+"):
        builder.finish()


# In namespaces of its own, as PID 1 has them: what the kernel makes of a plan.
BUILD = """
import asyncio, json, os, pathlib, sys
os.unshare(os.CLONE_NEWUSER | os.CLONE_NEWNET)
from sevenlbd.inside import setup
from sevenlbd.wire.plan import PLANS
plan = PLANS.unpack(pathlib.Path(sys.argv[1]).read_bytes())
from pyroute2.iproute.linux import IPRoute
with IPRoute() as ip:
    if plan.network == "tap":
        ip.link("add", ifname="tap0", kind="veth", peer="guest0")  # a tap needs a device file
    asyncio.run(setup.bring_up(plan))
    names = {link["index"]: link.get("ifname") for link in ip.get_links()}
    found = sorted([names[row["index"]], row.get("address")] for row in ip.get_addr())
    # IFA_F_NODAD, <linux/if_addr.h>; the kernel's own addresses begin with fe80 and ::1.
    rows = [row for row in ip.get_addr() if row.get("address")[:2] in ("20", "fd")]
    assert all(row["flags"] & 2 for row in rows), rows
    buckets = sorted(names[row["index"]] for row in ip.get_qdiscs() if row.get("kind") == "tbf")
conf = pathlib.Path("/proc/sys/net/ipv6/conf")
routers = [path.parent.name for path in conf.glob("*/forwarding") if int(path.read_text())]
print(json.dumps([found, buckets, routers]))
"""


def built(folder: Path, plan: Plan) -> tuple[list[list[str]], list[str], list[str]]:
    (folder / "plan").write_bytes(PLANS.pack(plan))
    done = subprocess.run(
        [sys.executable, "-c", BUILD, str(folder / "plan")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    addresses, buckets, routers = json.loads(done.stdout)
    return addresses, buckets, routers


def test_the_network_without_ways_out_is_one_address(tmp_path: Path) -> None:
    addresses, buckets, routers = built(tmp_path, PLAN)
    assert addresses == [["lo", "127.0.0.1"], ["lo", "::1"], ["tap0", "169.254.100.2"]]
    assert not buckets
    assert not routers


def test_every_server_is_an_address_of_lo_and_the_link_has_ipv6_only_when_it_must(tmp_path: Path) -> None:
    addresses, _, routers = built(tmp_path, replace(PLAN, egress=replace(EGRESS, doors=(DOORS[0], DOORS[2]))))
    assert not routers
    assert addresses == [["lo", "127.0.0.1"], ["lo", "192.0.2.10"], ["lo", "::1"], ["tap0", "169.254.100.2"]]
    addresses, _, routers = built(tmp_path, replace(PLAN, egress=EGRESS))
    assert routers == ["tap0"], "one device says so to its neighbour, and all together forward nothing"
    assert {tuple(row) for row in addresses} >= {("lo", "2001:db8::10"), ("tap0", "fd07:1bd0:6400::2")}


def test_a_limit_puts_a_bucket_each_way(tmp_path: Path) -> None:
    addresses, buckets, _ = built(tmp_path, replace(PLAN, network_rate=100_000_000))
    assert ["host0", "169.254.100.2"] in addresses
    assert not [name for name, _ in addresses if name not in ("lo", "host0")], "IPv4 on one device"
    assert buckets == ["host0", "wire0"]
    _, buckets, _ = built(tmp_path, replace(PLAN, network="user", network_rate=100_000_000))
    assert buckets == ["lo"]
