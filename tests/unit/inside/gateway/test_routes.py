"""Every route with every kind of visitor; prefixes, paths, methods, headers."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace

import aiohttp
import pytest
from gateway_world import BROTLI, FRONT, HASHED, NATIVE, PAGES_VERSION, SESSION, TOKENS, World, lived, until
from sevenlbd.inside.gateway import api, authentication
from sevenlbd.inside.gateway.client_bundle import Voided
from sevenlbd.wire.gateway import BundleWanted, FarewellSaid, StopPressed, SuspendPressed

ROLES = ("desktop", "console", "status")
FREE = (
    ("GET", "", 200),
    ("GET", "assets/login.js", 200),
    ("GET", f"assets/{HASHED}", 200),
    ("GET", "assets/style.css", 200),
    ("GET", "assets/icon.svg", 200),
    ("GET", "assets/slash.js", 200),
    ("GET", "20007/assets/slash.js", 200),
    ("GET", "healthz", 200),
)
# Method, path, status for: nobody, desktop, console, status.
LOCKED = (
    ("GET", "desktop", 401, 200, 403, 403),
    ("GET", "console", 401, 200, 200, 403),
    ("GET", "native", 401, 200, 403, 403),
    ("POST", "logout", 303, 303, 303, 303),
    ("GET", "assets/desktop.js", 401, 200, 200, 200),
    ("GET", "assets/vendor/client.wasm", 401, 200, 200, 200),
    ("GET", "api/status", 401, 200, 200, 200),
    ("POST", "api/desktop", 401, 200, 403, 403),
    ("POST", "api/stop", 401, 202, 403, 403),
    ("POST", "api/suspend", 401, 202, 403, 403),
    ("GET", "api/desktop.rdp", 401, 200, 403, 403),
    ("POST", "api/client", 401, 404, 403, 403),
    # No handshake: 400 says that the lock was passed.
    ("GET", "ws/rdp?tab=a", 401, 400, 403, 403),
    ("GET", "ws/console", 401, 400, 400, 403),
    ("GET", "metrics", 401, 200, 200, 200),
    ("GET", "nowhere", 401, 404, 404, 404),
    ("GET", "assets/nothing.js", 401, 404, 404, 404),
    ("GET", "secret.txt", 401, 404, 404, 404),
    ("DELETE", "api/status", 401, 405, 405, 405),
    ("POST", "desktop", 401, 405, 405, 405),
    ("OPTIONS", "api/desktop", 401, 405, 405, 405),
    ("GET", "api/stop", 401, 405, 405, 405),
)


async def every_status(world: World, headers: dict[str, str]) -> dict[tuple[str, str], int]:
    places = [(method, path) for method, path, _ in FREE] + [(method, path) for method, path, *_ in LOCKED]
    return {place: await world.status_of(*place, headers) for place in places}


@lived()
async def test_a_prefix_that_a_proxy_took_away_with_its_slash_is_mended_by_the_browser(world: World) -> None:
    """/rnode/HOST/PORT is asked for as `/`: only the browser knows, and finds nothing but what begins with the port."""
    behind = {"X-Forwarded-Host": "x", "Host": f"node7:{world.port}"}
    mends = f'<script src="{world.port}/assets/slash.js"></script>'
    for cookie, title in ((None, "login"), (world.cookie("desktop"), "status")):
        headers = behind | ({"Cookie": cookie} if cookie else {})
        async with world.client.get(world.url(""), headers=headers) as answer:
            text = await answer.text()
            assert answer.status == 200
            assert f"<title>{title}</title>\n    {mends}" in text
            assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
    for path, headers in (
        ("", {}),
        (f"node/node7/{world.port}/", behind),
        ("", behind | {"Host": "node7"}),
        ("", behind | {"Host": "node7:1><"}),
    ):
        async with world.client.get(world.url(path), headers=headers) as answer:
            assert "slash.js" not in await answer.text(), path


@lived()
async def test_what_is_free_is_little(world: World) -> None:
    for method, path, status in FREE:
        assert await world.status_of(method, path) == status, path


@lived()
async def test_a_stranger_gets_nothing_else(world: World) -> None:
    for method, path, nobody, *_ in LOCKED:
        assert await world.status_of(method, path) == nobody, path


@pytest.mark.parametrize("number", range(3))
@lived()
async def test_each_role_gets_its_own(world: World, number: int) -> None:
    for method, path, _, *expected in LOCKED:
        # The cookie is made anew each time: logging out voids it.
        headers = world.headers(ROLES[number])
        assert await world.status_of(method, path, headers) == expected[number], (ROLES[number], path)


WRONG = {
    "garbage": "x",
    "empty": "",
    "another key": authentication.make_cookie("desktop", "cd" * 32),
    "a role of its own": "root.nonce.mac",
    "role raised": authentication.make_cookie("status", FRONT.cookie_key).replace("status", "desktop"),
    "mac cut": authentication.make_cookie("desktop", FRONT.cookie_key)[:-1],
    "the token itself": TOKENS["desktop"],
    "the digest": FRONT.tokens["desktop"],
    "not text": "d\u00e9sktop.x.y",
    "dots": "...",
}


@pytest.mark.parametrize("kind", WRONG)
@lived()
async def test_a_wrong_cookie_is_none(world: World, kind: str) -> None:
    headers = {"Cookie": f"{authentication.cookie_name(SESSION)}={WRONG[kind]}", "Origin": world.origin}
    assert await every_status(world, headers) == await every_status(world, {})


@lived()
async def test_the_cookie_of_another_session_is_none(world: World) -> None:
    for cookie in (
        f"sevenlbd-other={authentication.make_cookie('desktop', FRONT.cookie_key)}",
        f"{authentication.cookie_name(SESSION)}={authentication.make_cookie('desktop', '11' * 32)}",
    ):
        headers = {"Cookie": cookie, "Origin": world.origin}
        assert await every_status(world, headers) == await every_status(world, {})


@pytest.mark.parametrize("where", ["before", "behind", "around", "in a header of its own"])
@lived()
async def test_the_cookies_of_another_port_do_not_hide_ours(world: World, where: str) -> None:
    """A browser sends those of every port of the host, and a page on another port can set what it likes."""
    name, ours = authentication.cookie_name(SESSION), world.cookie("desktop")
    junk = [f"{name}={value}" for value in ("x", '"', "desktop.a.b", "\\", "{}", "é")]
    junk += ["=", ";;", "a b=c", 'q="never closed', f"{name}"]
    gone = world.cookie("desktop")
    assert await world.status_of("POST", "logout", {"Cookie": gone, "Origin": world.origin}) == 303
    headers: list[tuple[str, str]] = {
        "before": [("Cookie", "; ".join([*junk, gone, ours]))],
        "behind": [("Cookie", "; ".join([ours, *junk]))],
        "around": [("Cookie", "; ".join([*junk, ours, *junk, gone]))],
        "in a header of its own": [("Cookie", "; ".join(junk)), ("Cookie", ours)],
    }[where]
    async with world.client.get(world.url("api/status"), headers=headers) as answer:
        assert answer.status == 200


@lived()
async def test_without_portals_nobody_says_how_we_are_called(world: World) -> None:
    headers = {"X-Forwarded-Host": "evil.example", "Origin": "http://evil.example"}
    async with world.client.get(world.url(""), headers=headers) as answer:
        assert "evil" not in str(answer.headers)
    headers |= {"Cookie": world.cookie("desktop")}
    assert await world.status_of("POST", "api/stop", headers) == 403
    assert await world.status_of("POST", "login", headers, data={"token": TOKENS["desktop"]}) == 403


@lived()
async def test_an_old_cookie_is_none_after_renewal(world: World) -> None:
    headers = world.headers("desktop")
    assert await world.status_of("GET", "api/status", headers) == 200
    world.renew()
    assert await every_status(world, headers) == await every_status(world, {})
    assert await world.status_of("GET", "api/status", world.headers("desktop")) == 200


@pytest.mark.parametrize(
    ("role", "to", "led"),
    [
        ("desktop", "desktop", "desktop"),
        ("desktop", "console", "console"),
        ("desktop", "native", "native"),
        ("desktop", "", "./"),
        ("console", "console", "console"),
        ("console", "desktop", "./"),
        ("status", "native", "./"),
        ("desktop", "metrics", "./"),
        ("desktop", "api/desktop.rdp", "./"),
        ("desktop", "//evil.example.org", "./"),
        ("desktop", "https://evil.example.org/", "./"),
        ("desktop", "../desktop", "./"),
        ("desktop", "desktop\r\nSet-Cookie: a=b", "./"),
    ],
)
@lived()
async def test_a_form_is_led_to_one_of_our_pages_or_to_the_first(world: World, role: str, to: str, led: str) -> None:
    form = {"token": TOKENS[role], "to": to}
    async with world.client.post(world.url("login"), data=form, allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, f"{led}?entered")
        assert "a" not in answer.cookies


@lived()
async def test_who_comes_back_from_the_login_without_the_cookie_is_told_so(world: World) -> None:
    for path in ("", "desktop", "node/n7/20001/console"):
        async with world.client.get(world.url(f"{path}?entered")) as answer:
            assert "without the cookie" in await answer.text()
        async with world.client.get(world.url(f"{path}?entered=1")) as answer:
            assert "without the cookie" not in await answer.text()
        headers = world.headers("desktop")
        async with world.client.get(world.url(f"{path}?entered"), headers=headers, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, path.rpartition("/")[2] or "./")
    assert await world.status_of("GET", "api/status?entered") == 401


@lived()
async def test_the_login_page_is_shown_to_strangers_and_the_status_page_to_visitors(world: World) -> None:
    for headers, page in (({}, "login"), (world.headers("status"), "status")):
        async with world.client.get(world.url(""), headers=headers) as answer:
            assert f"<title>{page}</title>" in await answer.text()
    async with world.client.get(world.url("desktop")) as answer:
        assert answer.status == 401
        assert "<title>login</title>" in await answer.text()


@lived()
async def test_the_token_becomes_a_cookie(world: World) -> None:
    async with world.client.post(
        world.url("login"), data={"token": TOKENS["console"]}, allow_redirects=False
    ) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "./?entered")
        cookie = answer.headers["Set-Cookie"]
    value, *attributes = cookie.split("; ")
    assert sorted(attributes) == ["HttpOnly", "SameSite=Strict"]
    assert value.startswith(f"{authentication.cookie_name(SESSION)}=console.")
    assert TOKENS["console"] not in cookie
    assert await world.status_of("GET", "console", {"Cookie": value}) == 200
    assert await world.status_of("GET", "desktop", {"Cookie": value}) == 403


@lived()
async def test_the_cookie_is_secure_when_the_page_is(world: World) -> None:
    headers = {"X-Forwarded-Proto": "http, https"}
    async with world.client.post(
        world.url("login"), data={"token": TOKENS["status"]}, headers=headers, allow_redirects=False
    ) as answer:
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")


@lived(tls=True)
async def test_over_tls_the_cookie_is_secure(world: World) -> None:
    url = f"https://127.0.0.1:{world.port}/login"
    async with world.client.post(url, data={"token": TOKENS["status"]}, ssl=False, allow_redirects=False) as answer:
        assert "Secure" in answer.headers["Set-Cookie"].split("; ")


@lived()
async def test_a_query_is_no_way_to_bring_the_token(world: World) -> None:
    token = TOKENS["desktop"]
    for path in (f"?token={token}", f"api/status?token={token}", f"desktop?token={token}"):
        assert await world.status_of("GET", path) in (200, 401)
        async with world.client.get(world.url(path)) as answer:
            assert "Set-Cookie" not in answer.headers
            assert "status</title>" not in await answer.text()
    assert await world.status_of("GET", f"login?token={token}") == 401


@lived()
async def test_logging_out_voids_the_cookie(world: World) -> None:
    headers = world.headers("desktop")
    async with world.client.post(world.url("logout"), headers=headers, allow_redirects=False) as answer:
        assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert await world.status_of("GET", "api/status", headers) == 401
    assert await world.status_of("GET", "api/status", world.headers("desktop")) == 200


@lived()
async def test_who_logs_out_without_a_good_cookie_is_led_to_the_login_page(world: World) -> None:
    gone = world.headers("desktop")
    assert await world.status_of("POST", "logout", gone) == 303
    for headers in (gone, {}, {"Cookie": "sevenlbd-x=y"}):
        async with world.client.post(world.url("logout"), headers=headers) as answer:
            assert answer.status == 200
            assert "login</title>" in await answer.text()
    assert world.asked == []


@lived()
async def test_logging_out_ends_what_that_cookie_opened(world: World) -> None:
    headers = world.headers("console")
    async with (
        world.client.ws_connect(world.url("ws/console"), headers=headers) as ours,
        world.console() as another,
    ):
        await ours.receive()
        await another.receive()
        await world.status_of("POST", "logout", headers)
        await ours.receive()
        assert ours.close_code == 4004
        assert not another.closed
        await another.send_bytes(b"still there")
        assert (await another.receive()).data == b"still there"


@pytest.mark.parametrize("role", ROLES)
@lived()
async def test_programs_bring_the_token_as_bearer(world: World, role: str) -> None:
    headers = {"Authorization": f"Bearer {TOKENS[role]}"}
    assert await world.status_of("GET", "api/status", headers) == 200
    assert await world.status_of("GET", "metrics", headers) == 200
    assert await world.status_of("POST", "api/desktop", headers) == (200 if role == "desktop" else 403)
    # Pages and WebSockets are for browsers, and those have cookies.
    assert await world.status_of("GET", "desktop", headers) == 401
    assert await world.status_of("GET", "ws/console", headers) == 401
    assert await world.status_of("GET", "assets/desktop.js", headers) == 401


@lived()
async def test_a_wrong_bearer_is_refused_even_with_a_good_cookie(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(authentication.Guesses, "DELAY_SECONDS", 0.0)
    headers = world.headers("desktop", Authorization="Bearer nonsense")
    assert await world.status_of("GET", "api/status", headers) == 401


PREFIXES = ("", "node/n7.example.edu/8443/", "rnode/n7/40123/")


@pytest.mark.parametrize("prefix", PREFIXES)
@lived()
async def test_all_works_below_a_portals_prefix(world: World, prefix: str) -> None:
    for method, path, nobody, desktop, *_ in LOCKED:
        assert await world.status_of(method, prefix + path, world.headers("desktop")) == desktop, path
        assert await world.status_of(method, prefix + path) == nobody, path
    assert await world.status_of("GET", prefix) == 200
    async with world.client.post(
        world.url(f"{prefix}login"), data={"token": TOKENS["desktop"]}, allow_redirects=False
    ) as answer:
        assert answer.headers["Location"] == "./?entered"
        assert "path" not in answer.headers["Set-Cookie"].lower()


@lived()
async def test_a_prefix_without_its_slash_gets_one(world: World) -> None:
    async with world.client.get(world.url("node/n7/8443"), allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (303, "8443/")


STRANGE = (
    "/../secret.txt",
    "/assets/../secret.txt",
    "/assets/%2e%2e/secret.txt",
    "/assets/..%2fsecret.txt",
    "/assets//desktop.js",
    "/assets/./desktop.js",
    "/assets/desktop.js/",
    "/assets/desktop.js%00",
    "/assets\\desktop.js",
    "/%61pi/status",
    "/api%2fstatus",
    "/api/status/",
    "//api/status",
    "/API/STATUS",
    "/node/x/1/node/x/1/api/status",
    "/node/../api/status",
    "/node/x/1/../../../api/status",
    "/node//1/api/status",
    "/;/api/status",
    "/api/status;a=b",
    "http://127.0.0.1/desktop",
    "*",
    "/login.html",
    "/assets/",
    "/assets",
)


@pytest.mark.parametrize("path", STRANGE)
@lived()
async def test_a_strange_path_leads_nowhere(world: World, path: str) -> None:
    for cookie, expected in (("", ("400", "401")), (f"Cookie: {world.cookie('desktop')}\r\n", ("400", "404", "405"))):
        head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{cookie}Connection: close\r\n\r\n"
        answer = (await world.raw(head.encode())).decode()
        # The absolute form is a way to write the same (RFC 9112 section 3.2.2).
        good = ("200",) if path.startswith("http://") and cookie else expected
        assert answer.split()[1] in good, answer
        assert "not for the web" not in answer


@lived()
async def test_an_asset_comes_in_ranges_and_once(world: World) -> None:
    url = world.url("assets/desktop.js")
    headers = world.headers("status")
    async with world.client.get(url, headers=headers | {"Range": "bytes=0-8"}) as answer:
        assert (answer.status, await answer.read()) == (206, b"desktop.j")
    async with world.client.get(url, headers=headers | {"Range": "bytes=999999-"}) as answer:
        assert answer.status == 416
    async with world.client.get(url, headers=headers) as answer:
        assert answer.content_type == "text/javascript"
        assert answer.headers["Cache-Control"] == "no-cache"
        tag = answer.headers["ETag"]
    async with world.client.get(url, headers=headers | {"If-None-Match": tag}) as answer:
        assert answer.status == 304
    for value in ("bytes=0-8", "bytes=-5", "bytes=0-,5-", "bytes=a-b"):
        assert await world.status_of("GET", "assets/desktop.js", {"Range": value}) == 401


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("br;q=0", None),
        ("xbr, bro", None),
        ("identity", None),
    ],
)
@lived()
async def test_assets_and_pages_come_in_the_coding_that_the_browser_wants_most(
    world: World, accepted: str, coding: str | None
) -> None:
    headers = world.headers("desktop") | {"Accept-Encoding": accepted}
    for path, kind, file in (
        ("assets/style.css", "text/css", "assets/style.css"),
        ("native", "text/html", "native.html"),
    ):
        async with world.client.get(world.url(path), headers=headers, auto_decompress=False) as answer:
            assert answer.headers.get("Content-Encoding") == coding
            assert answer.headers["Vary"].startswith("Accept-Encoding")
            assert answer.content_type == kind
            content = {"br": BROTLI, "gzip": await answer.read(), None: (world.folder / file).read_bytes()}[coding]
            assert await answer.read() == content
            assert (await answer.read()).startswith(b"\x1f\x8b") == (coding == "gzip")


@lived()
async def test_what_has_its_hash_in_its_name_is_kept_for_ever_and_the_rest_is_asked_for_again(world: World) -> None:
    headers = world.headers("desktop")
    async with world.client.get(world.url(f"assets/{HASHED}")) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "private, max-age=31536000, immutable")
    for path in ("assets/slash.js", "desktop?asked-again", "", "native"):
        async with world.client.get(world.url(path), headers=headers) as answer:
            assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache"), path
            tag = answer.headers["ETag"]
        async with world.client.get(world.url(path), headers=headers | {"If-None-Match": tag}) as answer:
            assert (answer.status, await answer.read()) == (304, b""), path


@lived()
async def test_the_desktops_page_is_taken_from_the_browsers_store_by_who_has_the_same_cookie(world: World) -> None:
    headers = world.headers("desktop")
    async with world.client.get(world.url("desktop"), headers=headers) as answer:
        assert answer.headers["Cache-Control"] == "private, max-age=86400"
        assert answer.headers["Vary"] == "Accept-Encoding, Cookie"
        tag = answer.headers["ETag"]
    async with world.client.get(world.url("desktop"), headers=headers | {"If-None-Match": tag}) as answer:
        assert (answer.status, await answer.read()) == (304, b"")
        assert answer.headers["Vary"] == "Accept-Encoding, Cookie"
    # Who is not in, or may not, is told so by an answer that nobody keeps.
    for others in ({}, world.headers("status")):
        async with world.client.get(world.url("desktop"), headers=others) as answer:
            assert (answer.status in (401, 403), answer.headers["Cache-Control"]) == (True, "no-store")
    async with world.client.get(world.url("api/status"), headers=headers) as answer:
        assert (await answer.json())["pages"] == PAGES_VERSION


@lived()
async def test_a_page_that_is_kept_is_not_shown_to_who_is_not_in(world: World) -> None:
    async with world.client.get(world.url(""), headers=world.headers("desktop")) as answer:
        tag = answer.headers["ETag"]
    async with world.client.get(world.url(""), headers={"If-None-Match": tag}) as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-store")
        assert "<title>login" in await answer.text()


@lived()
async def test_one_connection_serves_many_requests(world: World, caplog: pytest.LogCaptureFixture) -> None:
    reader, writer = await world.wire()
    for path in ("assets/desktop.js", "", "assets/login.js", "api/status", "nowhere", "assets/desktop.js", "desktop"):
        for method in ("GET", "HEAD"):
            head = f"{method} /{path} HTTP/1.1\r\nHost: x\r\nCookie: {world.cookie('desktop')}\r\n\r\n"
            writer.write(head.encode())
            answer = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            assert answer.startswith(f"http/1.1 {404 if path == 'nowhere' else 200} "), path
            if method == "GET":
                await reader.readexactly(int(answer.partition("content-length: ")[2].partition("\r\n")[0]))
    writer.close()
    assert not caplog.records


@lived()
async def test_every_answer_has_the_headers(world: World) -> None:
    paths = ("", "desktop", "api/status", "assets/login.js", "healthz", "nowhere", "metrics")
    for headers in ({}, world.headers("desktop")):
        for path in paths:
            async with world.client.get(world.url(path), headers=headers) as answer:
                csp = answer.headers["Content-Security-Policy"]
                assert "default-src 'none'" in csp
                assert "frame-ancestors 'none'" in csp
                assert f"ws://127.0.0.1:{world.port} " in csp
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Referrer-Policy"] == "same-origin"
                assert answer.headers["Server"] == "7lbd"
                kept = "private, max-age=86400" if path == "desktop" else "no-cache"
                page = path.startswith("assets") or (headers and path in ("", "desktop"))
                assert answer.headers["Cache-Control"] == (kept if page else "no-store")


@lived()
async def test_a_host_header_cannot_write_into_the_policy(world: World) -> None:
    for host in ("x; script-src *", "x'", "a b", "a,b", "[::1", "x\tscript-src"):
        answer = await world.raw(f"GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        assert b"script-src *" not in answer
        assert answer.split()[1] in (b"200", b"400")


@lived()
async def test_head_is_get_without_a_body(world: World) -> None:
    async with world.client.head(world.url("api/status"), headers=world.headers("status")) as answer:
        assert answer.status == 200
        assert await answer.read() == b""
    assert await world.status_of("HEAD", "api/status") == 401
    assert await world.status_of("HEAD", "assets/login.js") == 200


@lived()
async def test_the_wish_to_suspend_is_passed_on(world: World) -> None:
    assert await world.status_of("POST", "api/suspend", world.headers("desktop")) == 202
    assert world.asked[-1] == SuspendPressed()


@lived()
async def test_a_form_that_logs_in_may_suspend_with_the_desktops_key_alone(world: World) -> None:
    """A portal's card has a button for it; what it is led to shows how that goes."""
    for role in ("status", "console", "desktop"):
        asked = len(world.asked)
        form = {"token": TOKENS[role], "to": "suspend"}
        async with world.client.post(world.url("login"), data=form, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, "./?entered")
        assert world.asked[asked:] == ([SuspendPressed()] if role == "desktop" else [])
    asked = len(world.asked)
    async with world.client.post(world.url("login"), data={"token": "wrong", "to": "suspend"}) as answer:
        assert answer.status == 403
    assert len(world.asked) == asked


@lived()
async def test_stop_is_passed_on(world: World) -> None:
    headers = world.headers("desktop")
    for body, now in ((b"", False), (b"{}", False), (b'{"now": true}', True)):
        assert await world.status_of("POST", "api/stop", headers, data=body) == 202
        assert world.asked[-1] == StopPressed(now)
    asked = len(world.asked)
    for body in (b"[]", b"{", b'{"now": 1}', b"\xff", b"[" * 60_000):
        assert await world.status_of("POST", "api/stop", headers, data=body) == 400
    assert len(world.asked) == asked


@pytest.mark.parametrize("path", ["api/stop", "api/suspend"])
@lived()
async def test_what_was_pressed_on_a_silent_line_is_not_carried_out_later(world: World, path: str) -> None:
    headers, asked = world.headers("desktop"), len(world.asked)
    for heard, status in (
        *(
            (str(time.time() - 20), 409),
            (str(time.time() - 3600), 409),
            (f"-{10**400}", 409),
            ("-Infinity", 409),
            ("NaN", 409),
        ),
        *(('"12"', 400), ("null", 400), ("[]", 400)),
    ):
        assert await world.status_of("POST", path, headers, data=f'{{"heard": {heard}}}') == status
    assert len(world.asked) == asked
    for body in (f'{{"heard": {time.time() - 5}}}', "{}"):
        assert await world.status_of("POST", path, headers, data=body) == 202


@lived()
async def test_the_password_is_for_the_desktop_role(world: World) -> None:
    async with world.client.post(world.url("api/desktop"), headers=world.headers("desktop")) as answer:
        assert await answer.json() == {"account": "user1", "password": "pass-word", "destination": "desktop:3389"}
    async with world.client.get(world.url("api/desktop.rdp"), headers=world.headers("desktop")) as answer:
        text = await answer.text()
        assert "username:s:user1\r\n" in text
        assert "pass-word" not in text
        assert "attachment" in answer.headers["Content-Disposition"]


@lived(front=NATIVE)
async def test_the_clients_bundle_is_taken_once(world: World) -> None:
    assert await world.status_of("POST", "api/client", world.headers("desktop")) == 410
    world.bundles.append(b"PK")

    async def take() -> tuple[int, bytes]:
        async with world.client.post(world.url("api/client"), headers=world.headers("desktop")) as answer:
            return answer.status, await answer.read()

    answers = await asyncio.gather(*(take() for _ in range(10)))
    assert sorted(status for status, _ in answers) == [200] + [410] * 9
    assert (200, b"PK") in answers
    assert world.asked == [BundleWanted()] * 11


async def is_the_next_ones(world: World) -> None:
    """Once, without another question."""
    async with world.client.post(world.url("api/client"), headers=world.headers("desktop")) as answer:
        assert (answer.status, await answer.read()) == (200, b"PK")
    assert world.asked == [BundleWanted()]
    assert await world.status_of("POST", "api/client", world.headers("desktop")) == 410


@lived(front=NATIVE)
async def test_a_bundle_that_comes_too_late_is_the_next_ones_who_asks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The supervisor gives it once; who asked was told to try again."""
    monkeypatch.setattr("sevenlbd.inside.gateway.client_bundle._SECONDS", 0.001)
    world.bundles.append(None)
    assert await world.status_of("POST", "api/client", world.headers("desktop")) == 503
    monkeypatch.undo()
    world.gate.bundle.give(b"PK")
    assert await world.status_of("POST", "api/client", world.headers("status")) == 403
    await is_the_next_ones(world)


@lived(front=NATIVE)
async def test_a_bundle_whose_asker_has_gone_is_the_next_ones_who_asks(world: World) -> None:
    world.bundles.append(None)
    _, writer = await world.wire()
    head = "".join(f"{name}: {value}\r\n" for name, value in world.headers("desktop").items())
    host = f"127.0.0.1:{world.port}"
    writer.write(f"POST /api/client HTTP/1.1\r\nHost: {host}\r\n{head}Content-Length: 0\r\n\r\n".encode())
    await until(lambda: bool(world.asked))
    writer.transport.abort()
    # aiohttp counts a lost connection until its handler is done.
    lines = world.server.connections
    await until(lambda: all(not line.transport or line.transport.is_closing() for line in lines), 2)
    world.gate.bundle.give(b"PK")
    await is_the_next_ones(world)


@lived(front=NATIVE)
async def test_a_bundle_that_comes_as_its_asker_goes_is_kept_too(world: World) -> None:
    asking = asyncio.create_task(world.gate.bundle.take())
    await asyncio.sleep(0)
    world.gate.bundle.give(b"PK")
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    assert asking.cancelled()
    assert await world.gate.bundle.take() == b"PK"


@lived(front=NATIVE)
async def test_no_bundle_outlives_the_locks_that_it_opens(world: World) -> None:
    gate, newer = world.gate, replace(NATIVE, cookie_key="cd" * 32)
    gate.bundle.give(b"old")
    gate.on_front(NATIVE)
    assert await gate.bundle.take() == b"old", "the same locks, told once more"
    gate.bundle.give(b"old")
    gate.on_front(newer)
    assert await gate.bundle.take() == b"", "the supervisor was asked anew"
    gate.bundle.give(b"new")
    world.phase("ended")
    assert await gate.bundle.take() == b""


@lived(front=NATIVE)
async def test_who_waits_with_an_old_key_does_not_get_the_new_bundle(world: World) -> None:
    newer = replace(NATIVE, cookie_key="cd" * 32)
    world.bundles.append(None)
    waiting = asyncio.create_task(world.status_of("POST", "api/client", world.headers("desktop")))
    await until(lambda: bool(world.asked))
    world.gate.on_front(newer)
    world.gate.bundle.give(b"new")
    assert await waiting == 401
    async with world.client.post(world.url("api/client"), headers=world.headers("desktop")) as answer:
        assert (answer.status, await answer.read()) == (200, b"new")
    assert world.asked == [BundleWanted()]
    world.bundles.append(None)
    asking = asyncio.create_task(world.gate.bundle.take())
    await asyncio.sleep(0)
    world.gate.bundle.give(b"newer")
    world.gate.on_front(NATIVE)
    [outcome] = await asyncio.gather(asking, return_exceptions=True)
    assert isinstance(outcome, Voided), "it came before the locks were renewed, and opens none of them"
    assert await world.gate.bundle.take() == b""


@lived()
async def test_each_role_sees_its_part_of_the_status(world: World) -> None:
    down = ["license.example.edu, port 27000: refused (since 14:02)"]
    world.phase("ready", warnings=["no room in /tmp/7lbd-1000/blue-fox"], ways_out=down)
    seen = {}
    for role in ROLES:
        async with world.client.get(world.url("api/status"), headers=world.headers(role)) as answer:
            seen[role] = await answer.json()
        assert seen[role]["role"] == role
        assert (seen[role]["phase"], seen[role]["viewer"], seen[role]["console"]) == ("ready", "", True)
        assert seen[role]["ways_out"] == down
        assert "folder" not in seen[role]
        assert "pid" not in seen[role]
        assert "pass-word" not in json.dumps(seen[role])
    assert seen["desktop"]["native"] == {
        "ssh": "ssh -L 13827:/tmp/7lbd-1000/blue-fox/rdp.sock ann@node7",
        "local_port": 13827,
        "tls": None,
    }
    assert "native" not in seen["console"]
    assert "blue-fox/logs" in seen["desktop"]["hint"]
    assert "/tmp/7lbd" not in json.dumps(seen["status"])


async def event(answer_content: aiohttp.StreamReader) -> dict[str, object]:
    assert await answer_content.readline() == b"event: status\n"
    line = await answer_content.readline()
    assert await answer_content.readline() == b"\n"
    value: dict[str, object] = json.loads(line.removeprefix(b"data: "))
    return value


@lived()
async def test_the_status_comes_as_a_stream_of_events(world: World) -> None:
    headers = world.headers("status", Accept="text/event-stream")
    world.phase("booting")
    async with world.client.get(world.url("api/status"), headers=headers) as answer:
        assert answer.content_type == "text/event-stream"
        assert (await event(answer.content))["phase"] == "booting"
        world.phase("ready")
        assert (await event(answer.content))["phase"] == "ready"
        world.phase("failed", reason="it broke")
        assert (await event(answer.content))["reason"] == "it broke"
        assert await answer.content.read() == b""
    await until(lambda: FarewellSaid() in world.asked)


@lived()
async def test_the_stream_speaks_without_news_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_BEAT_SECONDS", 0.1)
    headers = world.headers("status", Accept="text/event-stream")
    async with world.client.get(world.url("api/status"), headers=headers) as answer:
        await event(answer.content)
        for _ in range(3):
            assert await answer.content.readline() == b"event: beat\n"
            assert abs(float((await answer.content.readline()).removeprefix(b"data: ")) - time.time()) < 10
            await answer.content.readline()


@lived()
async def test_renewal_ends_the_streams(world: World) -> None:
    headers = world.headers("status", Accept="text/event-stream")
    async with world.client.get(world.url("api/status"), headers=headers) as answer:
        await event(answer.content)
        world.renew()
        assert await answer.content.read() == b""


@lived()
async def test_streams_are_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api, "_MAX_STREAMS", 1)
    headers = world.headers("status", Accept="text/event-stream")
    async with world.client.get(world.url("api/status"), headers=headers) as answer:
        await event(answer.content)
        assert await world.status_of("GET", "api/status", headers) == 503


@lived()
async def test_the_supervisor_is_told_when_nobody_watches(world: World) -> None:
    world.phase("ended")
    await until(lambda: FarewellSaid() in world.asked)
    world.phase("ended")
    await asyncio.sleep(0.1)
    assert world.asked.count(FarewellSaid()) == 1


@lived(front=None)
async def test_a_request_waits_for_the_first_word_of_the_supervisor(world: World) -> None:
    assert await world.status_of("GET", "healthz") == 200
    waiting = asyncio.create_task(world.status_of("GET", ""))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    world.gate.on_front(FRONT)
    assert await waiting == 200


@lived(front=None)
async def test_without_a_word_it_says_so(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sevenlbd.inside.gateway.gate._FRONT_SECONDS", 0.1)
    for path in ("", "api/status", "login", "assets/login.js", "nowhere"):
        assert await world.status_of("GET", path) == 503


@lived(front=replace(FRONT, console=False))
async def test_a_console_that_is_off_is_not_there(world: World) -> None:
    for role in ("desktop", "console"):
        assert await world.status_of("GET", "console", world.headers(role)) == 404
        assert await world.status_of("GET", "ws/console", world.headers(role)) == 404
    assert await world.status_of("GET", "console") == 401
    async with world.client.get(world.url("api/status"), headers=world.headers("desktop")) as answer:
        assert (await answer.json())["console"] is False


@lived()
async def test_the_unix_socket_speaks_the_same(world: World) -> None:
    reader, writer = await asyncio.open_unix_connection(str(world.unix))
    writer.write(b"GET /api/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (await reader.read()).startswith(b"HTTP/1.1 401 ")
    writer.close()


@lived()
async def test_an_old_key_is_told_that_it_was_replaced(world: World) -> None:
    """To nobody but who had it."""
    assert world.gate.front
    old = world.gate.front
    world.gate.on_front(replace(old, cookie_key="cd" * 32, tokens=dict.fromkeys(old.tokens, "00" * 32)))
    for token, status, words in ((TOKENS["desktop"], 410, "replaced"), ("x" * 43, 403, "does not open")):
        async with world.client.post(world.url("login"), data={"token": token}, allow_redirects=False) as answer:
            assert answer.status == status
            assert words in await answer.text()


@lived()
async def test_a_pasted_link_logs_in(world: World) -> None:
    data = {"token": f"> {world.url('')}#token={TOKENS['status']}&to=desktop"}
    assert await world.status_of("POST", "login", data=data) == 303


@lived()
@pytest.mark.parametrize("key", [b"", b"MDEy\xa0\xa0", b"\xff" * 24, b"MDEyMzQ1Njc4OWFiY2RlZg"])
async def test_a_handshake_whose_key_is_none_is_refused_in_words(world: World, key: bytes) -> None:
    lines = ["GET /ws/console HTTP/1.1", f"Host: 127.0.0.1:{world.port}", "Upgrade: websocket", "Connection: Upgrade"]
    lines += ["Sec-WebSocket-Version: 13", *(f"{name}: {value}" for name, value in world.headers("desktop").items())]
    reader, writer = await world.wire()
    writer.write("\r\n".join(lines).encode() + b"\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n")
    assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 400 ")
    writer.close()
