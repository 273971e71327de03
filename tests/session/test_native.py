"""Native RDP with every certificate verified, never ignored: by the Unix socket, and over mutual TLS with the bundle.

Whether somebody reached the guest is counted by the kernel of the session's own network namespace (TCP's ActiveOpens
there are stunnel's and the gateway's, and the guest's servers see no other).
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import harness
import neighbour
import pytest
from harness import Console, Session
from pictures import MARK, is_a_desktop, pixels_like
from screens import Screen, until_shown


def local_port(bundle: Path) -> int:
    """The session's own port on its user's computer, as the bundle's configurations have it."""
    found = re.search(r"^accept = 127\.0\.0\.1:(\d+)$", (bundle / "stunnel.conf").read_text(), re.MULTILINE)
    assert found
    return int(found[1])


def session_state(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((session.folder / "session.json").read_text())
    return found


def fingerprint(session: Session) -> str:
    """What the session says that its guest's certificate is."""
    deadline = time.monotonic() + harness.PATIENCE
    while not (found := str(session_state(session)["certificate"])) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert len(found) == 95, "the guest's certificate is not known"
    return found


def connect(session: Session, *words: str, bind: Path) -> subprocess.CompletedProcess[str]:
    options = ["--bind", str(bind), "--pwd", str(bind)]
    return harness.run("connect", "--session-dir", str(session.base), *words, options=options)


def reached(session: Session) -> int:
    """How many TCP connections were opened in the session's namespace so far."""
    names, numbers = [
        line.split() for line in session.inside("cat", "/proc/net/snmp").stdout.splitlines() if line.startswith("Tcp:")
    ]
    return int(numbers[names.index("ActiveOpens")])


@pytest.fixture(scope="module")
def bundle(demo: Session, work: Path) -> Path:
    """The client's bundle, as `connect --client` writes it."""
    done = connect(demo, "--client", str(work / "client"), bind=work)
    assert done.returncode == 0, done.stderr
    assert "stunnel stunnel.conf" in done.stdout
    return work / "client"


def readme_line(bundle: Path, program: str) -> str:
    """The line in the bundle's README, for Linux, that begins with a program."""
    lines = (bundle / "README.txt").read_text().partition("Linux")[2].splitlines()
    return next(line.strip() for line in lines if line.startswith(f"  {program} "))


@contextmanager
def tunnel(bundle: Path, program: str = "stunnel") -> Iterator[None]:
    """The way to the node, as the bundle's README says."""
    port = local_port(bundle)
    assert not _listens(port), f"something else has port {port}"
    process = subprocess.Popen(
        ["bash", "-c", readme_line(bundle, program)],
        cwd=bundle,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        process_group=0,
    )
    try:
        _wait_for_port(port)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    """Looked up in proc(5): a connection would be the only one that some programs take."""
    return f"0100007F:{port:04X} 00000000:0000 0A" in Path("/proc/net/tcp").read_text()


def _wait_for_port(port: int) -> None:
    deadline = time.monotonic() + harness.PATIENCE
    while not _listens(port):
        assert time.monotonic() < deadline, "nothing listens"
        time.sleep(0.1)


def xfreerdp(target: str, pinned: str) -> list[str]:
    """Network-level authentication; a certificate with another fingerprint is refused without a question."""
    known = f"/cert:deny,fingerprint:sha256:{pinned.lower()}"
    return ["xfreerdp", f"/v:{target}", "/u:user1", "/from-stdin:force", "/sec:nla", known, "/size:1280x800"]


def other(pinned: str) -> str:
    return ("00" if pinned[:2] != "00" else "01") + pinned[2:]


def shows_the_desktop(screen: Screen, guest: Console, session: Session, target: str, name: str) -> None:
    window = "xfce4-terminal --disable-server --color-bg='#12ab34' --geometry=60x15+200+200"
    guest.run(f"(DISPLAY=:0 setsid {window} >/dev/null 2>&1 &)")
    try:
        with screen.client(xfreerdp(target, fingerprint(session)), stdin=f"{session.password()}\n") as client:
            image = until_shown(screen, name, MARK, 20_000, harness.PATIENCE)
            assert client.poll() is None, client.communicate()[0]
        assert pixels_like(image, MARK) >= 20_000, "the window that was opened in the guest is not there"
        assert is_a_desktop(image)
    finally:
        guest.attempt("pkill -f color-bg")


def test_by_the_unix_socket_with_the_guests_own_certificate(demo: Session, guest: Console, screen: Screen) -> None:
    shows_the_desktop(screen, guest, demo, f"{demo.folder}/rdp.sock", "native-unix.png")


def test_a_wrong_password_opens_no_desktop(demo: Session, screen: Screen) -> None:
    command = xfreerdp(f"{demo.folder}/rdp.sock", fingerprint(demo))
    with screen.client(command, stdin=f"{demo.password()}x\n") as client:
        output = client.communicate(timeout=harness.PATIENCE)[0]
    assert client.returncode != 0
    assert "LOGON_FAILURE" in output or "AUTHENTICATION" in output, output


def test_another_certificate_than_the_guests_is_refused_by_the_client(demo: Session, screen: Screen) -> None:
    command = xfreerdp(f"{demo.folder}/rdp.sock", other(fingerprint(demo)))
    with screen.client(command, stdin=f"{demo.password()}\n") as client:
        output = client.communicate(timeout=harness.PATIENCE)[0]
    assert client.returncode != 0
    assert "automatically denying" in output, output


def test_the_certificate_is_the_one_that_the_guest_has_on_its_disk(demo: Session, guest: Console) -> None:
    shown, _ = guest.attempt(
        "for f in $(find / -xdev -name '*.crt' -path '*freerdp*' 2>/dev/null); do"
        " openssl x509 -in $f -noout -fingerprint -sha256; done"
    )
    assert fingerprint(demo) in shown


def test_by_mutual_tls_with_both_ends_verified(demo: Session, bundle: Path, guest: Console, screen: Screen) -> None:
    with tunnel(bundle):
        shows_the_desktop(screen, guest, demo, f"127.0.0.1:{local_port(bundle)}", "native-tls.png")
    assert f"CN=7lbd client {demo.id}" in (demo.folder / "logs/stunnel.log").read_text()


def test_the_guest_is_pinned_through_the_tunnel_too(demo: Session, bundle: Path, screen: Screen) -> None:
    with tunnel(bundle):
        command = xfreerdp(f"127.0.0.1:{local_port(bundle)}", other(fingerprint(demo)))
        with screen.client(command, stdin=f"{demo.password()}\n") as client:
            output = client.communicate(timeout=harness.PATIENCE)[0]
    assert "automatically denying" in output, output


@pytest.mark.parametrize("program", ["stunnel", "ncat"])
def test_the_lines_of_the_readme_lead_to_the_guest(demo: Session, bundle: Path, program: str) -> None:
    before = reached(demo)
    with (
        tunnel(bundle, program),
        socket.create_connection(("127.0.0.1", local_port(bundle)), timeout=harness.PATIENCE) as way,
    ):
        way.sendall(REQUEST)
        assert way.recv(100)[:2] == b"\x03\x00"
    assert reached(demo) == before + 1


def test_the_readmes_check_says_that_the_way_is_free(demo: Session, bundle: Path) -> None:
    line = readme_line(bundle, "openssl")
    done = subprocess.run(
        ["bash", "-c", line], cwd=bundle, capture_output=True, text=True, timeout=harness.PATIENCE, check=False
    )
    assert demo.process.poll() is None
    assert "Verify return code: 0" in done.stdout, done.stdout + done.stderr


# Without stunnel on the client's side: an X.224 request and its answer tell who reached the guest (MS-RDPBCGR 2.2.1.1).

REQUEST = bytes.fromhex("030000130ee000000000000100080003000000")


def knock(session: Session, bundle: Path, certificate: Path | None, name: str = "") -> bytes:
    """What the guest answers through TLS. Raises OSError when the door stays shut."""
    context = ssl.create_default_context(cafile=str(bundle / "ca.pem"))
    if certificate:
        context.load_cert_chain(certificate)
    port = int(str(session_state(session)["native_port"]))
    with (
        socket.create_connection(("127.0.0.1", port), timeout=harness.PATIENCE) as plain,
        context.wrap_socket(plain, server_hostname=name or f"7lbd-{session.id}") as wire,
    ):
        wire.sendall(REQUEST)
        if not (answer := wire.recv(100)):
            raise ConnectionResetError("the end")
        return answer


def openssl(*words: str, cwd: Path) -> None:
    subprocess.run(["openssl", *words], cwd=cwd, check=True, capture_output=True, timeout=harness.PATIENCE)


@pytest.fixture(scope="module")
def foreign(work: Path, bundle: Path) -> Path:
    """Certificates that bear the name of the session's client: by an authority of the very same name, and by nobody."""
    folder = work / "foreign"
    folder.mkdir()
    subject = subprocess.run(
        ["openssl", "x509", "-in", str(bundle / "client.pem"), "-noout", "-subject", "-issuer", "-nameopt", "RFC2253"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    client, authority = [line.partition("=CN=")[2] for line in subject.splitlines()]
    assert client
    assert authority
    ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    itself = ["req", "-x509", *ec, "-days", "2"]
    openssl(*itself, "-keyout", "ca.key", "-out", "ca.pem", "-subj", f"/CN={authority}", cwd=folder)
    openssl("req", *ec, "-keyout", "c.key", "-out", "c.csr", "-subj", f"/CN={client}", cwd=folder)
    signed = ["-req", "-in", "c.csr", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial"]
    openssl("x509", *signed, "-days", "2", "-out", "c.crt", cwd=folder)
    openssl(*itself, "-keyout", "s.key", "-out", "s.crt", "-subj", f"/CN={client}", cwd=folder)
    for name, made in (("wrong-authority", "c"), ("self-signed", "s")):
        parts = [(folder / f"{made}.{part}").read_bytes() for part in ("key", "crt")]
        (folder / f"{name}.pem").write_bytes(b"".join(parts))
    return folder


def test_the_bundles_certificate_reaches_the_guest(demo: Session, bundle: Path) -> None:
    before = reached(demo)
    assert knock(demo, bundle, bundle / "client.pem")[:2] == b"\x03\x00"
    assert reached(demo) == before + 1


@pytest.mark.parametrize("who", ["nobody", "wrong-authority", "self-signed"])
def test_without_the_sessions_certificate_not_a_byte_reaches_the_guest(
    demo: Session, bundle: Path, foreign: Path, who: str
) -> None:
    before = reached(demo)
    with pytest.raises(OSError):
        knock(demo, bundle, foreign / f"{who}.pem" if who != "nobody" else None)
    assert reached(demo) == before


def test_a_neighbours_flood_does_not_keep_the_owner_of_the_bundle_out(demo: Session, bundle: Path) -> None:
    """stunnel alone waits twenty seconds for each of 250, and then for descriptors."""
    with neighbour.greeting(int(str(session_state(demo)["native_port"])), 1_000_000) as flood:
        time.sleep(2)
        took = []
        for _ in range(3):
            begun = time.monotonic()
            assert knock(demo, bundle, bundle / "client.pem")[:2] == b"\x03\x00"
            took.append(time.monotonic() - begun)
        assert flood.poll() is None
    assert min(took) < 15, "who has to wait has to each time, and a busy machine is slow now and then"


@pytest.mark.parametrize("garbage", [REQUEST, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", bytes(1 << 16)])
def test_without_tls_not_a_byte_reaches_the_guest(demo: Session, bundle: Path, garbage: bytes) -> None:
    before = reached(demo)
    port = int(str(session_state(demo)["native_port"]))
    with socket.create_connection(("127.0.0.1", port), timeout=harness.PATIENCE) as plain, suppress(OSError):
        plain.sendall(garbage)
        plain.shutdown(socket.SHUT_WR)
        while plain.recv(4096):
            pass
    assert reached(demo) == before


def test_another_sessions_server_is_not_taken_for_ours(demo: Session, bundle: Path) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        knock(demo, bundle, bundle / "client.pem", name="7lbd-other")


def test_the_bundle_is_given_once(demo: Session, bundle: Path, work: Path) -> None:
    assert bundle.is_dir()
    for _ in range(2):
        done = connect(demo, "--client", str(work / "second"), bind=work)
        assert done.returncode == 2
        assert "has been taken" in done.stderr
        assert "connect --renew" in done.stderr
    assert not (work / "second").exists()
    assert not list((demo.folder / "tls").glob("client*"))


def test_renewing_cuts_off_whoever_was_in_and_lets_only_the_new_bundle_in(
    demo: Session, bundle: Path, work: Path
) -> None:
    with (
        tunnel(bundle),
        socket.create_connection(("127.0.0.1", local_port(bundle)), timeout=harness.PATIENCE) as inside,
    ):
        inside.sendall(REQUEST)
        assert inside.recv(100)[:2] == b"\x03\x00"
        before = json.loads((demo.folder / "credentials.json").read_text())
        done = connect(demo, "--renew", bind=work)
        assert done.returncode == 0, done.stderr
        assert "--client" in done.stderr
        after = json.loads((demo.folder / "credentials.json").read_text())
        assert f"#token={after['tokens']['desktop']}" in done.stdout
        assert not set(before["tokens"].values()) & set(after["tokens"].values())
        assert before["password"] == after["password"]
        with suppress(ConnectionError):
            assert inside.recv(100) == b""
    connections = reached(demo)
    with pytest.raises(OSError):
        knock(demo, bundle, bundle / "client.pem")
    assert reached(demo) == connections
    assert connect(demo, "--client", str(work / "renewed"), bind=work).returncode == 0
    assert knock(demo, work / "renewed", work / "renewed" / "client.pem")[:2] == b"\x03\x00"


def test_the_renewal_is_no_trouble_that_its_user_hears_of(demo: Session) -> None:
    assert not [text for text in session_state(demo)["warnings"] if "stunnel" in str(text)]
