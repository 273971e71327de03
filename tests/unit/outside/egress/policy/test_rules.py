"""The ways out as a site writes them: what is read, what is refused, which answers of a name server are believed."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.outside.egress.policy import decide, rules
from sevenlbd.outside.egress.relay import resolve
from sevenlbd.outside.egress.relay.allowed import Pattern

PLAIN = {
    "tcp://license.example.edu:27000": ("tcp", "license.example.edu", 27000, 27000),
    "TCP://License.Example.EDU.:27000-27009": ("tcp", "license.example.edu", 27000, 27009),
    "udp://192.0.2.10:5093": ("udp", "192.0.2.10", 5093, 5093),
    "tcp://[2001:DB8:0::10]:1": ("tcp", "2001:db8::10", 1, 1),
    "udp://lic_1:65535": ("udp", "lic_1", 65535, 65535),
    "https://portal.example.edu": ("https", "portal.example.edu", 443, 443),
    "http://*.example.edu": ("http", "*.example.edu", 80, 80),
    "https://*.example.edu:8443-8450": ("https", "*.example.edu", 8443, 8450),
    "https://[2001:db8::1]:443": ("https", "2001:db8::1", 443, 443),
    # The node itself, when the site says so; and what only the proxy can lead to.
    "tcp://169.254.169.254:80": ("tcp", "169.254.169.254", 80, 80),
    "https://127.0.0.1:8443": ("https", "127.0.0.1", 8443, 8443),
}

REFUSED = {
    "license.example.edu:27000": "not a way out",
    "tcp:license.example.edu:27000": "not a way out",
    "": "not a way out",
    "ftp://license.example.edu:21": "none of tcp, udp, http and https",
    "tcp://license.example.edu": "no port",
    "tcp://license.example.edu:0": "1 to 65535",
    "tcp://license.example.edu:65536": "1 to 65535",
    "tcp://license.example.edu:27009-27000": "1 to 65535",
    "tcp://license.example.edu:27000-": "not a way out",
    "tcp://license.example.edu:+27000": "not a way out",
    "tcp://license.example.edu:٢٧": "not a way out",
    "tcp://:27000": "neither a host's name nor an address",
    "tcp://*.example.edu:27000": "neither a host's name nor an address",
    "https://*": "let everything through",
    "https://a.*.example.edu": "neither",
    "https://*example.edu": "neither",
    "https://portal.example.edu/": "not a way out",
    "https://portal.example.edu/activate": "not a way out",
    "https://user@portal.example.edu": "not a way out",
    "https://portal.example.edu?x": "not a way out",
    "https://portal.example.edu#x": "not a way out",
    "tcp://li cense.example.edu:1": "neither",
    "tcp://license.example.edu\naddress=/#/192.0.2.1:1": "not a way out",
    "tcp://license\t192.0.2.1:1": "neither",
    "tcp://$(id).example.edu:1": "neither",
    "tcp://-license.example.edu:1": "neither",
    "tcp://license-.example.edu:1": "neither",
    "tcp://license..example.edu:1": "neither",
    f"tcp://{'a' * 64}.example.edu:1": "neither",
    f"tcp://{'a.' * 127}edu:1": "neither",
    "tcp://lizenz.münchen.example:1": "xn--",
    # IPv4 addresses in other spellings.
    "tcp://127.1:80": "neither",
    "tcp://2130706433:80": "neither",
    "tcp://0x7f000001:80": "neither",
    "tcp://0x7f.1:80": "neither",
    "tcp://0177.0.0.1:80": "neither",
    "tcp://192.0.2.256:80": "neither",
    # Addresses that nothing can lead to.
    "tcp://169.254.100.2:445": "guest's own link",
    "udp://169.254.100.77:1": "guest's own link",
    "https://169.254.100.15": "guest's own link",
    "tcp://[fd07:1bd0:6400::5]:1": "guest's own link",
    "tcp://127.0.0.1:27000": "the guest itself",
    "tcp://127.9.9.9:27000": "the guest itself",
    "tcp://[::1]:27000": "the guest itself",
    "tcp://0.0.0.0:1": "of no host",
    "tcp://0.1.2.3:1": "of no host",
    "tcp://255.255.255.255:1": "of no host",
    "tcp://240.0.0.1:1": "of no host",
    "udp://224.0.0.251:5353": "multicast",
    "udp://[ff02::fb]:5353": "multicast",
    "tcp://[::]:1": "of no host",
    "tcp://[::ffff:192.0.2.1]:1": "write 192.0.2.1",
    "tcp://[fe80::1]:1": "link-local",
    "tcp://[fe80::1%eth0]:1": "link-local",
    "tcp://[192.0.2.1]:1": "not an IPv6 address",
    "tcp://[license.example.edu]:1": "not an IPv6 address",
    "tcp://2001:db8::1:80": "not a way out",
}


@pytest.mark.parametrize("text", PLAIN)
def test_a_way_out_is_read(text: str) -> None:
    way = rules.parse(text)
    assert (way.scheme, way.host, way.first, way.last) == PLAIN[text]


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_way_out_is_refused_with_the_reason(text: str) -> None:
    with pytest.raises(Refusal, match="egress_allow") as refused:
        rules.parse(text)
    assert refused.value.code is ExitCode.USAGE
    assert REFUSED[text] in refused.value.what
    assert "\n" not in refused.value.what


def test_hosts_may_have_several_addresses() -> None:
    found = rules.hosts(["A.example.edu=192.0.2.1", "a.example.edu = 2001:DB8::1", "a.example.edu=192.0.2.1"])
    assert found == {"a.example.edu": ("192.0.2.1", "2001:db8::1")}


@pytest.mark.parametrize(
    "text", ["a.example.edu", "=192.0.2.1", "a=b", "a=", "a=169.254.100.9", "a=224.0.0.1", "a=fe80::1", "*.a=192.0.2.1"]
)
def test_what_is_no_place_of_a_host_is_refused(text: str) -> None:
    with pytest.raises(Refusal, match="egress_hosts"):
        rules.hosts([text])


@pytest.mark.parametrize(
    "answer",
    ["127.0.0.1", "127.8.8.8", "::1", "169.254.169.254", "169.254.100.2", "fe80::1", "fe80::1%1", "0.0.0.0", "::",
     "224.0.0.1", "ff02::1", "255.255.255.255", "::ffff:127.0.0.1", "::ffff:192.0.2.1", "fd07:1bd0:6400::2", "x"],
)  # fmt: skip
def test_an_answer_that_leads_home_is_not_believed(answer: str) -> None:
    assert resolve.unbelievable(answer)


@pytest.mark.parametrize("answer", ["192.0.2.1", "10.0.0.1", "2001:db8::1", "fd00::1"])
def test_an_answer_that_leads_elsewhere_is_believed(answer: str) -> None:
    assert resolve.unbelievable(answer) == ""


def test_this_nodes_own_addresses_are_known() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.fail("this test wants a node with a route")
        ours = probe.getsockname()[0]
    assert resolve.unbelievable(ours) == "is this node itself"


class Resolver:
    """Answers in the place of the C library."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.known: dict[str, list[str]] = {}
        self.slow: set[str] = set()
        self.enough = threading.Event()
        monkeypatch.setattr(socket, "getaddrinfo", self._answer)

    def _answer(self, asked: bytes, *_: object, **__: object) -> list[Any]:
        assert asked.endswith(b"."), "with the node's search domain it would be another name"
        name = asked.decode().removesuffix(".")
        if name in self.slow:
            self.enough.wait(20)
        if name not in self.known:
            raise socket.gaierror(-2, "Name or service not known")
        return [(2, 1, 6, "", (address, 0)) for address in self.known[name]]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    made = Resolver(monkeypatch)
    yield made
    made.enough.set()


def chosen(*allow: str, **more: Any) -> Settings:
    return Settings.model_validate({"egress_allow": allow, **more})


def test_names_become_addresses_and_what_is_allowed_twice_is_there_once(resolver: Resolver) -> None:
    resolver.known["lic.example.edu"] = ["192.0.2.1", "198.51.100.2", "192.0.2.1"]
    settings = chosen("tcp://lic.example.edu:5-6", "tcp://192.0.2.1:6", "udp://192.0.2.1:6", "https://*.example.edu")
    allowed = decide.decide(settings).allowed
    assert allowed is not None
    assert allowed.tcp == (("192.0.2.1", 5), ("192.0.2.1", 6), ("198.51.100.2", 5), ("198.51.100.2", 6))
    assert allowed.udp == (("192.0.2.1", 6),)
    assert allowed.names == (("lic.example.edu", ("192.0.2.1", "198.51.100.2")),)
    assert allowed.proxy == (Pattern("https", "*.example.edu", 443, 443),)


def test_a_host_that_does_not_resolve_is_noted_and_left_out(resolver: Resolver) -> None:
    resolver.known["up.example.edu"] = ["192.0.2.1"]
    decision = decide.decide(chosen("tcp://down.example.edu:1", "tcp://up.example.edu:1"))
    assert decision.allowed is not None
    assert decision.allowed.names == (("up.example.edu", ("192.0.2.1",)),)
    (note,) = decision.notes
    assert "down.example.edu: there is no such name; it cannot be reached" in note


def test_without_any_place_there_is_no_way_out(resolver: Resolver) -> None:
    decision = decide.decide(chosen("tcp://down.example.edu:1"))
    assert decision.allowed is None
    assert len(decision.notes) == 1


def test_an_answer_that_leads_home_is_left_out_and_told(resolver: Resolver) -> None:
    resolver.known["lic.example.edu"] = ["127.0.0.1", "192.0.2.1", "169.254.100.2"]
    decision = decide.decide(chosen("tcp://lic.example.edu:1"))
    assert decision.allowed is not None
    assert decision.allowed.tcp == (("192.0.2.1", 1),)
    assert "127.0.0.1 is a loopback address; 169.254.100.2 is on the guest's own link" in decision.notes[0]


def test_the_hosts_file_counts_before_dns_and_nothing_is_added_to_a_name(
    resolver: Resolver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("192.0.2.1 lic.example.edu Lic # other\n2001:db8::1\tLIC.example.edu\n127.0.0.1 home\nx\n\n")
    monkeypatch.setattr(resolve, "_HOSTS", hosts)
    resolver.known["lic.example.edu"] = ["192.0.2.9"]
    resolver.known["other"] = ["192.0.2.8"]
    assert resolve.asked("lic.example.edu").addresses == ("192.0.2.1", "2001:db8::1")
    assert resolve.asked("lic").addresses == ("192.0.2.1",)
    assert resolve.asked("other").addresses == ("192.0.2.8",)
    assert resolve.asked("home") == resolve.Resolution((), "127.0.0.1 is a loopback address")
    assert resolve.asked("gone").why == "there is no such name"


def test_a_slow_name_server_does_not_hold_up_a_session(resolver: Resolver) -> None:
    resolver.slow = {f"lic{number}.example.edu" for number in range(100)}
    begun = time.monotonic()
    found = resolve.look_up(sorted(resolver.slow), 0.2)
    assert time.monotonic() - begun < 30
    assert {answer.why for answer in found.values()} == {"no name server answered within 0.2 s"}


def test_what_the_site_says_of_a_host_counts_more_than_dns(resolver: Resolver) -> None:
    resolver.known["lic.example.edu"] = ["192.0.2.9"]
    settings = chosen(
        "tcp://lic.example.edu:1",
        "tcp://gone.example.edu:1",
        "https://here.example.edu",
        egress_hosts=["lic.example.edu=192.0.2.1", "gone.example.edu=127.0.0.1", "here.example.edu=127.0.0.1"],
    )
    decision = decide.decide(settings)
    assert decision.allowed is not None
    assert decision.allowed.tcp == (("192.0.2.1", 1),)
    assert ("here.example.edu", "127.0.0.1") in decision.allowed.pinned
    assert "gone.example.edu" in decision.notes[0]


@pytest.mark.parametrize(
    ("image", "ports"), [(("all",), [1, 2]), ((), []), (("tcp://192.0.2.1:2",), [2]), (("tcp://192.0.2.9:9",), [])]
)
def test_an_image_narrows_the_sites_list_and_never_widens_it(image: tuple[str, ...], ports: list[int]) -> None:
    decision = decide.decide(chosen("tcp://192.0.2.1:1", "tcp://192.0.2.1:2"), image)
    assert [port for _, port in decision.allowed.tcp] == ports if decision.allowed else not ports
    assert ["192.0.2.9" in note for note in decision.notes] == ([True] if "tcp://192.0.2.9:9" in image else [])


def test_a_user_may_do_without(resolver: Resolver) -> None:
    assert decide.decide(chosen("tcp://lic.example.edu:1", egress=False)) == decide.Decision(None)


def test_more_doors_than_a_session_can_have_are_refused() -> None:
    assert decide.decide(chosen("tcp://192.0.2.1:1-512")).allowed
    for allow in (
        ["tcp://192.0.2.1:1-513"],
        ["tcp://192.0.2.1:1-512", "udp://192.0.2.1:1"],
        ["tcp://192.0.2.1:1-65535"],
    ):
        with pytest.raises(Refusal, match="more than 512"):
            decide.decide(chosen(*allow))


def test_a_folder_for_the_lists_that_cannot_be_written_to_is_refused(tmp_path: Path) -> None:
    allowed = decide.decide(chosen("tcp://192.0.2.1:1", egress_log=str(tmp_path)), session="s").allowed
    assert allowed is not None
    assert Path(allowed.log).parent == tmp_path
    with pytest.raises(Refusal, match="egress_log"):
        decide.decide(chosen("tcp://192.0.2.1:1", egress_log=str(tmp_path / "none")), session="s")
