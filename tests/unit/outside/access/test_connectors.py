"""The ways in: what the settings may say, where sockets end up, and who is told what."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import re
import socket
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.outside.access import connectors, credentials, listeners
from sevenlbd.outside.access.gateway_link import GatewayLink
from sevenlbd.outside.access.listeners import ListenAddress
from sevenlbd.wire import packets
from sevenlbd.wire.gateway import INWARDS, Bundle, Front, NativeTls, Told
from sevenlbd.wire.keeper import ORDERS, NewCertificates, Notice, Stop
from sevenlbd.wire.state import Phase, SessionState

FRONT = Front(
    session="abc",
    account="user1",
    password="Secret123",
    tokens={"desktop": "00"},
    cookie_key="11",
    portals=("https://portal.example",),
    hosts=("localhost",),
    console=True,
    clipboard=False,
    login="ann",
    host="node1",
    folder="/tmp/7lbd-1/abc",
    native=NativeTls(4433, ("node1",)),
)


def state() -> SessionState:
    return SessionState("abc", "ann", "node1", "demo", "tcg", "tap", 1, "/tmp/7lbd-1/abc")


def test_further_names_of_the_node_are_known_to_the_page() -> None:
    wanted = connectors.check(Settings(web_names=("Node1.Cluster.example.edu",)), clipboard=False)
    assert "node1.cluster.example.edu" in wanted.names()


@pytest.mark.parametrize("name", ["", "a b", "http://node1", "node1:80", "-node1", "*", "a\r\nb", "x" * 300])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(Refusal, match="`web_names`"):
        connectors.check(Settings(web_names=(name,)), clipboard=False)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:0", ListenAddress("127.0.0.1", 0, 0)),
        ("localhost:8080", ListenAddress("127.0.0.1", 8080, 8080)),
        ("0.0.0.0:20000-20999", ListenAddress("0.0.0.0", 20000, 20999)),
        ("[::1]:8443", ListenAddress("::1", 8443, 8443)),
        ("off", None),
        ("", None),
    ],
)
def test_places_to_listen_at(text: str, place: ListenAddress | None) -> None:
    assert listeners.parse("web", text) == place


@pytest.mark.parametrize(
    "text",
    ["8080", "127.0.0.1", "127.0.0.1:70000", "127.0.0.1:9-8", "127.0.0.300:1", "node:1", ":1", "[1.2.3.4:5", "*:1"],
)
def test_what_is_no_place_is_refused_by_name(text: str) -> None:
    with pytest.raises(Refusal, match="`rdp_tls`") as caught:
        listeners.parse("rdp_tls", text)
    assert caught.value.code is ExitCode.USAGE
    assert "127.0.0.1:0" in caught.value.hint


def with_a_free_neighbour(taken: socket.socket) -> int:
    """Listen at a port behind which another is free: others on the node take some, too."""
    for first in range(20000, 30000):
        with suppress(OSError), socket.socket() as next_one:
            next_one.bind(("127.0.0.1", first + 1))
            taken.bind(("127.0.0.1", first))
            taken.listen()
            return first
    pytest.fail("there are no two free ports beside each other")


def test_a_range_gives_its_first_free_port_and_says_when_it_is_full() -> None:
    with socket.socket() as taken, ExitStack() as held:
        first = with_a_free_neighbour(taken)
        found = held.enter_context(listeners.tcp("web", ListenAddress("127.0.0.1", first, first + 1)))
        assert found.getsockname()[1] == first + 1
        with pytest.raises(Refusal, match="are all in use on this node") as caught:
            held.enter_context(listeners.tcp("web", ListenAddress("127.0.0.1", first, first + 1)))
        assert caught.value.code is ExitCode.RESOURCES
        with pytest.raises(Refusal, match="is in use on this node"):
            held.enter_context(listeners.tcp("web", ListenAddress("127.0.0.1", first, first)))


def squatter(address: str, port: int = 0) -> socket.socket:
    """A neighbour's socket in one family only."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    taken = socket.socket(family)
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        taken.bind((address, port))
        taken.listen()
    except OSError:
        taken.close()
        raise
    return taken


@pytest.mark.parametrize("held", ["::", "::1", "0.0.0.0", "127.0.0.1", "127.0.0.9"])
@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_a_port_that_somebody_holds_in_one_family_is_not_taken_in_the_other(everywhere: str, held: str) -> None:
    with squatter(held) as theirs, ExitStack() as ours:
        port = theirs.getsockname()[1]
        with pytest.raises(Refusal, match="is in use on this node"):
            ours.enter_context(listeners.tcp("web", ListenAddress(everywhere, port, port)))
        # Others on this machine have ports, too.
        found = ours.enter_context(listeners.tcp("web", ListenAddress(everywhere, port, min(port + 99, 65535))))
        assert found.getsockname()[1] > port


@pytest.mark.parametrize("wanted", ["::", "::1", "0.0.0.0", "127.0.0.1", "127.0.0.9"])
@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_what_listens_everywhere_leaves_no_family_to_others(everywhere: str, wanted: str) -> None:
    with listeners.tcp("rdp_tls", ListenAddress(everywhere, 0, 0)) as ours:
        port = ours.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), 5).close()
        with pytest.raises(OSError, match="in use"):
            squatter(wanted, port)


@pytest.mark.parametrize("number", [errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL])
@pytest.mark.parametrize("everywhere", ["0.0.0.0", "::"])
def test_a_node_without_ipv6_listens_on_what_it_has(
    everywhere: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    bound = listeners._listening

    def without_ipv6(address: str, port: int) -> socket.socket:
        if ":" in address:
            raise OSError(number, os.strerror(number))
        return bound(address, port)

    monkeypatch.setattr(listeners, "_listening", without_ipv6)
    with listeners.tcp("web", ListenAddress(everywhere, 0, 0)) as ours:
        assert ours.family is socket.AF_INET
        socket.create_connection(("127.0.0.1", ours.getsockname()[1]), 5).close()


def test_a_name_is_told_only_where_all_its_addresses_are_ours() -> None:
    node = os.uname().nodename
    for everywhere in ("0.0.0.0", "[::]"):
        wanted = check(web=f"{everywhere}:0", rdp_tls=f"{everywhere}:0")
        assert connectors.url(wanted, 7) == f"https://{node}:7/"
        assert wanted.native_names() == [node.lower()]
    one = check(web="192.0.2.7:0", rdp_tls="[2001:db8::7]:0")
    assert connectors.url(one, 7) == "https://192.0.2.7:7/"
    assert one.native_names() == ["2001:db8::7"]


def test_an_address_that_the_node_lacks_is_named() -> None:
    with (
        pytest.raises(Refusal, match=r"192\.0\.2\.1.*no such address"),
        listeners.tcp("web", ListenAddress("192.0.2.1", 0, 0)),
    ):
        pass


def test_a_unix_socket_is_its_users_alone(tmp_path: Path) -> None:
    with connectors.unix_sockets(tmp_path, console=False) as sockets:
        assert set(sockets) == {"web", "rdp", "serial"}
        assert {path.name for path in tmp_path.iterdir()} == {"web.sock", "rdp.sock", "serial.sock"}
        assert all(path.stat().st_mode & 0o777 == 0o600 for path in tmp_path.iterdir())


def check(**values: Any) -> connectors.Connectors:
    return connectors.check(Settings(**values), clipboard=True)


def test_https_is_left_out_only_on_loopback_or_by_the_sites_word() -> None:
    assert not check().web_tls
    assert not check(web="[::1]:0").web_tls
    assert check(web_tls=True).web_tls
    assert check(web="0.0.0.0:0").web_tls
    assert check(web="0.0.0.0:0").makes_web_certificate
    assert not check(web="0.0.0.0:0", web_plain_http=True).web_tls
    own = check(web="0.0.0.0:0", web_plain_http=True, web_certificate="/c.pem", web_key="/k.pem")
    assert own.web_tls
    assert not own.makes_web_certificate


def test_half_a_certificate_is_refused() -> None:
    with pytest.raises(Refusal, match="`web_key` is set but `web_certificate` is not"):
        check(web_key="/k.pem")


@pytest.mark.parametrize(
    "origin", ["portal.example", "https://portal.example/node", "ftp://x", "https://", "https://a b"]
)
def test_a_portal_is_an_origin(origin: str) -> None:
    with pytest.raises(Refusal, match="is not an origin"):
        check(portals=(origin,))


def test_portals_are_spelt_as_browsers_do() -> None:
    assert check(portals=("HTTPS://Portal.Example:443/", "http://x:8080")).portals == (
        "https://portal.example",
        "http://x:8080",
    )


def test_the_address_that_is_printed_can_be_opened() -> None:
    assert connectors.url(check(), 4711) == "http://127.0.0.1:4711/"
    assert connectors.url(check(web="[::1]:0"), 1) == "http://[::1]:1/"
    assert connectors.url(check(web="0.0.0.0:0"), 1) == f"https://{os.uname().nodename}:1/"
    assert connectors.url(check(web="off"), 0) == ""


def test_tokens_have_256_bits_and_the_gateway_gets_their_digests_only(tmp_path: Path) -> None:
    mine = credentials.Credentials("user1", "Secret123", "ann", credentials.new_tokens())
    mine.write(tmp_path)
    assert credentials.read(tmp_path) == mine
    assert (tmp_path / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert set(mine.tokens) == {"desktop", "console", "status"}
    assert len(set(mine.tokens.values())) == 3
    # 52 digits of base32 hold 256 bits; lower case, and a letter first, as shells and YAML want it.
    assert all(re.fullmatch("k[a-z2-7]{52}", token) for token in mine.tokens.values())
    assert mine.digests()["status"] == hashlib.sha256(mine.tokens["status"].encode()).hexdigest()
    new = mine.renewed()
    assert not set(new.tokens.values()) & set(mine.tokens.values())
    assert new.password == mine.password
    new.write(tmp_path)
    assert credentials.read(tmp_path) == new


def test_messages_to_the_gateway_and_orders_come_out_as_they_went_in() -> None:
    assert INWARDS.unpack(INWARDS.pack(FRONT)) == FRONT
    for order in (
        Stop(2.5),
        Stop(2.5, "it ends"),
        Notice("it \u00e9nds\n"),
        NewCertificates({"tls/web.pem": "-----\n"}),
    ):
        assert ORDERS.unpack(ORDERS.pack(order)) == order


class Gateway:
    """The other end of the wire, as a gateway uses it."""

    def __init__(self, link: GatewayLink) -> None:
        self._wire = link.theirs
        self._wire.settimeout(5)

    def say(self, **message: object) -> None:
        self._wire.send(json.dumps(message).encode())

    def hear(self) -> Told:
        return INWARDS.unpack(self._wire.recv(packets.MAX_MESSAGE))


def test_a_gateway_that_is_started_anew_is_told_all_again() -> None:
    async def story() -> None:
        now = state()
        link = GatewayLink(lambda now: None, lambda: b"")
        gateway = Gateway(link)
        hearing = asyncio.create_task(link.listen())
        link.let_in(FRONT)
        link.show(now)
        for _ in range(2):
            gateway.say(kind="hello")
            await asyncio.sleep(0.05)
            assert gateway.hear() == FRONT
            assert gateway.hear() == now
        hearing.cancel()
        link.close()

    asyncio.run(story())


def test_a_gateway_in_wrong_hands_can_end_or_suspend_the_session_and_take_the_bundle_and_no_more() -> None:
    orders: list[bool] = []
    suspended: list[str] = []

    async def story() -> None:
        bundles = [b"PK"]
        link = GatewayLink(orders.append, lambda: bundles.pop() if bundles else b"", lambda: suspended.append("me"))
        gateway = Gateway(link)
        hearing = asyncio.create_task(link.listen())
        link.theirs.send(b"\xff\0{")
        for junk in ({}, {"kind": ["a"]}, {"kind": "front", "session": "x"}, {"kind": "renew"}):
            gateway.say(**junk)
        link.theirs.send(b"[1]")
        gateway.say(kind="stop", now="yes")
        gateway.say(kind="stop", now=True)
        gateway.say(kind="suspend", target="/etc/passwd")
        for _ in range(2):
            gateway.say(kind="bundle", folder="/etc")
        await asyncio.sleep(0.1)
        assert [gateway.hear() for _ in range(2)] == [Bundle(b"PK"), Bundle(b"")]
        assert not hearing.done()
        hearing.cancel()
        link.close()

    asyncio.run(story())
    assert orders == [False, True]
    assert suspended == ["me"], "into its own file: where that is, is nothing that it could say"


def test_the_farewell_waits_for_the_pages_but_not_for_ever() -> None:
    async def story() -> tuple[float, float]:
        link = GatewayLink(lambda now: None, lambda: b"")
        gateway = Gateway(link)
        hearing = asyncio.create_task(link.listen())
        gateway.say(kind="hello")
        await asyncio.sleep(0.05)
        over = state()
        over.phase = Phase.FAILED
        link.show(over)
        clock = asyncio.get_running_loop().time
        began = clock()
        await link.farewell()
        unanswered = clock() - began
        gateway.say(kind="told")
        await link.farewell()
        answered = clock() - began - unanswered
        hearing.cancel()
        link.close()
        return unanswered, answered

    unanswered, answered = asyncio.run(story())
    assert 0.5 < unanswered < 5
    assert answered < 0.5
