"""What a proxy is asked for has one meaning, and no spelling of an address gets past the list."""

from __future__ import annotations

import ipaddress
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.outside.egress.relay import pac, resolve, target
from sevenlbd.outside.egress.relay.allowed import Pattern
from sevenlbd.outside.egress.relay.target import MalformedTarget, Target

PATTERNS = (
    Pattern("https", "*.example.edu", 443, 443),
    Pattern("https", "192.0.2.7", 8000, 8010),
    Pattern("https", "2001:db8::7", 443, 443),
    Pattern("http", "portal.example.edu", 80, 80),
)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (b"www.example.edu:443", "www.example.edu", 443),
        (b"WWW.Example.EDU.:443", "www.example.edu", 443),
        (b"a_b.example.edu:1", "a_b.example.edu", 1),
        (b"192.0.2.7:8000", "192.0.2.7", 8000),
        (b"[2001:DB8:0::7]:443", "2001:db8::7", 443),
    ],
)
def test_connect_has_a_host_and_a_port(text: bytes, host: str, port: int) -> None:
    assert target.of_connect(text) == Target("https", host, port)


@pytest.mark.parametrize(
    "text",
    [
        b"", b":443", b"www.example.edu", b"www.example.edu:", b"www.example.edu:0", b"www.example.edu:65536",
        b"www.example.edu:99999999999", b"www.example.edu:443x", b"www.example.edu:+443", b"www.example.edu: 443",
        b"user@www.example.edu:443", b"www.example.edu:443@evil:443", b"https://www.example.edu:443",
        b"www.example.edu:443/", b"evil/www.example.edu:443", b"evil#.example.edu:443", b"evil?.example.edu:443",
        b"evil\\.example.edu:443", b"evil\x00.example.edu:443", b"evil%00.example.edu:443",
        b"evil\r\nx.example.edu:443",
        b"..example.edu:443", b".example.edu:443", b"-.example.edu:443", b"x..example.edu:443", b"x.example.edu..:443",
        b"\xc3\xa4.example.edu:443", b"*.example.edu:443",
        # Addresses that the C library would understand, and other people's rules would not.
        b"2130706433:443", b"0x7f000001:443", b"0x7f.1:443", b"127.1:443", b"0177.0.0.1:443", b"127.0.0.01:443",
        b"017700000001:443", b"1.2.3:443", b"1.2.3.4.5:443", b"1.2.3.256:443", b"127.0.0.1.:443", b"0x7f.0.0.0x1:443",
        b"192.0.2.07:8000", b"[::1%25lo]:443", b"[::1%lo]:443", b"[192.0.2.7]:8000", b"[::1:443", b"::1:443", b"[]:443",
        b"[::g]:443", b"2001:db8::7:443",
    ],
)  # fmt: skip
def test_nothing_else_is_one(text: bytes) -> None:
    with pytest.raises(MalformedTarget):
        target.of_connect(text)


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        (b"http://portal.example.edu/a/b?c=d", "portal.example.edu", 80, b"/a/b?c=d"),
        (b"HTTP://Portal.Example.edu", "portal.example.edu", 80, b"/"),
        (b"http://portal.example.edu:8080?x=http://evil/", "portal.example.edu", 8080, b"/?x=http://evil/"),
        (b"http://[2001:db8::7]:81/", "2001:db8::7", 81, b"/"),
    ],
)
def test_a_request_has_a_whole_address(text: bytes, host: str, port: int, path: bytes) -> None:
    assert target.of_request(text) == Target("http", host, port, path)


@pytest.mark.parametrize(
    "text",
    [
        b"/", b"*", b"/proxy.pac", b"https://portal.example.edu/", b"ftp://portal.example.edu/", b"http:/portal/",
        b"http://", b"http:///x", b"http://user:pw@portal.example.edu/", b"http://evil@portal.example.edu/",
        b"http://portal.example.edu#@evil/", b"http://portal.example.edu/x#y", b"http://portal.example.edu\\@evil/",
        b"http://127.1/", b"http://[::1/", b"http://portal.example.edu:80:81/", b"http://portal.example.edu:/",
        b"portal.example.edu/", b"//portal.example.edu/", b" http://portal.example.edu/",
    ],
)  # fmt: skip
def test_no_other_form_is_taken(text: bytes) -> None:
    with pytest.raises(MalformedTarget):
        target.of_request(text)


@pytest.mark.parametrize(
    ("wanted", "listed"),
    [
        (Target("https", "www.example.edu", 443), True),
        (Target("https", "a.b.example.edu", 443), True),
        (Target("https", "example.edu", 443), False),
        (Target("https", "www.example.edu", 444), False),
        (Target("https", "wwwexample.edu", 443), False),
        (Target("https", "www.example.edu.evil", 443), False),
        (Target("http", "www.example.edu", 443), False),
        (Target("http", "portal.example.edu", 80), True),
        (Target("https", "192.0.2.7", 8010), True),
        (Target("https", "192.0.2.7", 8011), False),
        (Target("https", "192.0.2.8", 8000), False),
        (Target("https", "2001:db8::7", 443), True),
        (Target("https", "::ffff:192.0.2.7", 8000), False),
        (Target("https", "127.0.0.1", 443), False),
    ],
)
def test_the_list_holds(wanted: Target, listed: bool) -> None:
    assert target.is_listed(wanted, PATTERNS) is listed


@given(st.binary(max_size=80) | st.from_regex(rb"[a-z0-9.:\[\]%@/_-]{1,40}", fullmatch=True))
def test_whatever_comes_is_a_clean_target_or_malformed(text: bytes) -> None:
    for parse in (target.of_connect, target.of_request):
        try:
            found = parse(text)
        except MalformedTarget:
            continue
        assert 1 <= found.port <= 65535
        assert re.fullmatch(rb"[a-z0-9._\[\]:-]+", found.authority)
        # A host is an address in its one spelling, or a name that nobody takes for one.
        try:
            assert str(ipaddress.ip_address(found.host)) == found.host
        except ValueError:
            assert not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", found.host.rpartition(".")[2])
            assert ":" not in found.host


@pytest.mark.parametrize(
    "answer",
    ["64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::1", "::7f00:1",
     "2001:0:4136:e378:8000:63bf:80ff:fffe", "::ffff:127.0.0.1", "fe80::1%eth0"],
)  # fmt: skip
def test_an_address_that_leads_home_by_a_translator_is_not_believed(answer: str) -> None:
    assert resolve.unbelievable(answer)


@pytest.mark.parametrize("answer", ["64:ff9b::c000:201", "2002:c000:201::1"])
def test_a_translator_to_somewhere_else_is_fine(answer: str) -> None:
    assert resolve.unbelievable(answer) == ""


def test_the_pac_page_says_what_is_listed() -> None:
    page = pac.page(PATTERNS, "169.254.100.2").decode()
    assert 'var proxy = "PROXY 169.254.100.2:3128";' in page
    assert 'if (url.substring(0, 6) == "https:" && dnsDomainIs(host, ".example.edu")) return proxy;' in page
    assert 'if (url.substring(0, 5) == "http:" && host == "portal.example.edu") return proxy;' in page
    assert page.rstrip().endswith('return "DIRECT";\n}')
