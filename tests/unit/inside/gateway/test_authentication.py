"""The lock: tokens, cookies, origins, hosts; and over HTTP, what gets past it."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
from urllib.parse import quote

import pytest
from gateway_world import FRONT, PORTALS, TOKENS, World, lived
from hypothesis import example, given
from hypothesis import strategies as st
from sevenlbd.inside.gateway import authentication
from sevenlbd.inside.gateway.authentication import Visitor

PORTAL = "https://ondemand.example.edu"


@pytest.mark.parametrize("role", TOKENS)
def test_a_token_opens_its_role(role: str) -> None:
    assert authentication.role_of_token(TOKENS[role], FRONT.tokens) == role


@given(st.text(max_size=400))
def test_nothing_else_opens_anything(token: str) -> None:
    assert authentication.role_of_token(token, FRONT.tokens) == ""


def test_a_role_that_we_do_not_have_opens_nothing() -> None:
    assert authentication.role_of_token("x", {"root": hashlib.sha256(b"x").hexdigest()}) == ""


def test_every_digest_is_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(a: str, b: str) -> bool:
        compared.append(b)
        return a == b

    monkeypatch.setattr("hmac.compare_digest", compare)
    authentication.role_of_token(TOKENS["desktop"], FRONT.tokens)
    assert sorted(compared) == sorted(FRONT.tokens.values())


def test_a_cookie_is_read_back_and_never_the_same() -> None:
    one, two = (authentication.make_cookie("console", FRONT.cookie_key) for _ in range(2))
    assert one != two
    visitor = authentication.read_cookie(one, FRONT.cookie_key)
    assert visitor
    assert visitor.role == "console"


@given(st.text(max_size=300))
@example("desktop.a.\udcff")
@example("\udcff.a.b")
def test_no_made_up_cookie_is_read(value: str) -> None:
    assert authentication.read_cookie(value, FRONT.cookie_key) is None


@given(st.integers(min_value=0, max_value=200), st.characters())
def test_no_changed_cookie_is_read(place: int, character: str) -> None:
    good = "desktop.AAAAAAAAAAAAAAAAAAAAAA." + authentication._mac("desktop.AAAAAAAAAAAAAAAAAAAAAA", FRONT.cookie_key)
    place %= len(good)
    changed = good[:place] + character + good[place + 1 :]
    assert (authentication.read_cookie(changed, FRONT.cookie_key) is not None) == (changed == good)


def test_roles_contain_the_smaller_ones() -> None:
    assert [Visitor(role).may("status") for role in authentication.MAY] == [True, True, True]
    assert [Visitor(role).may("console") for role in authentication.MAY] == [True, True, False]
    assert [Visitor(role).may("desktop") for role in authentication.MAY] == [True, False, False]


HOSTS = {
    "node7": ("node7", None),
    "Node7:8443": ("node7", 8443),
    "[::1]:80": ("::1", 80),
    "127.0.0.1:1": ("127.0.0.1", 1),
    "": None,
    "a/b": None,
    "user@node7": None,
    "node7:x": None,
    "node7:99999": None,
    "a b": None,
    "[::1": None,
    "a,b": None,
}


@pytest.mark.parametrize("value", HOSTS)
def test_a_host_is_taken_apart(value: str) -> None:
    assert authentication.split_host(value) == HOSTS[value]


@given(st.text(max_size=100))
def test_no_host_breaks_it(value: str) -> None:
    authentication.split_host(value)
    authentication.host_allowed(value, value, PORTALS)
    authentication.origin_allowed(value, value, PORTALS)
    authentication.origin_allowed(f"http://{value}", value, FRONT)


# Origin, Host; allowed without portals, and with one.
ORIGINS = (
    ("http://node7:8443", "node7:8443", True, True),
    ("http://NODE7:8443", "node7:8443", True, True),
    ("http://node7", "node7", True, True),
    ("http://node7", "node7:80", True, True),
    ("https://node7", "node7:443", True, True),
    ("https://node7", "node7:80", False, False),
    ("http://node7:1", "node7:8443", False, False),  # another user's server on the same node
    ("http://other", "node7", False, False),
    ("", "node7", False, False),
    ("null", "node7", False, False),
    ("file://", "node7", False, False),
    ("ftp://node7", "node7", False, False),
    ("http://", "", False, False),
    ("http://node7.evil.example", "node7", False, False),
    ("http://node7@evil.example", "node7", False, False),
    ("http://evil.example#node7", "node7", False, False),
    ("https://ondemand.example.edu", "node7:8443", False, True),
    ("http://rebound.example", "rebound.example", True, False),
    ("https://ondemand.example.edu", "ondemand.example.edu", True, True),
    ("http://ondemand.example.edu", "ondemand.example.edu", True, False),
)


@pytest.mark.parametrize(("origin", "host", "without", "listed"), ORIGINS)
def test_an_origin_is_our_own_or_a_portals(origin: str, host: str, without: bool, listed: bool) -> None:
    assert authentication.origin_allowed(origin, host, FRONT) is without
    assert authentication.origin_allowed(origin, host, PORTALS) is listed


# Host, X-Forwarded-Host; allowed with a portal listed.
NAMES = (
    ("node7:8443", "", True),
    ("localhost:1", "", True),
    ("127.0.0.1:5", "", True),
    ("ondemand.example.edu", "", True),
    ("node7:8443", "ondemand.example.edu", True),
    ("node7:8443", "x.example, ondemand.example.edu", True),
    ("node7:8443", "evil.example", False),
    ("rebound.example", "", False),
    ("rebound.example", "ondemand.example.edu", False),
    ("", "", False),
    ("", "ondemand.example.edu", False),
    ("node7.", "", False),
    ("node7/", "", False),
)


@pytest.mark.parametrize(("host", "forwarded", "listed"), NAMES)
def test_with_portals_listed_only_known_names_lead_here(host: str, forwarded: str, listed: bool) -> None:
    assert authentication.host_allowed(host, forwarded, PORTALS) is listed
    assert authentication.host_allowed(host, forwarded, FRONT) is True


@lived(front=PORTALS)
async def test_a_rebound_name_gets_nothing(world: World) -> None:
    for path in ("", "healthz", "api/status", "assets/login.js"):
        headers = world.headers("desktop", Host="rebound.example")
        assert await world.status_of("GET", path, headers) == 421
        assert await world.status_of("GET", path, world.headers("desktop", Host="node7")) == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", None, "http://127.0.0.1:1"])
@lived()
async def test_another_site_can_post_nothing(world: World, origin: str | None) -> None:
    headers = {"Cookie": world.cookie("desktop")} | ({} if origin is None else {"Origin": origin})
    for path in ("api/stop", "api/desktop", "api/client", "logout"):
        assert await world.status_of("POST", path, headers, data=b"{}") == 403
    assert world.asked == []
    login = {"Origin": origin} if origin else {}
    assert await world.status_of("POST", "login", login, data={"token": TOKENS["desktop"]}) == (403 if origin else 303)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", None])
@lived()
async def test_another_site_can_open_no_websocket(world: World, origin: str | None) -> None:
    for path in ("ws/rdp?tab=a", "ws/console"):
        handshake = (
            f"GET /{path} HTTP/1.1\r\nHost: 127.0.0.1:{world.port}\r\nCookie: {world.cookie('desktop')}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade, close\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: MDEyMzQ1Njc4OTAxMjM0NQ==\r\n"
        )
        reader, writer = await world.wire()
        writer.write((handshake + (f"Origin: {origin}\r\n" if origin else "") + "\r\n").encode())
        assert (await reader.readline()).split()[1] == b"403"
        writer.close()
    assert world.vnc.open == 0


@lived(front=PORTALS)
async def test_a_portals_page_may_do_it_all(world: World) -> None:
    headers = {
        "Cookie": world.cookie("desktop"),
        "Origin": PORTAL,
        "Host": "node7:40123",
        "X-Forwarded-Host": "ondemand.example.edu",
    }
    assert await world.status_of("POST", "node/node7/40123/api/stop", headers) == 202
    async with world.client.ws_connect(world.url("node/node7/40123/ws/console"), headers=headers) as ws:
        assert (await ws.receive()).data.startswith(b"RFB")
    assert await world.status_of("POST", "api/stop", headers | {"Origin": "https://evil.example"}) == 403


@lived()
async def test_guesses_are_late_and_then_refused(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication.Guesses, "DELAY_SECONDS", 0.3)

    async def guess(number: int) -> tuple[int, float, str]:
        begin = time.monotonic()
        async with world.client.post(world.url("login"), data={"token": f"guess{number}"}) as answer:
            return answer.status, time.monotonic() - begin, await answer.text()

    answers = await asyncio.gather(*(guess(number) for number in range(30)))
    late = [seconds for status, seconds, _ in answers if status == 403]
    assert len(late) == authentication.Guesses.ALLOWED
    assert min(late) >= 0.3
    assert [status for status, *_ in answers].count(429) == 20
    assert all("key" in text for _, _, text in answers)
    # Programs stand in the same queue, and a right token never does.
    assert await world.status_of("GET", "api/status", {"Authorization": "Bearer wrong"}) == 429
    assert await world.status_of("POST", "login", data={"token": TOKENS["desktop"]}) == 303
    assert await world.status_of("GET", "api/status", {"Authorization": f"Bearer {TOKENS['status']}"}) == 200
    assert world.gate.counters.failed_logins == 31


def test_guessing_is_allowed_again_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    guesses = authentication.Guesses()
    assert [guesses.wrong() for _ in range(12)].count(-1.0) == 2
    now[0] = guesses.WINDOW_SECONDS + 1
    assert guesses.wrong() == guesses.DELAY_SECONDS


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"", "application/x-www-form-urlencoded", 403),
        (b"token=", "application/x-www-form-urlencoded", 403),
        (b"token=\xff", "application/x-www-form-urlencoded", 400),
        (b"a=1&" * 100, "application/x-www-form-urlencoded", 400),
        (b'{"token": "x"}', "application/json", 415),
        (b"token=x", "text/plain", 415),
        (b"x" * 70_000, "application/x-www-form-urlencoded", 413),
    ],
)
@lived()
async def test_a_strange_form_is_refused(
    world: World, body: bytes, kind: str, status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(authentication.Guesses, "DELAY_SECONDS", 0.0)
    assert await world.status_of("POST", "login", {"Content-Type": kind}, data=body) == status


@pytest.mark.parametrize(("expected", "asked"), [("100-continue", True), ("100-Continue", True), ("more", False)])
@lived()
async def test_who_waits_to_be_asked_for_the_body_is_asked(world: World, expected: str, asked: bool) -> None:
    fields = "Host: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\n"
    token = f"token={TOKENS['desktop']}".encode()
    reader, writer = await world.wire()
    try:
        head = f"POST /login HTTP/1.1\r\n{fields}Content-Length: {len(token)}\r\nExpect: {expected}\r\n\r\n"
        writer.write(head.encode())
        if asked:
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(token)
        answer = await reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 303 ")
        assert b"\r\nServer: 7lbd\r\n" in answer
    finally:
        writer.close()


@lived()
async def test_no_log_line_holds_a_secret(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    token = TOKENS["desktop"]
    await world.status_of("POST", "login", data={"token": token})
    await world.status_of("POST", "login", data={"token": "my-guess"})
    await world.status_of("GET", f"desktop?token={token}", world.headers("desktop"))
    await world.status_of("GET", "api/status", {"Authorization": "Bearer my-guess"})
    await world.raw(f"GET /{token} HTTP/9.9\r\nCookie: {token}\r\nbad header {token}\r\n\r\n".encode())
    await world.raw(f"{token} / HTTP/1.1\r\n\r\n".encode())
    async with world.client.ws_connect(world.url("ws/rdp?tab=secret-tab"), headers=world.headers("desktop")) as ws:
        await ws.send_bytes(b"my-guess")
        await ws.receive()
    for secret in (token, "my-guess", "secret-tab", "pass-word", world.cookie("desktop")[:40]):
        assert secret not in caplog.text


KEY = "k" + "abcdefghijklmnopqrstuvwxyz234567"[:26] * 2
OTHER = "k" + KEY[:0:-1]
LINK = f"http://node7:8443/#token={KEY}"
WORD = KEY.upper()
"""As long as a key, and none."""


@pytest.mark.parametrize(
    "pasted",
    [
        KEY,
        f"  {KEY}\r\n",
        f"\u201c{KEY}\u201d.",
        f"<{KEY}>,",
        f"http://node7:8443/#token={KEY}",
        f"http://node7:8443/#token={KEY}&to=desktop",
        f"> Have a look:\n> > http://node7:8443/#token={KEY[:20]}\n> > {KEY[20:]}\n> Bye",
        f"http://node7:8443/#token=3D{KEY[:30]}=\r\n{KEY[30:]}",
        f"{KEY[:25]}\n{KEY[25:]}",
        f"\ufeff{KEY}",
        f"\u200e{KEY}\u202c",
        f"{KEY[:20]}\u00ad{KEY[20:]}",
        f"{KEY}\u2060",
        f"http://node7:8443/#token={KEY[:20]}\u00ad{KEY[20:]}",
        f"**{KEY}**",
        f"_{KEY}_",
        f"&lt;{KEY}&gt;",
        f"Key: {KEY}",
        f"Your key is {KEY} for today",
        f"Key: {KEY}, once more: {KEY}",
        f"The key {KEY} has {WORD} behind it",
        f"https://eur01.safelinks.example.org/?url={quote(LINK, '')}&data=05%7C02%7Csomebody%40example.org&reserved=0",
        f"https://eur01.safelinks.example.org/?url={quote(quote(LINK + '&to=desktop', ''), '')}&data=05%257C02",
        f"https://other.example.org/?token=abc&url={quote(LINK, '')}",
        f"https://other.example.org/v3/__http://node7:8443/*token={KEY}__;Iw!!abc",
    ],
)
def test_a_token_is_found_in_what_people_paste(pasted: str) -> None:
    assert authentication.pasted_token(pasted) == KEY
    assert authentication.pasted_token(pasted.replace("\r", "").replace("\n", "")) == KEY, "a field has one line"


@pytest.mark.parametrize(
    "pasted",
    [
        f"{KEY} {OTHER}",
        f"Key: {KEY}, or {OTHER}",
        f"{KEY}{OTHER}",
        f"{KEY}x",
        f"x{KEY}",
        KEY[:-1],
        WORD,
        quote(quote(quote(quote(quote(LINK, ""), ""), ""), ""), ""),
    ],
)
def test_of_two_keys_none_is_guessed_nor_is_one_cut_out_of_more(pasted: str) -> None:
    assert authentication.pasted_token(pasted) not in (KEY, OTHER)


@pytest.mark.parametrize("hostile", ["k" * 200_000, "%25" * 100_000, f"{KEY} " * 4000, "token=" * 50_000])
def test_no_paste_costs_more_than_a_moment(hostile: str) -> None:
    begun = time.process_time()
    authentication.pasted_token(hostile)
    assert time.process_time() - begun < 0.1


def test_what_is_no_token_stays_none() -> None:
    assert authentication.pasted_token("") == ""
    assert authentication.pasted_token("#token=") == "#token="
    assert len(authentication.pasted_token("x" * 100_000)) < 10_000
