"""Who signed an EFI program, and whether a machine with Secure Boot takes that: the certificates of its signatures.

Only named here: that a signature fits the program is the firmware's to check. Sources: Microsoft, "PE Format",
attribute certificate table, and "Windows Authenticode Portable Executable Signature Format"; RFC 2315; UEFI 2.10, 32.5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cryptography import x509

AUTHORITIES = Path("/usr/share/7lbd/firmware/authorities.pem")
"""The certificates of `db` in the store of variables that is made when the SIF is built."""
MAX_PROGRAM = 16 << 20  # bytes; a guess: Windows' boot loader has some 3 MiB
_HEADER_AT = 0x3C  # "PE Format", MS-DOS stub
_OPTIONAL = 4 + 20  # the same: behind signature and COFF header
_DIRECTORIES = {0x10B: 96, 0x20B: 112}  # the same: PE32 and PE32+, offset of the data directories
_CERTIFICATES = 4  # the same: number of the directory
_ENTRY = struct.Struct("<IHH")  # the same: length, revision, type of an attribute certificate
_PKCS = 2  # the same: WIN_CERT_TYPE_PKCS_SIGNED_DATA
_MAX_SIGNATURES = 8  # a guess: one, or one a generation
_MAX_NAME = 100  # characters; a guess: Microsoft's have some 40
_MAX_CHAIN = 8  # certificates; a guess: Microsoft's have three


class AuthenticodeError(Exception):
    """The program cannot be read, or is not signed; the text says why."""


@dataclass(frozen=True)
class Signer:
    """One signature: the name of the authority behind it, and whether the machines here trust that."""

    authority: str
    trusted: bool


def signers(program: bytes, authorities: Sequence[x509.Certificate]) -> list[Signer]:
    """The signatures of a program, in their order. Raises AuthenticodeError."""
    found = [_signer(signature, authorities) for signature in _signatures(program)]
    if not found:
        raise AuthenticodeError("it is not signed")
    return found


def authorities(path: Path = AUTHORITIES) -> list[x509.Certificate]:
    """What the machines with Secure Boot trust. Raises OSError."""
    from cryptography import x509  # only where discs are read

    return x509.load_pem_x509_certificates(path.read_bytes())


def _signatures(program: bytes) -> Iterator[bytes]:
    """The PKCS #7 messages of the attribute certificate table, without what pads them."""
    try:
        start, size = _table(program)
        end = start + size
        if end > len(program):
            raise AuthenticodeError("it ends before its signatures do")
        for _ in range(_MAX_SIGNATURES):
            if start >= end:
                return
            length, _, kind = _ENTRY.unpack_from(program, start)
            if not _ENTRY.size < length <= end - start:
                raise AuthenticodeError("its table of signatures makes no sense")
            if kind == _PKCS:
                yield _der(program[start + _ENTRY.size : start + length])
            start += length + -length % 8
    except struct.error:
        raise AuthenticodeError("it is no EFI program") from None


def _table(program: bytes) -> tuple[int, int]:
    (header,) = struct.unpack_from("<I", program, _HEADER_AT)
    (magic,) = struct.unpack_from("<H", program, header + _OPTIONAL)
    if program[:2] != b"MZ" or program[header : header + 4] != b"PE\0\0" or magic not in _DIRECTORIES:
        raise AuthenticodeError("it is no EFI program")
    start, size = struct.unpack_from("<II", program, header + _OPTIONAL + _DIRECTORIES[magic] + _CERTIFICATES * 8)
    return start, size


def _der(raw: bytes) -> bytes:
    """The first value in `raw`: a library that is strict takes nothing behind it. Source: X.690, section 8.1.3."""
    if len(raw) < 2 or not raw[1] & 0x80:
        return raw
    count = raw[1] & 0x7F
    return raw[: 2 + count + int.from_bytes(raw[2 : 2 + count])]


def _signer(signature: bytes, trusted: Sequence[x509.Certificate]) -> Signer:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import pkcs7

    try:
        certificates = pkcs7.load_der_pkcs7_certificates(signature)
        leaf = _leaf(certificates)
        common_names = leaf.issuer.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        authority = str(common_names[0].value) if common_names else leaf.issuer.rfc4514_string()
        return Signer(authority[:_MAX_NAME], any(_leads_to(leaf, certificates, anchor) for anchor in trusted))
    except Exception:  # whatever a hostile signature makes the library say
        raise AuthenticodeError("a signature of it cannot be read") from None


def _leaf(certificates: Sequence[x509.Certificate]) -> x509.Certificate:
    """The one that signed, and so issued none of the others: a signature brings its chain along, and a clock's."""
    issuers = {certificate.issuer for certificate in certificates if certificate.issuer != certificate.subject}
    return next(one for one in certificates if one.subject not in issuers and not _is_clock(one))


def _is_clock(certificate: x509.Certificate) -> bool:
    """Whether it only says when something was signed. Source: RFC 3161, section 2.3."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.TIME_STAMPING in usage


def _leads_to(leaf: x509.Certificate, chain: Sequence[x509.Certificate], anchor: x509.Certificate) -> bool:
    """Whether `anchor` is the leaf, or has issued it through certificates of the chain. Dates do not matter to UEFI."""
    current = leaf
    for _ in range(_MAX_CHAIN):
        if current == anchor or _issued(current, anchor):
            return True
        above = [one for one in chain if one is not current and _issued(current, one)]
        if not above:
            return False
        current = above[0]
    return False


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    from cryptography.exceptions import InvalidSignature

    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
