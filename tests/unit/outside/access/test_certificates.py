"""The session's certificates: who may trust them and for how long; and whose certificates are taken from others."""

from __future__ import annotations

import asyncio
import io
import os
import re
import ssl
import stat
import subprocess
import time
import zipfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import ExtendedKeyUsageOID
from sevenlbd.base import process
from sevenlbd.base.errors import Refusal
from sevenlbd.base.rdp_file import local_port
from sevenlbd.outside.access import tls_files
from sevenlbd.outside.access.certificates import Maker, Pair, key_pem
from sevenlbd.outside.access.tls_files import Made
from sevenlbd.wire import tls
from sevenlbd.wire.gateway import NativeTls

NAMES = ("localhost", "127.0.0.1", "::1", "node17", "no_de", "näme")
NATIVE = NativeTls(4489, ("192.0.2.7", "node17"))
NOW = datetime.now(UTC)
DAY = timedelta(days=1)


def make(folder: Path, *, session: str = "abc", seconds: float = 0.0, web: bool = True, native: bool = True) -> Made:
    return asyncio.run(
        tls_files.make(
            folder,
            session=session,
            account="user1",
            names=NAMES,
            seconds=seconds,
            web=web,
            native=NATIVE if native else None,
        )
    )


def unpacked(folder: Path) -> Path:
    target = folder / "client"
    with tls_files.taken(folder) as packed:
        tls_files.unpack(packed, target)
    return target


def certificate(path: Path) -> x509.Certificate:
    return x509.load_pem_x509_certificate(path.read_bytes())


def verifies(authority: Path, found: Path, purpose: str, *more: str) -> bool:
    """Whether openssl, at its strictest, takes a certificate for a purpose."""
    command = ["openssl", "verify", "-x509_strict", "-purpose", purpose, "-CAfile", str(authority), *more, str(found)]
    return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode == 0


def test_the_page_has_a_certificate_for_every_name_of_the_node(tmp_path: Path) -> None:
    made = make(tmp_path, native=False)
    page = tmp_path / tls.WEB
    assert made.web == tls.fingerprint(ssl.PEM_cert_to_DER_cert(_public_part(page)))
    assert re.fullmatch(r"([0-9A-F]{2}:){31}[0-9A-F]{2}", made.web)
    for name in ("localhost", "node17", "no_de"):
        assert verifies(page, page, "sslserver", "-verify_hostname", name)
    for address in ("127.0.0.1", "::1"):
        assert verifies(page, page, "sslserver", "-verify_ip", address)
    assert not verifies(page, page, "sslserver", "-verify_hostname", "node18")
    assert not verifies(page, page, "sslclient")
    assert not (tmp_path / tls.BUNDLE).exists()


def _public_part(path: Path) -> str:
    text = path.read_text()
    return text[text.index("-----BEGIN CERT") :]


def test_server_and_client_hold_for_what_they_are_and_nothing_else(tmp_path: Path) -> None:
    make(tmp_path, web=False)
    authority, server, client = tmp_path / tls.AUTHORITY, tmp_path / tls.SERVER, unpacked(tmp_path) / "client.pem"
    assert verifies(authority, server, "sslserver", "-verify_hostname", "7lbd-abc")
    assert verifies(authority, server, "sslserver", "-verify_ip", "192.0.2.7")
    assert verifies(authority, client, "sslclient")
    assert not verifies(authority, server, "sslclient")
    assert not verifies(authority, client, "sslserver")
    assert not (tmp_path / tls.WEB).exists()
    for path in (authority, server, client):
        assert "abc" in certificate(path).subject.rfc4514_string()
        assert certificate(path).signature_hash_algorithm is not None


def test_another_sessions_certificates_are_not_ours(tmp_path: Path) -> None:
    for session in ("abc", "xyz"):
        (tmp_path / session).mkdir()
        make(tmp_path / session, session=session, web=False)
    assert not verifies(tmp_path / "abc" / tls.AUTHORITY, unpacked(tmp_path / "xyz") / "client.pem", "sslclient")


def test_new_certificates_make_the_old_ones_worthless(tmp_path: Path) -> None:
    first = make(tmp_path)
    old = unpacked(tmp_path)
    second = make(tmp_path, web=False)
    assert second.web == ""
    assert first.web == tls.fingerprint(ssl.PEM_cert_to_DER_cert(_public_part(tmp_path / tls.WEB)))
    assert not verifies(tmp_path / tls.AUTHORITY, old / "client.pem", "sslclient")
    assert (tmp_path / tls.BUNDLE).exists()


@pytest.mark.parametrize(("seconds", "at_most"), [(0, 8 * 86400), (3600, 3 * 3600), (400 * 86400, 8 * 86400)])
def test_they_last_as_long_as_the_session_and_never_long(tmp_path: Path, seconds: float, at_most: float) -> None:
    made = make(tmp_path, seconds=seconds)
    now = time.time()
    assert now + min(seconds, 6 * 86400) < made.expires < now + at_most
    for path in (tmp_path / tls.WEB, tmp_path / tls.SERVER, tmp_path / tls.AUTHORITY):
        found = certificate(path)
        assert abs(found.not_valid_after_utc.timestamp() - made.expires) < 2
        assert now - 7200 < found.not_valid_before_utc.timestamp() < now - 600, "a clock may be behind"


def test_only_the_user_can_read_them(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        make(tmp_path)
        client = unpacked(tmp_path)
    finally:
        os.umask(before)
    for folder in (tmp_path / tls.FOLDER, client):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}


def test_the_key_that_signs_is_kept_nowhere_and_the_clients_only_in_its_bundle(tmp_path: Path) -> None:
    make(tmp_path)
    files = {path.name: path.read_bytes() for path in (tmp_path / tls.FOLDER).iterdir()}
    assert files.keys() == {"web.pem", "server.pem", "ca.pem", "client.zip"}
    assert b"PRIVATE KEY" not in files["ca.pem"]
    signing = certificate(tmp_path / tls.AUTHORITY).public_key()
    for name in ("web.pem", "server.pem"):
        key = serialization.load_pem_private_key(files[name], password=None)
        assert key.public_key() != signing
    with zipfile.ZipFile(tmp_path / tls.BUNDLE) as archive:
        assert {name for name in archive.namelist() if b"PRIVATE KEY" in archive.read(name)} == {"client.pem"}


def test_no_secret_is_in_the_childs_command_or_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    async def finish(command: Sequence[str], *, stdin: bytes = b"") -> str:
        printed = await process.finish(command, stdin=stdin)
        seen.extend([*command, printed, stdin.decode()])
        return printed

    monkeypatch.setattr(tls_files, "finish", finish)
    make(tmp_path)
    assert seen
    assert not [text for text in seen if "PRIVATE" in text]


def test_a_full_or_missing_folder_is_told_as_what_it_is(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as told:
        make(tmp_path / "gone")
    assert str(told.value.filename) == str(tmp_path / "gone" / "tls")


def test_the_bundle_is_taken_once(tmp_path: Path) -> None:
    make(tmp_path, web=False)
    assert {path.name for path in unpacked(tmp_path).iterdir()} == {
        "README.txt",
        "ca.pem",
        "client.pem",
        "desktop.rdp",
        "stunnel-windows.conf",
        "stunnel.conf",
    }
    with pytest.raises(tls_files.Gone), tls_files.taken(tmp_path):
        pass
    assert {path.name for path in (tmp_path / tls.FOLDER).iterdir()} == {"ca.pem", "server.pem"}


def test_a_bundle_that_could_not_be_written_is_still_there(tmp_path: Path) -> None:
    make(tmp_path, web=False)
    with pytest.raises(FileNotFoundError), tls_files.taken(tmp_path) as packed:
        tls_files.unpack(packed, tmp_path / "no" / "such" / "place")
    assert unpacked(tmp_path).is_dir()


def test_the_bundle_names_the_node_and_the_port_and_what_to_trust(tmp_path: Path) -> None:
    make(tmp_path, web=False)
    client = unpacked(tmp_path)
    readme = (client / "README.txt").read_text()
    for words in (
        "192.0.2.7 4489",
        "192.0.2.7:4489",
        f"127.0.0.1:{local_port('abc')}",
        "Log in as user1",
        "--ssl-servername 7lbd-abc",
    ):
        assert words in readme
    for name in ("stunnel.conf", "stunnel-windows.conf"):
        lines = (client / name).read_text().splitlines()
        for line in ("connect = 192.0.2.7:4489", "verifyChain = yes", "checkHost = 7lbd-abc", "client = yes"):
            assert line in lines
    # stunnel(8): these two are for Unix alone, and Windows refuses them.
    assert not re.search("foreground|syslog", (client / "stunnel-windows.conf").read_text())
    assert "\r\nusername:s:user1\r\n" in (client / "desktop.rdp").read_bytes().decode()


# What a site or a user brings.


def theirs(folder: Path, begins: datetime = NOW - DAY, ends: datetime = NOW + DAY) -> tuple[Path, Path, Pair]:
    """A chain of two certificates and the key of the first."""
    maker = Maker("site", begins, ends)
    authority = maker.authority()
    pair = maker.server(authority, ["desktops.example.edu"])
    chain, key = folder / "chain.pem", folder / "key.pem"
    chain.write_bytes(
        b"".join(c.public_bytes(serialization.Encoding.PEM) for c in (pair.certificate, authority.certificate))
    )
    key.write_bytes(key_pem(pair.key))
    return chain, key, pair


def refusal(chain: Path, key: Path) -> str:
    with pytest.raises(Refusal) as refused:
        asyncio.run(tls_files.check(chain, key))
    assert refused.value.hint
    return refused.value.what


def test_a_good_pair_is_checked_and_adopted(tmp_path: Path) -> None:
    chain, key, pair = theirs(tmp_path)
    shown = tls.fingerprint(pair.certificate.public_bytes(serialization.Encoding.DER))
    assert asyncio.run(tls_files.check(chain, key)) == Made(shown, pair.certificate.not_valid_after_utc.timestamp())
    assert not (tmp_path / tls.FOLDER).exists()
    assert asyncio.run(tls_files.adopt(chain, key, tmp_path)).web == shown
    adopted = tmp_path / tls.WEB
    assert stat.S_IMODE(adopted.stat().st_mode) == 0o600
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(adopted)
    assert len(x509.load_pem_x509_certificates(adopted.read_bytes())) == 2


def test_a_key_of_another_certificate_is_refused(tmp_path: Path) -> None:
    chain, key, _ = theirs(tmp_path)
    (tmp_path / "other").mkdir()
    _, other, _ = theirs(tmp_path / "other")
    assert "do not match" in refusal(chain, other)
    asyncio.run(tls_files.check(chain, key))


def test_certificates_out_of_their_time_are_refused(tmp_path: Path) -> None:
    chain, key, _ = theirs(tmp_path, NOW - 2 * DAY, NOW - DAY)
    assert re.search(r"chain.pem: the certificate of CN=7lbd-site ran out on \d{4}-", refusal(chain, key))
    chain, key, _ = theirs(tmp_path, NOW + DAY, NOW + 2 * DAY)
    assert "does not hold before" in refusal(chain, key)


def test_an_encrypted_key_is_refused(tmp_path: Path) -> None:
    chain, key, pair = theirs(tmp_path)
    secret = serialization.BestAvailableEncryption(b"word")
    key.write_bytes(
        pair.key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, secret),
    )
    assert "key.pem: the private key is encrypted" in refusal(chain, key)


def test_a_key_too_weak_for_tls_is_refused(tmp_path: Path) -> None:
    weak = rsa.generate_private_key(65537, 1024)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "weak")])
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(weak.public_key())
    builder = builder.serial_number(1).not_valid_before(NOW - DAY).not_valid_after(NOW + DAY)
    builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
    chain, key = tmp_path / "chain.pem", tmp_path / "key.pem"
    chain.write_bytes(builder.sign(weak, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    key.write_bytes(key_pem(weak))
    assert "key too small" in refusal(chain, key)


def test_whatever_is_no_certificate_or_key_is_refused_by_name(tmp_path: Path) -> None:
    chain, key, _ = theirs(tmp_path)
    text, nothing, pipe, huge = (tmp_path / name for name in ("text", "empty", "pipe", "huge"))
    text.write_text("hello")
    nothing.touch()
    os.mkfifo(pipe)
    with huge.open("wb") as file:
        file.truncate(3 << 20)
    broken = tmp_path / "broken.pem"
    broken.write_text("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
    for path in (text, nothing, key, broken):
        assert f"{path}: is not a certificate in PEM" in refusal(path, key)
    for path in (text, nothing, chain):
        assert f"{path}: is not a private key in PEM" in refusal(chain, path)
    assert f"{tmp_path}: cannot be read: Is a directory" in refusal(tmp_path, key)
    for path in (pipe, Path("/dev/zero")):
        assert f"{path}: is not a file" in refusal(path, key)
    assert "No such file" in refusal(tmp_path / "none", key)
    assert "too large" in refusal(chain, huge)
    key.chmod(0)
    assert "Permission denied" in refusal(chain, key)


@pytest.mark.parametrize("name", ["../.bashrc", "deep/file", "/tmp/absolute", ".."])
def test_a_bundle_with_a_file_that_belongs_elsewhere_is_not_unpacked(tmp_path: Path, name: str) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("README.txt", "harmless")
        archive.writestr(name, "evil")
    with pytest.raises(OSError):
        tls_files.unpack(packed.getvalue(), tmp_path / "client")
    assert not list(tmp_path.iterdir())


def test_what_is_served_with_inside_is_told_by_name_and_nothing_else_is(tmp_path: Path) -> None:
    (tmp_path / tls.FOLDER).mkdir()
    for name in (tls.WEB, tls.BUNDLE):
        (tmp_path / name).write_text(f"{name}\n")
    assert tls_files.served(tmp_path) == {"tls/web.pem": "tls/web.pem\n"}


@pytest.mark.parametrize(
    "text", ["", "AB", ":".join(["AB"] * 31), ":".join(["ab"] * 32), ":".join(["AB"] * 32) + ";id"]
)
def test_what_is_no_fingerprint_comes_into_no_line_to_paste(text: str) -> None:
    assert tls.is_fingerprint(tls.fingerprint(b"a certificate"))
    assert not tls.is_fingerprint(text)
