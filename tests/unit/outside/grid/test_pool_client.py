"""A machine asks a service that lies, drips, is another one, is away or bars it: one clear error, in time."""

from __future__ import annotations

import email.utils
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pool_world
import pytest
from pool_world import OFFERED, WANTED, Certificate, Liar, answer, dripping
from sevenlbd.base import atomic
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.grid import client, https_exchange, membership, protocol
from sevenlbd.outside.grid.client import MachineBarred, PoolClient, PoolDeclined, PoolGone, PoolLied
from sevenlbd.outside.grid.machine_report import Owner, Report
from sevenlbd.outside.grid.protocol import KeyOrder, MachineKey, WorkerOrder, WorkerPass

SHORT, LONG = 0.5, 20.0
WAITING = pool_world.waiting()
PASS = protocol.WORKER_PASS.pack(WorkerPass(pool_world.POOL, "a.b.c", 600.0))


@pytest.fixture(scope="module")
def certified(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return pool_world.certificate(tmp_path_factory.mktemp("certificate"))


@pytest.fixture
def liar(certified: Certificate) -> Iterator[Liar]:
    with pool_world.lying(certified) as one:
        one.says = [answer(WAITING)]
        yield one


@pytest.fixture
def place(liar: Liar, tmp_path: Path) -> Path:
    return pool_world.enrolled(tmp_path, liar.url, liar.pin)


@pytest.fixture
def asker(place: Path) -> PoolClient:
    return PoolClient(place, seconds=LONG)


def token(place: Path) -> str:
    return (place / "token").read_text().strip()


def test_what_is_wanted_is_told(asker: PoolClient, liar: Liar) -> None:
    assert asker.waiting() == WANTED
    assert liar.heard[0].startswith(b"GET /v1/waiting HTTP/1.1\r\n")
    assert b"Bearer token-1\r\n" in liar.heard[0]


def test_each_answer_renews_the_token_and_it_is_kept_before_it_is_used(
    asker: PoolClient, liar: Liar, place: Path
) -> None:
    liar.says = [answer(WAITING, "X-7lbd-Token: token-2"), answer(WAITING)]
    asker.waiting()
    assert token(place) == "token-2"
    assert (place / "token").stat().st_mode & 0o777 == 0o600
    asker.waiting()
    assert b"Bearer token-2\r\n" in liar.heard[1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not JSON",
        b"[]",
        b"null",
        b"[" * 200_000,
        b'{"pool":' * 30_000,
        b"\xff\xfe",
        json.dumps({"pool": "x", "demands": [], "images": "0" * 64}).encode(),
        WAITING.replace(b'"win11"', b'"../../etc/passwd"'),
        WAITING.replace(b'"win11"', b'["win11"]'),
        WAITING.replace(b'"jobs": 3', b'"jobs": "3"'),
        WAITING.replace(b'"jobs": 3', b'"jobs": 1e999'),
    ],
)
def test_an_answer_that_makes_no_sense_is_a_lie(asker: PoolClient, liar: Liar, body: bytes) -> None:
    liar.says = [answer(body)]
    with pytest.raises(PoolLied):
        asker.waiting()


def test_a_pace_beyond_all_numbers_counts_as_not_said(asker: PoolClient, liar: Liar) -> None:
    liar.says = [answer(WAITING.replace(b'"poll": 30.0', b'"poll": 1' + b"0" * 400))]
    assert asker.waiting().pace == protocol.Pace()


@pytest.mark.parametrize("lifetime", [b"1" + b"0" * 400, b"1e999", b"NaN"])
def test_a_time_beyond_all_numbers_is_a_lie(asker: PoolClient, liar: Liar, lifetime: bytes) -> None:
    liar.says = [answer(PASS.replace(b"600.0", lifetime))]
    with pytest.raises(PoolLied):
        asker.worker(WorkerOrder("win11", 0))


def test_a_million_names_are_a_lie_and_are_not_all_read(asker: PoolClient, liar: Liar) -> None:
    one = json.dumps(json.loads(WAITING)["demands"][0]).encode()
    liar.says = [answer(WAITING.replace(one, b",".join([one] * 1_000_000)))]
    with pytest.raises(PoolLied, match="longer than"):
        asker.waiting()


def test_an_endless_body_ends(asker: PoolClient, liar: Liar) -> None:
    def endless() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        while True:
            yield b"10000\r\n" + b" " * 65536 + b"\r\n"

    liar.says = [endless]
    with pytest.raises(PoolLied, match="longer than"):
        asker.waiting()


def test_a_body_without_a_length_ends_as_well(asker: PoolClient, liar: Liar) -> None:
    def endless() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\n\r\n"
        while True:
            yield b" " * 65536

    liar.says = [endless]
    with pytest.raises(PoolLied, match="longer than"):
        asker.waiting()


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Again", "308 There"])
def test_no_redirect_is_followed(asker: PoolClient, liar: Liar, status: str) -> None:
    liar.says = [answer(b"", f"Location: {liar.url}/v1/waiting", status=status), answer(WAITING)]
    with pytest.raises(PoolLied, match="elsewhere"):
        asker.waiting()
    assert len(liar.heard) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{",
        b"HTTP/1.1 2",
        b"",
    ],
)
def test_an_answer_that_breaks_off_is_none(asker: PoolClient, liar: Liar, head: bytes) -> None:
    liar.says = [lambda: [head]]
    with pytest.raises(PoolGone):
        asker.waiting()


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 100 Go on\r\n\r\n" * 9,
    ],
)
def test_what_is_no_http_is_a_lie(asker: PoolClient, liar: Liar, said: bytes) -> None:
    liar.says = [lambda: [said]]
    with pytest.raises(PoolLied):
        asker.waiting()


@pytest.mark.parametrize("said", [b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n" + b" " * 500, b"HTTP/1.1 200 OK"])
def test_drops_do_not_keep_anybody_waiting(place: Path, liar: Liar, said: bytes) -> None:
    liar.says = [dripping(said, 0.1)]
    started = time.monotonic()
    with pytest.raises(PoolGone, match="too long"):
        PoolClient(place, seconds=SHORT).waiting()
    assert time.monotonic() - started < 60 * SHORT


def test_a_handshake_that_does_not_end_is_left(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place = pool_world.enrolled(tmp_path, f"https://127.0.0.1:{silent.getsockname()[1]}", "A" * 43)
        started = time.monotonic()
        with pytest.raises(PoolGone):
            PoolClient(place, seconds=SHORT).waiting()
        assert time.monotonic() - started < 60 * SHORT


def test_nobody_there_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    place = pool_world.enrolled(tmp_path, f"https://127.0.0.1:{port}", "A" * 43)
    with pytest.raises(PoolGone, match="cannot be reached: Connection refused"):
        PoolClient(place, seconds=SHORT).waiting()


def test_another_server_never_hears_the_token(liar: Liar, tmp_path: Path) -> None:
    other = pool_world.certificate(tmp_path, name="other")
    place = pool_world.enrolled(tmp_path, liar.url, other.pin)
    with pytest.raises(PoolLied, match="another server"):
        PoolClient(place, seconds=SHORT).waiting()
    assert b"token-1" not in b"".join(liar.heard)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("a003020102", "a003020105"),  # version, X.509 (RFC 5280, 4.1): v3 becomes one that there is not
        ("06082a8648ce3d030107", "06082a8648ce3d030177"),  # the key's curve (RFC 5480, 2.1.1.1) one that nobody knows
    ],
)
def test_a_certificate_of_no_known_kind_is_none(certified: Certificate, good: str, bad: str) -> None:
    pem = certified.file.read_text()
    der = ssl.PEM_cert_to_DER_cert(pem[pem.index("-----BEGIN CERTIFICATE-----") :])
    altered = der.replace(bytes.fromhex(good), bytes.fromhex(bad), 1)
    assert altered != der
    with pytest.raises(ValueError, match=r"."):
        https_exchange.pin_of(altered)


def test_a_server_whose_certificate_is_of_no_known_version_is_another_one(
    certified: Certificate, tmp_path: Path
) -> None:
    pem = certified.file.read_text()
    begins = pem.index("-----BEGIN CERTIFICATE-----")
    der = ssl.PEM_cert_to_DER_cert(pem[begins:]).replace(bytes.fromhex("a003020102"), bytes.fromhex("a003020105"), 1)
    file = tmp_path / "other.pem"
    file.write_text(pem[:begins] + ssl.DER_cert_to_PEM_cert(der))
    with pool_world.lying(Certificate(file, certified.pin)) as liar:
        place = pool_world.enrolled(tmp_path, liar.url, liar.pin)
        with pytest.raises(PoolLied, match="certificate is none"):
            PoolClient(place, seconds=LONG).waiting()
    assert b"Bearer" not in b"".join(liar.heard)


@pytest.mark.parametrize("days", [(-9, -3), (3, 9)])
def test_a_clock_that_is_days_off_does_not_keep_a_machine_from_its_pool(tmp_path: Path, days: tuple[int, int]) -> None:
    with pool_world.lying(pool_world.certificate(tmp_path, days=days)) as liar:
        liar.says = [answer(WAITING)]
        place = pool_world.enrolled(tmp_path, liar.url, liar.pin)
        assert PoolClient(place, seconds=SHORT).waiting() == WANTED


def test_a_token_for_a_worker_is_not_taken_by_a_machine_whose_clock_is_off(liar: Liar, place: Path) -> None:
    liar.says = [answer(PASS, f"Date: {email.utils.formatdate(time.time() - 86400, usegmt=True)}")]
    with pytest.raises(PoolDeclined, match="clock is 8640[0-9] s ahead of the pool's"):
        PoolClient(place, seconds=LONG).worker(WorkerOrder("win11", 1))


@pytest.mark.parametrize("date", ["", "now", "Fri, 99 Nov 2026 08:00:00 GMT", "x" * 4000])
def test_a_date_that_is_none_is_passed_over(asker: PoolClient, liar: Liar, date: str) -> None:
    liar.says = [answer(PASS, f"Date: {date}")]
    assert asker.worker(WorkerOrder("win11", 1)).token == "a.b.c"


@pytest.mark.parametrize("status", ["401 No", "403 No"])
def test_a_machine_that_is_barred_is_told_why(asker: PoolClient, liar: Liar, status: str) -> None:
    said = {"what": "this machine was revoked", "why": "its token came from \x1b[31mtwo", "mend": "enrol it anew"}
    liar.says = [answer(said, status=status)]
    with pytest.raises(MachineBarred, match="revoked") as caught:
        asker.waiting()
    assert caught.value.hint == "enrol it anew"
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "after"), [("120", 120.0), ("999999", 3600.0), ("-1", 0.0), ("x", 0.0), ("9" * 40, 0)]
)
def test_a_busy_pool_says_when_to_come_again(asker: PoolClient, liar: Liar, said: str, after: float) -> None:
    liar.says = [answer({"what": "busy"}, f"Retry-After: {said}", status="503 Busy")]
    with pytest.raises(PoolGone) as caught:
        asker.waiting()
    assert caught.value.after == after


@pytest.mark.parametrize("renewed", ["a b", "ü", "x" * 9000])
def test_a_token_that_is_none_is_not_kept(asker: PoolClient, liar: Liar, place: Path, renewed: str) -> None:
    liar.says = [lambda: [answer(WAITING, "X-7lbd-Token: %")()[0].replace(b"%", renewed.encode())]]  # type: ignore[index]
    with pytest.raises(PoolLied):
        asker.waiting()
    assert token(place) == "token-1"


def test_a_lie_leaves_the_token_as_it_was(asker: PoolClient, liar: Liar, place: Path) -> None:
    liar.says = [answer(b"[]", "X-7lbd-Token: token-2")]
    with pytest.raises(PoolLied):
        asker.waiting()
    assert token(place) == "token-1"


def test_two_of_one_user_do_not_use_one_token_at_a_time(place: Path, liar: Liar) -> None:
    """Else each would look like the thief of the other's."""

    def counted() -> Iterator[bytes]:
        number = len(liar.heard) + 1
        time.sleep(0.05)
        yield from answer(WAITING, f"X-7lbd-Token: token-{number}")()

    liar.says = [counted]
    askers = [threading.Thread(target=PoolClient(place, seconds=20).waiting) for _ in range(6)]
    for one in askers:
        one.start()
    for one in askers:
        one.join()
    used = [line for heard in liar.heard for line in heard.split(b"\r\n") if line.startswith(b"Authorization")]
    assert used == [f"Authorization: Bearer token-{number}".encode() for number in range(1, 7)]


def fetched(place: Path, begin: int, end: int) -> bytes:
    return b"".join(PoolClient(place, seconds=LONG).file(OFFERED, "warm/memory", begin, end, "ticket"))


def part(body: bytes, span: str, **more: int) -> object:
    return answer(body, f"Content-Range: bytes {span}/{5 << 20}", status="206 Partial Content", **more)


def test_a_piece_of_a_file_is_fetched_with_the_ticket(place: Path, liar: Liar) -> None:
    liar.says = [part(b"x" * 100, "100-199")]  # type: ignore[list-item]
    assert fetched(place, 100, 200) == b"x" * 100
    assert liar.heard[0].startswith(b"GET /v1/images/win11/v1/warm/memory HTTP/1.1\r\n")
    assert b"Range: bytes=100-199\r\n" in liar.heard[0]
    assert b"Bearer ticket\r\n" in liar.heard[0]


@pytest.mark.parametrize(
    ("body", "span"), [(b"x" * 99, "100-199"), (b"x" * 101, "100-199"), (b"x" * 100, "0-99"), (b"", "100-199")]
)
def test_a_piece_of_another_size_or_place_is_a_lie(place: Path, liar: Liar, body: bytes, span: str) -> None:
    liar.says = [part(body, span)]  # type: ignore[list-item]
    with pytest.raises(PoolLied):
        fetched(place, 100, 200)


def test_a_whole_file_instead_of_a_piece_is_a_lie(place: Path, liar: Liar) -> None:
    liar.says = [answer(b"x" * 100)]
    with pytest.raises(PoolLied):
        fetched(place, 0, 100)


def test_an_image_that_is_gone_is_told(place: Path, liar: Liar) -> None:
    liar.says = [answer({"what": "win11@v1 is not offered any more"}, status="404 Not Found")]
    with pytest.raises(PoolDeclined, match="not offered any more"):
        fetched(place, 0, 100)


@pytest.mark.parametrize(("name", "begin", "end"), [("../x", 0, 1), ("warm/memory", 5, 5), ("warm/memory", 0, 6 << 20)])
def test_nothing_is_asked_for_that_is_not_offered(place: Path, liar: Liar, name: str, begin: int, end: int) -> None:
    with pytest.raises(ValueError, match="no bytes"):
        next(PoolClient(place).file(OFFERED, name, begin, end, "ticket"))
    assert liar.heard == []


def test_a_report_goes_out_whole(asker: PoolClient, liar: Liar) -> None:
    liar.says = [answer(b"{}")]
    report = Report(Owner.PRESENT, lends=False, slots=2, reason="somebody is logged in")
    assert asker.report(report) == protocol.Heard()
    assert protocol.REPORT.unpack(liar.heard[0].partition(b"\r\n\r\n")[2]) == report


def test_a_token_that_others_can_read_is_not_used(place: Path, liar: Liar) -> None:
    (place / "token").chmod(0o644)
    with pytest.raises(Refusal, match="others can read"):
        PoolClient(place).waiting()
    assert liar.heard == []


def test_a_token_that_cannot_be_kept_is_not_used(place: Path, liar: Liar, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the present one stays good, and nobody is taken for a thief."""
    liar.says = [answer(WAITING, "X-7lbd-Token: token-2")]

    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(atomic, "replace", full)
    with pytest.raises(Refusal, match="No space left"):
        PoolClient(place, seconds=SHORT).waiting()
    assert token(place) == "token-1"


@pytest.mark.parametrize(
    "url",
    [
        "http://pool:1",
        "https://",
        "https://a b",
        "https://u:p@pool",
        "https://pool/x",
        "https://pool:0x1",
        "https://pool?x",
    ],
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Refusal, match="not the address"):
        membership.server_of(url, "A" * 43)


@pytest.mark.parametrize(
    "url", ["https://pool.example.org", "pool.example.org", "https://[::1]:9000/", "https://10.0.0.1:1"]
)
def test_an_address_is_https(url: str) -> None:
    assert membership.server_of(url, "A" * 43).port in (membership.DEFAULT_PORT, 9000, 1)


def test_a_machine_that_belongs_to_no_pool_is_told_how_to(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="belongs to no pool") as caught:
        PoolClient(tmp_path / "grid")
    assert "7lbd grid enrol" in caught.value.hint


@pytest.mark.parametrize("text", ["x", "url = 1", 'url = "https://p"\nmachine = "../x"\npin = "y"', "[" * 9999])
def test_a_folder_that_was_spoilt_is_told(place: Path, text: str) -> None:
    (place / "machine.toml").write_text(text)
    with pytest.raises(Refusal, match="not as"):
        PoolClient(place)


def test_every_error_of_the_client_is_one_kind() -> None:
    assert {PoolGone, PoolLied, PoolDeclined, MachineBarred} == set(client.PoolTrouble.__subclasses__())


@pytest.mark.parametrize(
    "body", [b"{}", b'{"key": ""}', b'{"key": "../../key"}', b'{"key": "' + b"0" * 63 + b'"}', b'{"key": 7}', b"[]"]
)
def test_a_key_that_is_none_is_a_lie(asker: PoolClient, liar: Liar, body: bytes) -> None:
    liar.says = [answer(body)]
    with pytest.raises(PoolLied):
        asker.key(KeyOrder())


def test_a_service_that_keeps_another_key_than_it_was_given_is_found_out(asker: PoolClient, liar: Liar) -> None:
    liar.says = [answer(protocol.MACHINE_KEY.pack(MachineKey("0" * 64)))]
    with pytest.raises(PoolLied, match="keeps another key"):
        asker.key(KeyOrder("1" * 64))


def test_keys_show_in_no_message() -> None:
    assert "ab" * 32 not in repr((KeyOrder("ab" * 32), MachineKey("ab" * 32)))
