"""EFI programs that do nothing, signed by authorities of the tests' own, and such authorities."""

from __future__ import annotations

import datetime
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID

_DAY = datetime.datetime(2011, 6, 1, tzinfo=datetime.UTC)
_DIRECTORIES = 0x58 + 112  # where `program` has its data directories


@dataclass(frozen=True)
class Authority:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def pem(self) -> bytes:
        """The certificate, as the build writes down those that it enrols."""
        return self.certificate.public_bytes(Encoding.PEM)


@cache
def known() -> Authority:
    """The one that the tests let machines trust. As expired as Microsoft's of 2011 will be: UEFI does not mind."""
    return authority("Known Authority 2011")


def authority(name: str, above: Authority | None = None, *, clock: bool = False) -> Authority:
    """One that is issued by the one above, or by itself; `clock` makes it one that only says when."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, name, _validate=False)])
    usage = ExtendedKeyUsageOID.TIME_STAMPING if clock else ExtendedKeyUsageOID.CODE_SIGNING
    built = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(above.certificate.subject if above else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(_DAY)
        .not_valid_after(_DAY + datetime.timedelta(days=15 * 365))
        .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    )
    return Authority(built.sign(above.key if above else key, hashes.SHA256()), key)


def program() -> bytes:
    """The headers of a PE32+ for EFI, and nothing behind them. Source: Microsoft, "PE Format"."""
    dos = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, 0, 0, 0, 0, 240, 0x22)
    return dos + coff + struct.pack("<H", 0x20B).ljust(240, b"\0")


def signature(signer: Authority, chain: Sequence[Authority] = ()) -> bytes:
    """A PKCS #7 message. What Authenticode signs in it is another thing; who signs is told alike."""
    builder = pkcs7.PKCS7SignatureBuilder().set_data(b"a digest")
    builder = builder.add_signer(signer.certificate, signer.key, hashes.SHA256())
    for above in chain:
        builder = builder.add_certificate(above.certificate)
    return builder.sign(Encoding.DER, [pkcs7.PKCS7Options.DetachedSignature])


def with_signatures(*signatures: bytes, kind: int = 2) -> bytes:
    """The program with an attribute certificate table of these."""
    bare = bytearray(program())
    bare += bytes(-len(bare) % 8)
    table = b"".join(struct.pack("<IHH", 8 + len(one), 0x200, kind) + one + bytes(-len(one) % 8) for one in signatures)
    struct.pack_into("<II", bare, _DIRECTORIES + 4 * 8, len(bare) if table else 0, len(table))
    return bytes(bare) + table


def signed_by(*authorities: Authority) -> bytes:
    """The program with a signature under each authority, whose own certificate comes along as Microsoft's does."""
    signers = ((authority(f"signer of {number}", one), one) for number, one in enumerate(authorities))
    return with_signatures(*(signature(signer, [above]) for signer, above in signers))
