"""The ways out, from inside a real guest, in a network of a site's: what is allowed works, and nothing else does."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
import siteserver
import ways
from conftest import Refuse, StartSession, keep
from harness import HOST, Console, Session
from sitenet import SiteNet
from siteserver import (
    DOWN,
    GATEWAY,
    HALVES,
    LICENSE,
    LICENSE_V6,
    LMGRD,
    NODE,
    OTHER,
    OTHER_V6,
    PORTAL,
    RESETS,
    RESOLVER,
    SERIAL,
    SINKS,
    TRICKLES,
    UNLISTED,
    VENDOR,
)
from ways import ALLOW, ALONE, DOORS, MEGABITS, PROXIED, PROXY, SEEN, Guest, site_file


@pytest.fixture(scope="module")
def warm(net: SiteNet, work: Path, spare: Path) -> Path:
    """The demo image, made warm where the site allows ways out: its guest has heard of them before it is anybody's."""
    folder = work / "egress-demo"
    folder.mkdir()
    shutil.copy(harness.DEMO / "image.toml", folder)
    os.link(spare / "disk.qcow2", folder / "disk.qcow2")
    options = site_file(work, egress_allow=ALLOW)
    words = ("image", "warm", "--session-dir", str(work / "warming"), str(folder))
    made = harness.run(*words, prefix=net.prefix, options=options, timeout=400)
    assert made.returncode == 0, made.stdout + made.stderr
    assert json.loads((folder / "warm" / "warm.json").read_text())["needs"]["egress"] == "ipv6"
    return folder


@pytest.fixture(scope="module")
def connected(net: SiteNet, work: Path, warm: Path) -> Iterator[Session]:
    """A desktop with ways out, which tests share."""
    base = work / "egress"
    (work / "lists").mkdir()
    options = site_file(work, egress_allow=ALLOW, network_rate=MEGABITS, egress_log=str(work / "lists"))
    session = harness.start(
        "--image", str(warm), "--name", "ways", base=base, prefix=net.prefix, options=options, env=ALONE
    )
    try:
        session.wait_phase("ready")
        yield session
    except AssertionError:
        keep(base, "egress")
        raise
    finally:
        session.kill()


@pytest.fixture(scope="module")
def shared(net: SiteNet, work: Path) -> Iterator[Path]:
    """A folder of the home that the guest sees, with the probe and the portal's certificate."""
    with ways.folder_of_the_home(work / "net" / "portal.pem") as folder:
        yield folder


@pytest.fixture(scope="module")
def guest(connected: Session, shared: Path) -> Iterator[Guest]:
    console = Console(connected)
    yield Guest(console, shared)
    console.close()


def test_what_cannot_be_reached_is_told_and_the_rest_goes_on(connected: Session) -> None:
    told = json.loads((connected.folder / "session.json").read_text())["warnings"]
    for name, why in (
        ("gone", "there is no such name"),
        ("loop", "127.0.0.1 is a loopback address"),
        ("meta", "169.254.169.254 is a link-local address"),
        ("node", f"{NODE} is this node itself"),
        ("link", "169.254.100.2 is on the guest's own link"),
    ):
        assert [text for text in told if f"{name}.example.edu" in text and why in text], told
    assert not [text for text in told if "license" in text]


def test_a_warm_guest_knows_its_ways_out(connected: Session, guest: Guest) -> None:
    assert "thawed" in json.loads((connected.folder / "session.json").read_text())["milestones"]
    assert f"default via {HOST}" in guest.console.run("ip -color=never -4 route")
    # A router that answers a probe as one stays one (RFC 4861 7.2.5).
    guest.console.run(f"sudo ip -6 neigh replace {HOST_LINK} lladdr 52:54:00:07:1b:02 dev eth0 nud probe; sleep 4")
    assert f"default nhid via {HOST_LINK}" in re.sub(r"nhid \d+", "nhid", guest.console.run("ip -color=never -6 route"))
    lease = guest.console.run("cat /run/systemd/netif/leases/*")
    assert f"ROUTER={HOST}" in lease
    assert f"DNS={HOST}" in lease


@pytest.mark.parametrize("host", ["license.example.edu", LICENSE, "license6.example.edu", LICENSE_V6, "short"])
def test_a_licence_is_had_by_the_servers_own_name_and_address(guest: Guest, host: str) -> None:
    """lmgrd and a vendor daemon, the latter found by the name that lmgrd gives."""
    answers = ["granted relipmoc", "granted revlos", "granted taebtraeh"]
    assert guest.probe("licence", host) == ["vendord", "license.example.edu", *answers]


@pytest.mark.parametrize("host", ["license.example.edu", LICENSE_V6])
def test_datagrams_go_both_ways(guest: Guest, host: str) -> None:
    assert guest.probe("serial_numbers", host, 25) == list(range(25))


def test_the_proxy_leads_to_the_portal_and_to_nobody_else(guest: Guest, net: SiteNet) -> None:
    allowed = ["https://portal.example.edu/activate", "http://other.example.edu/x", "https://other.example.edu:8443/y"]
    refused = [
        "https://other.example.edu/",  # the port
        "https://portal.example.edu:444/",
        "http://other.example.com/",  # the name
        f"http://{PORTAL}/",  # an address is no name
        f"https://{LICENSE}/",
        "http://127.0.0.1/",
        f"http://{HOST}:445/",
        f"http://{NODE}/",
        "http://node.example.edu/",  # answers that lead home
        "https://node.example.edu/",
        "http://loop.example.edu/",
        "http://meta.example.edu/latest/meta-data/",
        "https://doesnotexist.example.edu:8443/",  # with the node's search domain it would be another host
    ]
    found = guest.probe("web", PROXY, f"{guest.folder}/portal.pem", *allowed, *refused)
    assert found[: len(allowed)] == ["activated"] * len(allowed)
    for address, came in zip(refused, found[len(allowed) :], strict=True):
        # Not on the list, or on it and nowhere that may be connected to.
        assert re.search("HTTP (403|502)|Tunnel connection failed: (403|502)", came), (address, came)
    requests = [line.split()[1] for line in net.all_of("web")]
    assert requests[-3:] == ["/activate", "/x", "/y"]
    assert "doesnotexist.example.edu" in net.all_of("asked")
    assert not [name for name in net.all_of("asked") if name.endswith(siteserver.SEARCHED)]


SILENT = f"""
import socket, time
def ask(host, port):
    wire = socket.create_connection(("{HOST}", 3128), 10)
    wire.sendall(f"CONNECT {{host}}.example.edu:{{port}} HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n".encode())
    return wire
took = []
while len(took) < 4 and min(took, default=9) >= 1.5:  # what holds up does so each time, a busy machine now and then
    silent = [ask(f"silent{{len(took)}}-{{number}}", 8000) for number in range(12)]
    time.sleep(0.3)
    began = time.monotonic()
    status = ask("portal", 443).recv(99).split()[1].decode()
    took.append(time.monotonic() - began)
    told = [b"".join(iter(lambda: one.recv(999), b"")) for one in silent]
print(status, min(took))
print(told[0].decode())
"""


def test_names_that_nobody_answers_for_hold_up_no_other(connected: Session) -> None:
    answer, silence = connected.inside("python3", "-c", SILENT).stdout.split("\n", 1)
    status, seconds = answer.split()
    assert status == "200"
    assert float(seconds) < 1.5, "the resolver itself gives up after 2 s"
    assert " 504 " in silence
    assert "no name server answered" in silence


def test_the_proxy_tells_where_it_is(guest: Guest) -> None:
    (script,) = guest.probe("web", "", f"{guest.folder}/portal.pem", f"{PROXY}/proxy.pac")
    assert "FindProxyForURL" in script
    assert "portal.example.edu" in script


def test_what_servers_do_to_a_connection_reaches_the_guest(guest: Guest, net: SiteNet) -> None:
    assert guest.probe("connect", LICENSE, DOWN)[:2] == ["", "ECONNRESET"]
    assert guest.probe("connect", LICENSE, RESETS)[:2] in (["some", "ECONNRESET"], ["", "ECONNRESET"])
    came, end, seconds = guest.probe("connect", LICENSE, TRICKLES)
    assert (came, end) == ("slowly", "closed")
    assert seconds > 2
    assert guest.probe("half", LICENSE, siteserver.COUNTS, 300_000) == "300000 bytes"
    assert guest.probe("other_half", LICENSE, HALVES, 200_000) == "that is all"
    net.wait_for(halves=200_000)


def test_a_server_that_does_not_read_stops_the_guest(guest: Guest, net: SiteNet) -> None:
    """Nothing piles up in the relay: what is on its way is what the buffers of three sockets hold."""
    sent = guest.probe("flood", LICENSE, SINKS, 3)
    assert 0 < sent < 16 << 20
    assert net.wait_for(sink=sent)


def test_names_that_are_not_allowed_do_not_exist(guest: Guest) -> None:
    known = {"license.example.edu": LICENSE, "LICENSE.Example.EDU": LICENSE, "short": LICENSE}
    known |= {"short.7lbd.internal": LICENSE, "license6.example.edu": LICENSE_V6}
    unknown = ["gone.example.edu", "loop.example.edu", "node.example.edu", "portal.example.edu", "other.example.edu"]
    unknown += ["x.license.example.edu", "localhost", "vm", "com", "google.com", "2.100.254.169.in-addr.arpa"]
    questions = [f"{name}/{kind}" for name in (*known, *unknown) for kind in ("A", "AAAA", "ANY", "TXT")]
    found = guest.probe("ask", HOST, *questions)
    for name, address in known.items():
        mine = "AAAA" if ":" in address else "A"
        assert [found[f"{name}/{kind}"] for kind in (mine, "ANY")] == [[0, address], [0, address]], name
        # It is there, but has nothing of that kind.
        assert [found[f"{name}/{kind}"] for kind in ("TXT", "AAAA" if mine == "A" else "A")] == [[0], [0]], name
    for name in unknown:
        assert {tuple(found[f"{name}/{kind}"]) for kind in ("A", "AAAA", "ANY", "TXT")} == {(3,)}, name


def test_the_guests_link_carries_no_more_than_its_limit(guest: Guest) -> None:
    size = 10_000_000
    least = size * 8 / (MEGABITS * 1e6)
    came, seconds = guest.probe("download", LICENSE, siteserver.BULK, size)
    assert came == size
    assert 0.9 * least < seconds < 30 * least, "towards the guest"
    seconds = guest.probe("upload", LICENSE, siteserver.SINKS_ALL, size)
    assert 0.9 * least < seconds < 30 * least, "from the guest"


def test_inside_there_are_these_sockets_and_no_other_way(connected: Session) -> None:
    lines = connected.inside("ss", "-H", "-ltun").stdout.splitlines()
    sockets = {(line.split()[0], *line.split()[4].replace("[", "").replace("]", "").rsplit(":", 1)) for line in lines}
    ours = {(kind, address, str(port)) for kind, address, port in DOORS}
    ours |= {("tcp", HOST, port) for port in ("53", "445", "3128", "54321")} | {("udp", HOST, "53")}
    ours |= {("udp", "0.0.0.0%host0", "67")}
    dns_on_the_link = {(kind, place, "53") for kind in ("tcp", "udp") for place in (HOST_V6, f"{HOST_LINK}%host0")}
    assert sockets == ours | dns_on_the_link
    routes = json.loads(connected.inside("ip", "-j", "route").stdout)
    assert [route["dst"] for route in routes] == ["169.254.100.0/24"]
    assert "default" not in connected.inside("ip", "-6", "route").stdout
    for switch in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
        assert connected.inside("cat", f"/proc/sys/{switch}").stdout == "0\n"


HOST_V6, HOST_LINK = "fd07:1bd0:6400::2", "fe80::5054:ff:fe07:1b02"


def test_a_scan_finds_the_doors_and_nothing_else(guest: Guest, net: SiteNet) -> None:
    """Every port of the licence server, the rest by samples; what left the node is seen on the site's side of it."""
    assert guest.probe("every_port", LICENSE, root=True, timeout=300) == [list(range(LMGRD, DOWN + 1)), []]
    sample = ["1-600", "3128", "3389", "5900-5910", "6817-6819", "8000-8100", "27000-27100", "54321"]
    assert guest.probe("scan", LICENSE_V6, *sample, timeout=300) == [LMGRD, VENDOR]
    assert guest.probe("scan", HOST, *sample, timeout=300) == [53, 445, 3128, 54321]
    assert guest.probe("scan", HOST_V6, *sample, timeout=300) == [53]
    # Beyond: a connection to it does not even begin.
    for host in (OTHER, NODE, "169.254.169.254"):
        assert guest.probe("connect", host, 443, 2)[1] == "timeout", host
    # IPv6 says so (RFC 4443 3.1), IPv4 without forwarding drops in silence.
    assert guest.probe("connect", OTHER_V6, LMGRD, 2)[1] == "ENETUNREACH"
    assert guest.probe("connect", LICENSE, UNLISTED)[1] == "ECONNREFUSED"
    assert guest.probe("spray", 251, OTHER, PORTAL, RESOLVER, NODE, GATEWAY, LICENSE, root=True, timeout=300) == "sent"
    time.sleep(1)
    seen = {(kind, address, port) for kind, address, port in net.all_of("seen")}
    assert seen <= SEEN
    assert seen >= {("tcp", LICENSE, LMGRD), ("tcp", LICENSE_V6, LMGRD), ("udp", LICENSE, SERIAL), ("tcp", PORTAL, 443)}
    assert {tuple(line) for line in net.all_of("connection")} <= {(host, port) for _, host, port in DOORS | PROXIED}


def test_a_guest_that_is_root_takes_no_other_guests_place(guest: Guest, connected: Session, net: SiteNet) -> None:
    """Packets of its own making: from the licence server's address, from the node's, from loopback."""
    run = guest.console.run
    run(f"sudo ip addr add {LICENSE}/32 dev eth0; sudo ip addr add {NODE}/32 dev eth0")
    try:
        for source in (LICENSE, NODE):
            call = f"import socket; socket.create_connection(('{OTHER}', 443), 2, ('{source}', 0))"
            assert guest.console.attempt(f'python3 -c "{call}" 2>/dev/null')[1] != 0
    finally:
        run(f"sudo ip addr del {LICENSE}/32 dev eth0; sudo ip addr del {NODE}/32 dev eth0")
    assert guest.probe("licence", "license.example.edu")[0] == "vendord"
    assert not [place for place in net.all_of("seen") if place[1] == OTHER and place[2] == 443]


def test_in_the_end_each_connection_is_on_the_sites_list(connected: Session, work: Path) -> None:
    """The last one with this desktop: it ends, and with it what is still open."""
    connected.send(signal.SIGTERM)
    assert connected.wait_end() == 0, connected.story()
    (path,) = (work / "lists").iterdir()
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert {row["kind"] for row in rows} >= {"tcp", "udp", "connect", "http"}
    assert {row["session"] for row in rows} == {"ways"}
    down = [row for row in rows if row["kind"] == "tcp" and row["port"] == DOWN]
    assert down
    assert down[0]["end"] == "refused"
    assert [row for row in rows if row["port"] == siteserver.BULK and row["down"] == 10_000_000]
    assert path.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("options", "image", "ports"),
    [
        ([], f'egress = ["tcp://{LICENSE}:{VENDOR}"]', [VENDOR]),
        ([], "egress = []", []),
        (["--no-egress"], "", []),
    ],
    ids=["the image wants one", "the image wants none", "the user wants none"],
)
def test_image_and_user_can_narrow_the_list(
    start: StartSession, net: SiteNet, work: Path, blank_image: Path, options: list[str], image: str, ports: list[int]
) -> None:
    folder = work / f"narrow-{time.monotonic_ns()}"
    shutil.copytree(blank_image, folder)
    with (folder / "image.toml").open("a") as description:
        description.write(image + "\n")
    site = site_file(work, egress_allow=[f"tcp://{LICENSE}:{LMGRD}", f"tcp://{LICENSE}:{VENDOR}"])
    session = start("--image", str(folder), *options, prefix=net.prefix, options=site, env=ALONE)
    session.wait_phase("booting")
    session.pid_of("smbd")
    wait = f"for i in $(seq 50); do ss -Hltn | grep -q {HOST}:445 && break; sleep 0.1; done; ss -Hltn"
    found = {line.split()[3] for line in session.inside("sh", "-c", wait).stdout.splitlines()}
    servers = {f"{LICENSE}:{port}" for port in ports} | ({f"{HOST}:53"} if ports else set())
    assert found == {f"{HOST}:445", f"{HOST}:54321"} | servers
    rows = json.loads(session.inside("ip", "-j", "addr").stdout)
    addresses = {row["ifname"]: {one["local"] for one in row["addr_info"]} for row in rows}
    assert addresses == {"lo": {"127.0.0.1", "::1"} | ({LICENSE} if ports else set()), "tap0": {HOST}}
    session.send(signal.SIGTERM)
    assert session.wait_end() == 143


BAD: dict[str, tuple[dict[str, object], list[str]]] = {
    "a server on the guest's own link": (
        {"egress_allow": ["tcp://169.254.100.7:27000"]},
        ["169.254.100.7", "guest's own link"],
    ),
    "loopback": ({"egress_allow": ["tcp://127.0.0.1:22"]}, ["127.0.0.1", "the guest itself"]),
    "an entry with more in it": (
        {"egress_allow": ["tcp://a.example.edu:1\naddress=/#/192.0.2.1"]},
        ["egress_allow", "not a way out"],
    ),
    "every port": ({"egress_allow": ["tcp://192.0.2.1:1-65535"]}, ["more than 512"]),
    "a place that is none": (
        {"egress_hosts": ["a=b"], "egress_allow": ["https://a"]},
        ["egress_hosts", "NAME=ADDRESS"],
    ),
    "a list that cannot be written": (
        {"egress_allow": ["https://a"], "egress_log": "/proc/nowhere"},
        ["egress_log", "/proc/nowhere"],
    ),
    "a rate that is none": ({"network_rate": -1}, ["network_rate"]),
}


@pytest.mark.parametrize("case", BAD)
def test_a_site_that_cannot_mean_it_is_told(refuse: Refuse, work: Path, blank_image: Path, case: str) -> None:
    settings, says = BAD[case]
    refuse("--image", str(blank_image), code=2, says=says, options=site_file(work, **settings))
