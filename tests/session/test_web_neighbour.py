"""A hostile neighbour on the same node, and hostile pages in the user's own browser, against the real gateway."""

from __future__ import annotations

import hashlib
import http.server
import re
import resource
import signal
import socket
import ssl
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import harness
import ondemand
import pytest
import web
import wire
from conftest import StartSession
from harness import Session
from playwright.sync_api import Browser
from web import NewVisitor, log_in, until, wait_state

FREE = {"login.js", "style.css", "icon.svg"}
CLOSED = {400, 401, 403, 404, 405, 414, 421, 431}


@pytest.fixture(scope="module")
def victim(work: Path, blank_image: Path) -> Iterator[Session]:
    """A session that all these tests besiege, one after the other."""
    session = harness.start("--image", str(blank_image), "--name", "victim", base=work / "siege")
    try:
        session.wait_phase("booting")
        yield session
        session.send(signal.SIGTERM)
        session.wait_end()
    finally:
        session.kill()


ROUTES = [
    *(("GET", path) for path in ("desktop", "console", "native", "api/status", "api/desktop.rdp", "metrics")),
    *(
        ("GET", path)
        for path in (
            "ws/rdp?tab=x",
            "ws/console",
            "assets/status.js",
            "assets/vendor/ironrdp/iron-remote-desktop-rdp.js",
            "nowhere",
        )
    ),
    *(("POST", path) for path in ("api/desktop", "api/stop", "api/client", "nowhere")),
    *((method, "api/status") for method in ("HEAD", "OPTIONS", "PUT", "DELETE", "PATCH", "TRACE")),
]


@pytest.mark.parametrize("prefix", ["", "node/localhost/1/", "rnode/localhost/1/"])
def test_without_a_key_every_route_is_closed(victim: Session, prefix: str) -> None:
    here = web.url(victim)
    for method, path in ROUTES:
        answer = wire.ask(method, here + prefix + path, {"Origin": here.rstrip("/")})
        assert answer.status in (401, 403), (method, path, answer)
        assert_tells_nothing(victim, answer)
    for path in ("ws/rdp?tab=x", "ws/console"):
        answer = wire.ask("GET", here + prefix + path, wire.handshake(here.rstrip("/")))
        assert answer.status in (401, 403), (path, answer)
    left = wire.ask("POST", here + prefix + "logout", {"Origin": here.rstrip("/")})
    assert (left.status, left.body) == (303, b"")
    assert_tells_nothing(victim, left)
    login, health = wire.ask("GET", here + prefix), wire.ask("GET", here + prefix + "healthz")
    assert (login.status, health.status, health.body) == (200, 200, b"ok")
    assert_tells_nothing(victim, login)


def assert_tells_nothing(session: Session, answer: wire.Answer) -> None:
    told = answer.body + str(answer.headers).encode()
    for secret in (str(session.folder), session.password(), session.account(), "blank", "booting"):
        assert secret.encode() not in told, (secret, answer)


TRICKS = [
    "//api/status",
    "/./api/status",
    "/assets/../api/status",
    "/assets/login.js/../../api/status",
    "/assets/%2e%2e/api/status",
    "/%61pi/status",
    "/api%2fstatus",
    "/api/status/",
    "/api/status%00",
    "/api/status;x=y",
    "/API/STATUS",
    "/node/localhost/1/../../../api/status",
    "/node/localhost/1/node/localhost/1/api/status",
    "/assets/..%2f..%2f..%2fetc/passwd",
    "/assets/../../../../etc/passwd",
    "/assets//etc/passwd",
    "/assets/%2fetc%2fpasswd",
    "/assets/....//....//etc/passwd",
    "/assets/lib/../../status.html",
    "/assets/login.js%00.html",
    "/status.html",
    "/web.pem",
    "/..\\..\\etc\\passwd",
]


@pytest.mark.parametrize("inside", [False, True], ids=["stranger", "user"])
def test_a_path_written_otherwise_leads_nowhere_else(victim: Session, inside: bool) -> None:
    here = web.url(victim)
    given = {"Cookie": wire.cookie(here, web.token(victim))} if inside else {}
    for trick in TRICKS:
        answer = wire.ask("GET", here.rstrip("/") + trick, given)
        assert answer.status in CLOSED, (trick, answer)
        assert b"root:" not in answer.body
        assert b'"phase"' not in answer.body


def test_an_absolute_address_needs_a_key_as_well(victim: Session) -> None:
    here = urlsplit(web.url(victim))
    with socket.create_connection((here.hostname or "", here.port or 0), timeout=harness.PATIENCE) as one:
        one.sendall(f"GET http://elsewhere.example/api/status HTTP/1.1\r\nHost: {here.netloc}\r\n\r\n".encode())
        assert one.recv(100).startswith(b"HTTP/1.1 401")


def test_ranges_and_conditions_open_no_file(victim: Session) -> None:
    here = web.url(victim)
    for given in (
        {"Range": "bytes=0-"},
        {"Range": "bytes=0-1,2-3,4-5"},
        {"Range": "bytes=-1"},
        {"If-None-Match": "*"},
        {"If-Modified-Since": "Thu, 01 Jan 2099 00:00:00 GMT"},
        {"If-Range": '"x"', "Range": "bytes=0-9"},
        {"X-HTTP-Method-Override": "GET"},
        {"X-Original-URL": "/assets/login.js"},
        {"X-Forwarded-User": victim.account()},
        {"Authorization": "Basic dXNlcjp1c2Vy"},
        {"Authorization": "Bearer "},
        {"Cookie": f"sevenlbd-{victim.id}="},
        {"Cookie": f"sevenlbd-{victim.id}=desktop..; sevenlbd-{victim.id}=desktop"},
    ):
        answer = wire.ask("GET", here + "assets/vendor/ironrdp/iron-remote-desktop-rdp.js", given)
        assert answer.status in (401, 403), (given, answer)
        assert wire.ask("GET", here + "api/status", given).status in (401, 403), given
    key = wire.cookie(here, web.token(victim))
    beyond = wire.ask(
        "GET", here + "assets/vendor/ironrdp/iron-remote-desktop-rdp.js", {"Cookie": key, "Range": "bytes=99999999-"}
    )
    assert beyond.status in (200, 416)


def test_no_key_but_the_right_one_opens_it(start: StartSession, blank_image: Path, victim: Session) -> None:
    other = start("--image", str(blank_image), "--name", "other")
    here, there = web.url(victim), web.url(other)
    right = web.token(victim)
    for name, wrong in (
        ("missing", ""),
        ("short", right[:-1]),
        ("long", right + "A"),
        ("swapped case", right.swapcase()),
        ("another session's", web.token(other)),
        ("its hash", hashlib.sha256(right.encode()).hexdigest()),
        ("not ASCII", "ключ"),
        ("huge", "A" * 50_000),
    ):
        answer = wire.log_in(here, wrong)
        assert answer.status in (403, 429), (name, answer)
        assert "set-cookie" not in answer.headers
    foreign = wire.cookie(there, web.token(other)).partition("=")[2]
    mine = wire.cookie(here, right).partition("=")[2]
    role, nonce, mac = mine.split(".")
    status = wire.cookie(here, web.token(victim, "status")).partition("=")[2].split(".")
    for value in (
        foreign,
        right,
        f"{role}.{nonce}.{'0' * len(mac)}",
        f"{role}.{nonce}.",
        f"desktop.{status[1]}.{status[2]}",
        f"{role}.{nonce}x.{mac}",
        f"{mine}.{mac}",
    ):
        answer = wire.ask("GET", here + "api/status", {"Cookie": f"sevenlbd-{victim.id}={value}"})
        assert answer.status == 401, value
    assert wire.ask("GET", here + "api/status", {"Cookie": f"sevenlbd-{victim.id}={mine}"}).status == 200
    other.send(signal.SIGTERM)
    other.wait_end()


def test_a_key_in_the_address_is_worth_nothing(victim: Session) -> None:
    here, key = web.url(victim), web.token(victim)
    for path in (f"?token={key}", f"api/status?token={key}", f"login?token={key}", f"desktop?token={key}"):
        answer = wire.ask("GET", here + path)
        assert answer.status in (200, 401, 404, 405)
        assert "set-cookie" not in answer.headers
        assert b'"phase"' not in answer.body
    assert wire.ask(
        "POST", f"{here}login?token={key}", {"Content-Type": "application/x-www-form-urlencoded"}
    ).status in (
        403,
        429,
    )


def test_guessing_is_slowed_and_the_user_is_not(victim: Session) -> None:
    here = web.url(victim)
    with ThreadPoolExecutor(30) as many:
        guesses = [many.submit(wire.log_in, here, f"guess{number}") for number in range(60)]
        time.sleep(0.2)
        begun = time.monotonic()
        assert wire.log_in(here, web.token(victim)).status == 303
        assert time.monotonic() - begun < 15
        statuses = [guess.result().status for guess in guesses]
    assert set(statuses) == {403, 429} or set(statuses) == {429}
    assert statuses.count(403) <= 10
    log = (victim.folder / "logs" / "gateway.log").read_text()
    assert "guess1" not in log


def test_ten_thousand_connections_do_not_keep_the_user_out(victim: Session) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 11_000)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    count = min(10_000, wanted - 500)
    here = web.url(victim)
    key = wire.cookie(here, web.token(victim))
    place = (urlsplit(here).hostname or "", urlsplit(here).port or 0)
    held: list[socket.socket] = []
    times: list[float] = []
    try:
        for number in range(count):
            held.append(socket.create_connection(place, timeout=harness.PATIENCE))
            with suppress(OSError):
                held[-1].sendall(b"GET /api/status HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            if number % 500 == 499:
                begun = time.monotonic()
                assert wire.ask("GET", here + "api/status", {"Cookie": key}).status == 200
                times.append(time.monotonic() - begun)
        assert len(times) == count // 500
        assert statistics.median(times) < 2, times
        assert max(times) < 15, times
        assert wire.log_in(here, web.token(victim)).status == 303
    finally:
        for one in held:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slow_headers_are_cut_and_the_user_reads_on(victim: Session) -> None:
    here = web.url(victim)
    place = (urlsplit(here).hostname or "", urlsplit(here).port or 0)
    slow = [socket.create_connection(place) for _ in range(100)]
    for one in slow:
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Slow: ")
    begun = time.monotonic()
    cut: set[int] = set()
    while len(cut) < len(slow) and time.monotonic() - begun < 120:
        for number, one in enumerate(slow):
            if number not in cut:
                try:
                    one.sendall(b"X")
                except OSError:
                    cut.add(number)
        time.sleep(0.5)
    for one in slow:
        one.close()
    assert len(cut) == len(slow), "a request may take for ever"
    assert time.monotonic() - begun > 5, "a slow line is no crime"


def test_oversized_requests_are_refused_by_a_gateway_that_lives_on(victim: Session) -> None:
    here = web.url(victim)
    gateway = victim.pid_by_name("sevenlbd.inside.gateway")
    before = resident(gateway)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    attempts: list[Callable[[], wire.Answer]] = [
        lambda: wire.ask("GET", here, {"X-Large": "A" * 200_000}),
        lambda: wire.ask("GET", here, {f"X-{number}": "A" for number in range(95)}),
        lambda: wire.ask("GET", here + "A" * 100_000),
        lambda: wire.ask("GET", here, {"Cookie": "; ".join(f"a{n}=b" for n in range(5_000))}),
        lambda: wire.ask("POST", here + "login", form, b"token=" + b"A" * 20_000_000),
        lambda: wire.ask("POST", here + "login", form, b"a=b&" * 10_000),
    ]
    for attempt in attempts:
        with suppress(OSError):
            assert 400 <= attempt().status < 500
    # A body that says it is longer than what is allowed, and never comes.
    with socket.create_connection((urlsplit(here).hostname or "", urlsplit(here).port or 0)) as one:
        one.sendall(b"POST /login HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n")
        one.settimeout(20)
        assert one.recv(100).startswith((b"HTTP/1.1 4", b""))
    assert wire.ask("GET", here + "healthz").status == 200
    assert victim.pid_by_name("sevenlbd.inside.gateway") == gateway
    assert resident(gateway) < before + 40_000, "it kept what it should have refused"


def resident(pid: int) -> int:
    """Memory in kB."""
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1])


HOSTILE = """<!doctype html><title>kittens</title>
<form id="login" method="post" action="{here}login" target="one"><input name="token" value="{key}"></form>
<form id="stop" method="post" action="{here}api/stop" enctype="text/plain" target="two">
<input name='{{"now": true, "x": "' value='"}}'></form>
<iframe name="one"></iframe><iframe name="two"></iframe><iframe src="{here}"></iframe>
<script>
const told = {{}};
const note = (name, what) => {{ told[name] = what; }};
for (const path of ["ws/console", "ws/rdp?tab=evil"]) {{
    const wire = new WebSocket("{here}".replace("http", "ws") + path, ["binary"]);
    wire.onopen = () => note(path, "open");
    wire.onclose = event => note(path, told[path] || "closed");
}}
for (const [path, method] of [["api/status", "GET"], ["api/desktop", "POST"], ["api/stop", "POST"], ["logout", "POST"]])
    fetch("{here}" + path, {{ method, mode: "cors", credentials: "include" }})
        .then(answer => answer.text()).then(text => note(path, text)).catch(() => note(path, "closed"));
for (const path of ["api/stop", "logout"])
    fetch("{here}" + path, {{ method: "POST", mode: "no-cors", credentials: "include", body: "{{}}" }});
const feed = new EventSource("{here}api/status", {{ withCredentials: true }});
feed.addEventListener("status", event => note("feed", event.data));
document.querySelector("#stop").submit();
document.querySelector("#login").submit();
setTimeout(() => document.title = JSON.stringify(told), 2500);
</script>"""


@contextmanager
def hostile_page(text: str) -> Iterator[int]:
    """A neighbour's web server with one page; gives its port."""

    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("name", ["evil.example.org", "127.0.0.1"], ids=["another-site", "another-port"])
def test_a_hostile_page_in_the_users_browser_gets_nothing(victim: Session, chromium: Browser, name: str) -> None:
    """At another port of the same name it is of the same site for the browser, which sends the cookie along."""
    here = web.url(victim)
    context = chromium.new_context()
    try:
        page = context.new_page()
        page.goto(web.link(victim))
        page.wait_for_selector("body[data-page=status]")
        console = context.new_page()
        console.goto(here + "console")
        wait_state(console, "connected")
        with hostile_page(HOSTILE.format(here=here, key=web.token(victim))) as port:
            evil = context.new_page()
            evil.goto(f"http://{name}:{port}/", wait_until="commit")
            until("the hostile page's tale", lambda: evil.title().startswith("{"), page=evil)
            told = evil.evaluate("told")
        assert "feed" not in told
        assert set(told.values()) == {"closed"}, told
        console.wait_for_timeout(500)
        assert web.state(console) == "connected", "it logged the user out, or stopped the session"
        assert victim.process.poll() is None
        shown = wire.ask("GET", here + "api/status", {"Authorization": f"Bearer {web.token(victim)}"})
        assert b'"phase": "booting"' in shown.body
    finally:
        context.close()


def test_no_page_of_ours_can_be_framed_or_run_what_is_not_ours(victim: Session) -> None:
    here = web.url(victim)
    key = {"Cookie": wire.cookie(here, web.token(victim))}
    for path, given in (("", {}), ("healthz", {}), ("nowhere", {}), ("", key), ("desktop", key), ("api/status", key)):
        fields = wire.ask("GET", here + path, given).headers
        policy = dict(part.strip().partition(" ")[::2] for part in fields["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["frame-ancestors"] == "'none'"
        assert policy["base-uri"] == "'none'"
        assert policy["form-action"] == "'self'"
        assert "unsafe-inline" not in str(policy)
        assert "'unsafe-eval'" not in str(policy)
        assert policy["script-src"] == "'self' 'wasm-unsafe-eval'"
        assert fields["x-content-type-options"] == "nosniff"
        assert fields["referrer-policy"] in ("no-referrer", "same-origin")
        assert "access-control-allow-origin" not in fields


def test_https_with_the_sessions_own_certificate(
    start: StartSession, blank_image: Path, new_visitor: NewVisitor
) -> None:
    session = start("--image", str(blank_image), "--web-tls")
    session.wait_phase("booting")
    here = web.url(session)
    assert here.startswith("https://")
    page = log_in(new_visitor(here), session)
    until("live", lambda: page.locator("body").get_attribute("data-link") == "live", page=page)
    [cookie] = page.context.cookies()
    assert cookie["secure"] is True
    page.goto(here + "console")
    wait_state(page, "connected")
    shown = ":".join(f"{byte:02X}" for byte in hashlib.sha256(certificate_at(here)).digest())
    assert shown in (session.folder / "session.json").read_text()
    with socket.create_connection((urlsplit(here).hostname or "", urlsplit(here).port or 0)) as plain:
        plain.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        plain.settimeout(10)
        with suppress(ConnectionError):
            assert not plain.recv(100).startswith(b"HTTP/1.1 200")
    assert unix_answer(session).startswith(b"HTTP/1.1 200"), "the socket in the folder speaks plain HTTP"
    session.send(signal.SIGTERM)
    session.wait_end()


def certificate_at(address: str) -> bytes:
    """The certificate that is shown there, DER."""
    parts = urlsplit(address)
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate((parts.hostname or "", parts.port or 0)))


def unix_answer(session: Session) -> bytes:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(str(session.folder / "web.sock"))
        one.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return one.recv(4096)


def test_https_with_the_sites_own_certificate(
    start: StartSession, blank_image: Path, tmp_path: Path, new_visitor: NewVisitor
) -> None:
    certificate, key = ondemand.certificate(tmp_path, "localhost")
    session = start("--image", str(blank_image), "--web-certificate", str(certificate), "--web-key", str(key))
    session.wait_phase("booting")
    here = web.url(session)
    assert here.startswith("https://")
    assert certificate_at(here) == ssl.PEM_cert_to_DER_cert(certificate.read_text())
    page = log_in(new_visitor(here), session)
    until("live", lambda: page.locator("body").get_attribute("data-link") == "live", page=page)
    session.send(signal.SIGTERM)
    session.wait_end()


def test_the_socket_in_the_folder_is_the_users_alone(victim: Session) -> None:
    assert (victim.folder / "web.sock").stat().st_mode & 0o077 == 0
    assert (victim.folder / "credentials.json").stat().st_mode & 0o777 == 0o600
    assert unix_answer(victim).startswith(b"HTTP/1.1 200")


def test_no_key_is_in_any_argument_environment_or_log(victim: Session) -> None:
    keys = [web.token(victim, role).encode() for role in ("desktop", "console", "status")]
    keys.append(victim.password().encode())
    seen = 0
    for pid in victim.processes():
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                text = Path(f"/proc/{pid}/{name}").read_bytes()
                seen += 1
                assert not any(key in text for key in keys), (pid, name)
    assert seen > 8
    for path in (victim.folder / "logs").iterdir():
        text = path.read_bytes()
        assert not any(key in text for key in keys), path


def test_after_all_that_the_session_is_whole(victim: Session) -> None:
    warnings = [event["text"] for event in victim.events if event["event"] == "warning"]
    assert not [text for text in warnings if "gateway" in text], "the siege brought the gateway down"
    log = (victim.folder / "logs" / "gateway.log").read_text()
    assert "Traceback" not in log, log[-3000:]
    assert len(log) < 200_000, "strangers can fill the disk"
