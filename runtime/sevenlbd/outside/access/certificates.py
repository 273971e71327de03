"""A child process that makes certificates and checks those of others. Private keys stay in here and in files.

Usage: python -I -m sevenlbd.outside.access.certificates make|check|adopt; the order is JSON on standard input, the
answer one line of JSON. Sources: RFC 5280 (extensions), RFC 7468 (PEM).
"""

from __future__ import annotations

import json
import os
import ssl
import stat
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID as Usage
from cryptography.x509.oid import NameOID

from ...base import atomic, hostnames
from ...wire import tls
from . import bundle

# With its key it crosses the wall; the longest chains of real authorities have a third of this.
_MAX_CHAIN = 24 << 10
_PEM = serialization.Encoding.PEM


class CertificateRefused(Exception):
    """Somebody else's certificate or key that cannot be used: what is wrong, and what mends it."""

    def __init__(self, what: str, hint: str) -> None:
        super().__init__(what)
        self.answer = {"refused": what, "hint": hint}


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        """Both, the key first."""
        return key_pem(self.key) + self.certificate.public_bytes(_PEM)


def key_pem(key: PrivateKeyTypes) -> bytes:
    """A private key in PEM, not encrypted."""
    return key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())


@dataclass(frozen=True)
class Maker:
    """Makes certificates of one session, P-256 and SHA-256 throughout."""

    session: str
    begins: datetime
    ends: datetime

    def for_page(self, names: Iterable[str]) -> Pair:
        """The page's: signed by itself."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = self._name(f"7lbd session {self.session}")
        return self._end_entity(key, subject, key, subject, Usage.SERVER_AUTH, names)

    def authority(self) -> Pair:
        """The session's own authority, which signs nothing that could sign."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = self._name(f"7lbd session {self.session} authority")
        builder = self._begun(key, name, name, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=True), critical=True)
        return Pair(builder.sign(key, hashes.SHA256()), key)

    def server(self, authority: Pair, names: Iterable[str]) -> Pair:
        """For native RDP. It has one name that holds whatever way the client takes, then the node's."""
        name = tls.server_name(self.session)
        return self._signed(authority, name, Usage.SERVER_AUTH, [name, *names])

    def client(self, authority: Pair) -> Pair:
        """For the only client of native RDP."""
        return self._signed(authority, f"7lbd client {self.session}", Usage.CLIENT_AUTH, ())

    def _signed(self, authority: Pair, name: str, usage: x509.ObjectIdentifier, names: Iterable[str]) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        issuer = authority.certificate.subject
        return self._end_entity(key, self._name(name), authority.key, issuer, usage, names)

    def _end_entity(
        self,
        key: ec.EllipticCurvePrivateKey,
        subject: x509.Name,
        signer: ec.EllipticCurvePrivateKey,
        issuer: x509.Name,
        usage: x509.ObjectIdentifier,
        names: Iterable[str],
    ) -> Pair:
        builder = self._begun(key, subject, issuer, signer.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_key_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if alternatives := _alternatives(names):
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return Pair(builder.sign(signer, hashes.SHA256()), key)

    def _begun(
        self, key: ec.EllipticCurvePrivateKey, subject: x509.Name, issuer: x509.Name, signer: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(self.begins)
            .not_valid_after(self.ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer), critical=False)
        )

    def _name(self, text: str) -> x509.Name:
        return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _alternatives(names: Iterable[str]) -> list[x509.GeneralName]:
    """Names and addresses as a certificate holds them, each once."""
    general_names: list[x509.GeneralName] = []
    for name in dict.fromkeys(names):
        if address := hostnames.address(name):
            general_names.append(x509.IPAddress(address))
        elif name and name.isascii():
            general_names.append(x509.DNSName(name))
    return general_names


def make(order: dict[str, Any]) -> dict[str, Any]:
    """Make what the order asks for and write it. Raises OSError."""
    folder = Path(order["folder"])
    (folder / tls.FOLDER).mkdir(mode=0o700, exist_ok=True)
    maker = Maker(order["session"], _moment(order["begins"]), _moment(order["ends"]))
    shown = ""
    if order["web"]:
        page = maker.for_page(order["names"])
        atomic.replace(folder / tls.WEB, page.pem())
        shown = _fingerprint(page.certificate)
    if native := order["native"]:
        authority = maker.authority()
        server = maker.server(authority, [*order["names"], *native["hosts"]])
        client = maker.client(authority)
        known = authority.certificate.public_bytes(_PEM)
        atomic.replace(folder / tls.SERVER, server.pem())
        atomic.replace(folder / tls.AUTHORITY, known)
        packed = bundle.pack(order["session"], order["account"], native, order["ends"], client.pem(), known)
        atomic.replace(folder / tls.BUNDLE, packed)
    return {"web": shown, "expires": order["ends"]}


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(int(seconds), UTC)


def _fingerprint(certificate: x509.Certificate) -> str:
    return tls.fingerprint(certificate.public_bytes(serialization.Encoding.DER))


def check(order: dict[str, Any]) -> dict[str, Any]:
    """Check a chain and its key. Raises Refused."""
    return _shown(_checked(Path(order["certificate"]), Path(order["key"]))[0])


def adopt(order: dict[str, Any]) -> dict[str, Any]:
    """The same, and copy them to where the page's are. Raises Refused, or OSError when they cannot be written."""
    chain, key = _checked(Path(order["certificate"]), Path(order["key"]))
    folder = Path(order["folder"])
    (folder / tls.FOLDER).mkdir(mode=0o700, exist_ok=True)
    certificates = b"".join(certificate.public_bytes(_PEM) for certificate in chain)
    atomic.replace(folder / tls.WEB, key_pem(key) + certificates)
    return _shown(chain)


def _shown(chain: Sequence[x509.Certificate]) -> dict[str, Any]:
    expires = min(certificate.not_valid_after_utc for certificate in chain)
    return {"web": _fingerprint(chain[0]), "expires": expires.timestamp()}


def _checked(certificate: Path, key: Path) -> tuple[list[x509.Certificate], PrivateKeyTypes]:
    chain = _chain(certificate)
    private = _key(key)
    public = serialization.PublicFormat.SubjectPublicKeyInfo
    ours = private.public_key().public_bytes(serialization.Encoding.DER, public)
    if chain[0].public_key().public_bytes(serialization.Encoding.DER, public) != ours:
        what = f"{key} is not the key of {certificate}: the two do not match"
        raise CertificateRefused(
            what, "name the key that the certificate was requested with; the server's own certificate is first"
        )
    _check_times(certificate, chain)
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        what = f"{certificate}: TLS does not take it: {(error.reason or str(error)).replace('_', ' ').lower()}"
        raise CertificateRefused(what, "ask for a certificate with a stronger key") from None
    return chain, private


def _check_times(path: Path, chain: Sequence[x509.Certificate]) -> None:
    now = datetime.now(UTC)
    for certificate in chain:
        name = certificate.subject.rfc4514_string()
        begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
        if now > ends:
            what = f"{path}: the certificate of {name} ran out on {ends:%Y-%m-%d %H:%M} UTC"
            raise CertificateRefused(what, "renew it, or leave web_certificate out: then each session makes its own")
        if now < begins:
            what = f"{path}: the certificate of {name} does not hold before {begins:%Y-%m-%d %H:%M} UTC"
            raise CertificateRefused(what, "wait, or set the node's clock")


def _chain(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(_read(path))
    except ValueError:
        hint = "it begins with -----BEGIN CERTIFICATE-----; from DER: openssl x509 -inform der -in FILE -out FILE.pem"
        raise CertificateRefused(f"{path}: is not a certificate in PEM", hint) from None


def _key(path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(_read(path), password=None)
    except TypeError:
        hint = f"nobody is there to type its password: openssl pkey -in {path} -out FILE, and guard that one"
        raise CertificateRefused(f"{path}: the private key is encrypted", hint) from None
    except ValueError:
        raise CertificateRefused(
            f"{path}: is not a private key in PEM", "it begins with -----BEGIN PRIVATE KEY----- or the like"
        ) from None


def _read(path: Path) -> bytes:
    """A file of somebody else's, which might be anything."""
    hint = (
        f"see what the container shows: apptainer exec 7lbd.sif ls -l {path}, or bind its folder: apptainer run --bind"
    )
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as file:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise CertificateRefused(f"{path}: is not a file", hint)
            content = file.read(_MAX_CHAIN + 1)
    except OSError as error:
        raise CertificateRefused(f"{path}: cannot be read: {error.strerror}", hint) from None
    if len(content) > _MAX_CHAIN:
        raise CertificateRefused(f"{path}: is too large for a certificate or a key", "name the PEM file itself")
    return content


def main() -> None:
    """Entry point of the process."""
    os.umask(0o077)
    verbs = {"make": make, "check": check, "adopt": adopt}
    try:
        answer = verbs[sys.argv[1]](json.load(sys.stdin))
    except CertificateRefused as refused:
        answer = refused.answer
    except OSError as error:
        answer = {"errno": error.errno, "strerror": error.strerror, "filename": str(error.filename)}
    print(json.dumps(answer))


if __name__ == "__main__":
    main()
