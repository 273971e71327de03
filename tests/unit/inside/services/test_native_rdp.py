"""stunnel as a session runs it, against a server that counts who comes."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from sevenlbd.inside import setup
from sevenlbd.inside.net import network
from sevenlbd.inside.services import native_rdp
from sevenlbd.outside.access.certificates import Maker, Pair
from sevenlbd.wire import tls as files

HOUR = timedelta(hours=1)


def pem(path: Path, content: bytes) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content)
    return path


def maker(session: str = "abc", ends: timedelta = HOUR) -> Maker:
    now = datetime.now(UTC)
    return Maker(session, now - 2 * HOUR, now + ends)


def _soon(true: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 20
    while not (found := true()) and time.monotonic() < deadline:
        time.sleep(0.02)
    return found


class Guest:
    """Stands for the guest's RDP server: sends back what comes, and counts connections."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.connections = 0
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            connection = self.listener.accept()[0]
            self.connections += 1
            threading.Thread(target=self._echo, args=[connection], daemon=True).start()

    def _echo(self, connection: socket.socket) -> None:
        with suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)
        connection.close()


class Door:
    """A running stunnel with the session's certificates, and the authority that signed them."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.guest = Guest()
        self.authority = maker().authority()
        pem(folder / files.SERVER, maker().server(self.authority, ["127.0.0.1"]).pem())
        self.ca = pem(folder / files.AUTHORITY, self.authority.certificate.public_bytes(serialization.Encoding.PEM))
        monkeypatch.setattr(network, "USER_NET_RDP", ("127.0.0.1", self.guest.port))
        monkeypatch.setattr(native_rdp, "CONFIGURATION", folder / "stunnel.conf")
        native_rdp.CONFIGURATION.write_text(setup.render_stunnel_conf("user", folder))
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.listener.getsockname()[1]

    @contextmanager
    def open(self) -> Iterator[Door]:
        descriptor = self.listener.fileno()
        with (self.folder / "stunnel.log").open("wb") as log:
            self.process = subprocess.Popen(
                native_rdp.stunnel(descriptor), pass_fds=[descriptor], stdout=log, stderr=log
            )
        try:
            yield self
        finally:
            self.process.kill()
            self.process.wait()

    def client(self, pair: Pair) -> Path:
        return pem(self.folder / "client.pem", pair.pem())

    def ask(self, certificate: Path | None, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> bytes:
        """What comes back for a word. Raises OSError when there is nothing but the end."""
        context = ssl.create_default_context(cafile=str(self.ca))
        context.maximum_version = version
        context.minimum_version = min(version, ssl.TLSVersion.TLSv1_2)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        if certificate:
            context.load_cert_chain(certificate)
        with (
            socket.create_connection(("127.0.0.1", self.port), timeout=20) as plain,
            context.wrap_socket(plain, server_hostname="7lbd-abc") as wire,
        ):
            wire.sendall(b"knock")
            return self.all_of(wire)

    def all_of(self, wire: socket.socket) -> bytes:
        if not (answer := wire.recv(100)):
            raise ConnectionResetError("the end")
        return answer

    def says(self, words: str) -> bool:
        """Whether stunnel's log comes to say so: it writes after it has answered."""
        return _soon(lambda: words in (self.folder / "stunnel.log").read_text())

    def sockets(self) -> int:
        """How many stunnel holds now; one may close while we count."""
        held = 0
        for path in Path(f"/proc/{self.process.pid}/fd").iterdir():
            with suppress(FileNotFoundError):
                held += str(path.readlink()).startswith("socket:")
        return held


@pytest.fixture
def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Door]:
    with Door(tmp_path, monkeypatch).open() as opened:
        yield opened


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_the_sessions_client_comes_through(door: Door, version: ssl.TLSVersion) -> None:
    certificate = door.client(maker().client(door.authority))
    for _ in range(3):
        assert door.ask(certificate, version) == b"knock"
    assert door.guest.connections == 3


@pytest.mark.parametrize("who", ["nobody", "other-session", "expired", "server", "self-signed"])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_3, ssl.TLSVersion.TLSv1_2])
def test_who_is_not_the_sessions_client_never_reaches_the_guest(door: Door, who: str, version: ssl.TLSVersion) -> None:
    # The other session even bears the same name.
    pairs = {
        "other-session": lambda: maker().client(maker().authority()),
        "expired": lambda: maker(ends=-HOUR).client(door.authority),
        "server": lambda: maker().server(door.authority, ["127.0.0.1"]),
        "self-signed": lambda: maker().for_page(["127.0.0.1"]),
    }
    certificate = door.client(pairs[who]()) if who in pairs else None
    with pytest.raises(OSError):
        door.ask(certificate, version)
    assert door.guest.connections == 0
    assert door.ask(door.client(maker().client(door.authority))) == b"knock", "the door is still there for its client"
    assert door.guest.connections == 1


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
def test_old_tls_is_refused(door: Door) -> None:
    with pytest.raises(OSError):
        door.ask(door.client(maker().client(door.authority)), ssl.TLSVersion.TLSv1_1)
    assert door.guest.connections == 0
    assert door.says("unsupported protocol")


@pytest.mark.parametrize(
    "garbage", [b"", b"\x03\x00\x00\x13\x0e\xe0" + bytes(13), b"GET / HTTP/1.0\r\n\r\n", bytes(4096)]
)
def test_what_is_no_tls_is_refused(door: Door, garbage: bytes) -> None:
    with socket.create_connection(("127.0.0.1", door.port), timeout=20) as plain:
        plain.sendall(garbage)
        plain.shutdown(socket.SHUT_WR)
        with suppress(ConnectionResetError):
            while plain.recv(4096):
                pass
    assert door.guest.connections == 0
    assert door.ask(door.client(maker().client(door.authority))) == b"knock"


def test_strangers_who_only_knock_do_not_keep_the_client_out(door: Door) -> None:
    knocking = [socket.create_connection(("127.0.0.1", door.port)) for _ in range(100)]
    try:
        began = time.monotonic()
        assert door.ask(door.client(maker().client(door.authority))) == b"knock"
        assert time.monotonic() - began < 15
        assert door.guest.connections == 1
    finally:
        for connection in knocking:
            connection.close()


def test_a_large_transfer_arrives_whole_both_ways(door: Door) -> None:
    context = ssl.create_default_context(cafile=str(door.ca))
    context.load_cert_chain(door.client(maker().client(door.authority)))
    sent = bytes(range(256)) * 8192
    with (
        socket.create_connection(("127.0.0.1", door.port), timeout=20) as plain,
        context.wrap_socket(plain, server_hostname="7lbd-abc") as wire,
    ):
        received = bytearray()
        for at in range(0, len(sent), 65536):
            wire.sendall(sent[at : at + 65536])
            while len(received) < at + 65536:
                received += wire.recv(65536)
    assert bytes(received) == sent


def test_stunnel_has_few_descriptors_and_tells_whom_it_let_in(door: Door) -> None:
    door.ask(door.client(maker().client(door.authority)))
    limits = Path(f"/proc/{door.process.pid}/limits").read_text()
    assert any(line.split()[:4] == ["Max", "open", "files", "512"] for line in limits.splitlines())
    assert door.says("CN=7lbd client abc")
    assert _soon(lambda: door.sockets() == 1), "the listening one is left when the client has gone"


def test_a_successor_on_the_same_socket_has_the_new_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    door = Door(tmp_path, monkeypatch)
    old = maker().client(door.authority)
    with door.open():
        assert door.ask(door.client(old)) == b"knock"
    door.authority = maker().authority()
    pem(tmp_path / files.SERVER, maker().server(door.authority, []).pem())
    pem(tmp_path / files.AUTHORITY, door.authority.certificate.public_bytes(serialization.Encoding.PEM))
    with door.open():
        with pytest.raises(OSError):
            door.ask(door.client(old))
        assert door.ask(door.client(maker().client(door.authority))) == b"knock"
    assert door.guest.connections == 2
