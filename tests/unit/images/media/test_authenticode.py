"""Who signed an EFI program is named, and whether machines with Secure Boot trust that."""

from __future__ import annotations

import struct
from contextlib import suppress

import pytest
from cryptography.x509.oid import NameOID
from efi_programs import authority, known, signature, signed_by, with_signatures
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.images.media import authenticode
from sevenlbd.images.media.authenticode import AuthenticodeError, Signer

TRUSTED = [known().certificate]
OTHER = authority("Other Authority 2023")


def test_each_signature_names_its_authority_and_whether_it_is_trusted() -> None:
    assert authenticode.signers(signed_by(known()), TRUSTED) == [Signer("Known Authority 2011", trusted=True)]
    assert authenticode.signers(signed_by(OTHER, known()), TRUSTED) == [
        Signer("Other Authority 2023", trusted=False),
        Signer("Known Authority 2011", trusted=True),
    ]


def test_an_authority_between_is_followed_to_the_one_that_is_trusted() -> None:
    between = authority("Between 2015", known())
    signer = authority("signer", between)
    program = with_signatures(signature(signer, [between]))
    assert authenticode.signers(program, TRUSTED) == [Signer("Between 2015", trusted=True)]
    assert authenticode.signers(with_signatures(signature(signer)), TRUSTED) == [Signer("Between 2015", trusted=False)]


def test_a_name_is_as_long_as_a_line_has_room_for() -> None:
    [signer] = authenticode.signers(signed_by(authority("x" * 5000)), TRUSTED)
    assert signer == Signer("x" * 100, trusted=False)


def test_a_name_alone_is_not_trusted() -> None:
    assert authenticode.signers(signed_by(authority("Known Authority 2011")), TRUSTED) == [
        Signer("Known Authority 2011", trusted=False)
    ]


def test_a_clock_that_has_signed_too_is_not_taken_for_the_signer() -> None:
    clocks = authority("Clocks 2010")
    clock = authority("a clock", clocks, clock=True)
    program = with_signatures(signature(authority("signer", known()), [clock, clocks, known()]))
    assert authenticode.signers(program, TRUSTED) == [Signer("Known Authority 2011", trusted=True)]


def test_what_the_build_has_enrolled_is_what_is_trusted() -> None:
    """Both generations of Microsoft's, for Windows itself and for the boot loaders of others."""
    names = {
        attribute.value
        for certificate in authenticode.authorities()
        for attribute in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    }
    assert {"Microsoft Windows Production PCA 2011", "Windows UEFI CA 2023", "Microsoft UEFI CA 2023"} <= names


SIGNED = signed_by(known())
TABLE = len(with_signatures())


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (b"", "no EFI program"),
        (b"MZ", "no EFI program"),
        (b"ELF" + SIGNED[3:], "no EFI program"),
        (SIGNED[:100], "no EFI program"),
        (with_signatures(), "not signed"),
        (with_signatures(b"a hash", kind=0xEF0), "not signed"),
        (SIGNED[:-16], "ends before its signatures do"),
        (SIGNED[:TABLE] + struct.pack("<I", 0) + SIGNED[TABLE + 4 :], "makes no sense"),
        (SIGNED[:TABLE] + struct.pack("<I", 1 << 30) + SIGNED[TABLE + 4 :], "makes no sense"),
        (with_signatures(b"no message"), "cannot be read"),
        (with_signatures(b"\x30\x84\xff\xff\xff\xff"), "cannot be read"),
    ],
)
def test_what_is_not_signed_or_broken_is_told(program: bytes, why: str) -> None:
    with pytest.raises(AuthenticodeError, match=why):
        authenticode.signers(program, TRUSTED)


@given(st.integers(0, len(SIGNED) - 1), st.binary(min_size=1, max_size=12))
def test_no_program_makes_the_reader_do_anything_but_refuse(at: int, noise: bytes) -> None:
    with suppress(AuthenticodeError):
        authenticode.signers(SIGNED[:at] + noise + SIGNED[at + len(noise) :], TRUSTED)
