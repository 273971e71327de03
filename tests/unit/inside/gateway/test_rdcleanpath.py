"""RDCleanPath's codec: known bytes, hostile bytes, and what is found in corpus/rdcleanpath."""

from __future__ import annotations

from pathlib import Path

import pytest
from gateway_world import X224_CONFIRM, X224_REFUSAL, X224_REQUEST, request_message
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.inside.gateway import rdcleanpath
from sevenlbd.inside.gateway.rdcleanpath import Error, MalformedMessage

CORPUS = sorted((Path(__file__).parents[2] / "corpus" / "rdcleanpath").iterdir())
# Spelled by hand: version, destination, proxy_auth, and an X.224 request with more behind its negotiation.
CLIENT = bytes.fromhex(
    "303ea00402020d3ea20e0c0c6465736b746f703a33333839a3060c046e6f6e65a61e041c"
    "0300001c17e00000000000010008000b000000" + "00" * 9
)


def test_a_request_of_the_client_is_read() -> None:
    message = request_message(destination="desktop:3389")
    request = rdcleanpath.unpack_request(message)
    assert (request.version, request.destination, request.x224) == (3390, "desktop:3389", X224_REQUEST)
    rdcleanpath.check_connection_request(request.x224)


def test_a_message_spelled_by_hand_is_read() -> None:
    assert rdcleanpath.length(CLIENT) == len(CLIENT)
    request = rdcleanpath.unpack_request(CLIENT)
    assert request.destination == "desktop:3389"
    rdcleanpath.check_connection_request(request.x224)


def test_all_of_the_clients_fields_may_be_there() -> None:
    message = request_message(server_auth="a", preconnection_blob="b")
    assert rdcleanpath.unpack_request(message).x224 == X224_REQUEST


def test_answers_have_the_known_bytes() -> None:
    assert rdcleanpath.pack_error(Error()).hex() == "300fa00402020d3ea1073005a003020101"
    assert rdcleanpath.pack_error(Error(wsa=10061)).hex() == "3015a00402020d3ea10d300ba003020101a2040202274d"
    assert rdcleanpath.pack_error(Error(alert=42)).hex() == "3014a00402020d3ea10c300aa003020101a30302012a"
    assert rdcleanpath.pack_error(Error(http=400)).hex() == "3015a00402020d3ea10d300ba003020101a10402020190"
    refusal = rdcleanpath.pack_error(Error(rdcleanpath.NEGOTIATION), b"abc")
    assert refusal.hex() == "3016a00402020d3ea1073005a003020102a6050403616263"
    response = rdcleanpath.pack_response(b"abc", [b"cert", b"ca"], "1.2.3.4:3389")
    assert response.hex() == (
        "302ba00402020d3ea6050403616263a70c300a04046365727404026361a90e0c0c312e322e332e343a33333839"
    )


LENGTHS = {
    "": None,
    "30": None,
    "3000": 2,
    "307f": 129,
    "3081": None,
    "3081ff": 258,
    "3082": None,
    "308201": None,
    "30820100": 260,
    "3083000100": 261,
}


@pytest.mark.parametrize("start", LENGTHS)
def test_a_length_is_known_from_the_start(start: str) -> None:
    assert rdcleanpath.length(bytes.fromhex(start)) == LENGTHS[start]


@pytest.mark.parametrize("start", ["31", "00", "3080", "3084", "30ff", "3083ffffff", "3083010000"])
def test_no_length_at_all(start: str) -> None:
    with pytest.raises(MalformedMessage):
        rdcleanpath.length(bytes.fromhex(start))


@given(st.integers(min_value=0, max_value=len(CLIENT) - 1))
def test_a_part_of_a_message_is_none(end: int) -> None:
    with pytest.raises(MalformedMessage):
        rdcleanpath.unpack_request(CLIENT[:end])


def hostile(data: bytes) -> None:
    """Whatever comes in, a request or Malformed comes out, and what passes is within bounds."""
    try:
        rdcleanpath.length(data)
        request = rdcleanpath.unpack_request(data)
        rdcleanpath.check_connection_request(request.x224)
    except MalformedMessage:
        return
    assert len(request.x224) <= rdcleanpath.MAX_TPKT


@given(st.binary(max_size=2000))
def test_no_bytes_break_it(data: bytes) -> None:
    hostile(data)


@given(st.binary(max_size=100))
def test_no_sequence_breaks_it(data: bytes) -> None:
    hostile(b"\x30" + bytes([len(data)]) + data)


@given(st.integers(0, len(CLIENT) - 1), st.binary(min_size=1, max_size=4))
def test_no_change_to_a_good_message_breaks_it(place: int, change: bytes) -> None:
    hostile(CLIENT[:place] + change + CLIENT[place + len(change) :])


@given(st.recursive(st.binary(max_size=20), lambda inner: st.lists(inner, max_size=4), max_leaves=30))
def test_no_nesting_breaks_it(tree: object) -> None:
    def spell(node: object) -> bytes:
        if isinstance(node, bytes):
            return b"\x04" + bytes([len(node)]) + node
        assert isinstance(node, list)
        body = b"".join(spell(one) for one in node)
        return b"\x30\x82" + len(body).to_bytes(2) + body

    hostile(spell(tree))


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_was_found_before_stays_mended(path: Path) -> None:
    hostile(path.read_bytes())


def test_there_is_a_corpus() -> None:
    assert len(CORPUS) >= 10


@pytest.mark.parametrize(
    ("confirm", "tls"),
    [
        (X224_CONFIRM, True),
        (X224_REFUSAL, False),
        (X224_CONFIRM[:-4] + bytes(4), False),  # RDP's own security
        (X224_CONFIRM[:-4] + b"\x01\0\0\0", True),
        (bytes.fromhex("0300000b06d00000123400"), False),
    ],
)
def test_a_confirm_says_whether_tls_begins(confirm: bytes, tls: bool) -> None:
    assert rdcleanpath.chose_tls(confirm) is tls


@given(st.binary(max_size=64))
def test_no_confirm_breaks_it(data: bytes) -> None:
    for packet in (data, b"\x03\x00" + (len(data) + 4).to_bytes(2) + data):
        try:
            rdcleanpath.chose_tls(packet)
        except MalformedMessage:
            continue


@pytest.mark.parametrize("header", ["", "030000", "0300000a", "03001001", "0200000b", "0300ffff"])
def test_a_packet_has_a_sane_length(header: str) -> None:
    with pytest.raises(MalformedMessage):
        rdcleanpath.tpkt_length(bytes.fromhex(header))
