"""RDP's channel connection: what the guest hears, from whom, each thing once and nothing not at all."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.inside.gateway import mcs
from sevenlbd.inside.gateway.mcs import ATTACH_USER, ERECT_DOMAIN, ChannelConnection

# As the web client and a FreeRDP server say it; the first without the middle of its blocks.
INITIAL = bytes.fromhex("0300001102f0807f658201730401010401")
RESPONSE = bytes.fromhex(
    "0300006802f0807f665e0a0100020100301a020122020103020100020101020100020101020300fff8020102043a000500147c0001"
    "2a14760a01010001c0004d63446e24010c1000040008000b00000008000000030c0800eb030000020c0c000000000000000000"
)
ATTACHED = bytes.fromhex("0300000b02f0802e000003")
SEND_DATA = bytes.fromhex("0300000d02f08064000303eb70")


def wants_joins(*channels: int, more: bytes = b"") -> bytes:
    """The response of a server that does not skip the joins, with these static channels behind 1003."""
    ids = b"".join(channel.to_bytes(2, "little") for channel in channels)
    network = b"\x03\x0c" + (8 + len(ids)).to_bytes(2, "little") + b"\xeb\x03" + len(channels).to_bytes(2, "little")
    blocks = bytes.fromhex("010c1000040008000b00000000000000") + network + ids + more
    whole = RESPONSE[: RESPONSE.index(b"McDn") + 4] + bytes([len(blocks)]) + blocks
    return whole[:2] + len(whole).to_bytes(2) + whole[4:]


def join(channel: int, user: int = 3) -> bytes:
    return bytes.fromhex("0300000c02f08038") + user.to_bytes(2) + channel.to_bytes(2)


def joined(channel: int, user: int = 3) -> bytes:
    return bytes.fromhex("0300000f02f0803e00") + user.to_bytes(2) + channel.to_bytes(2) * 2


class Guest:
    """What it was told, by whom."""

    def __init__(self) -> None:
        self.heard: list[bytes] = []
        self.channels = ChannelConnection(self.heard.append)

    def client(self, *messages: bytes) -> None:
        for message in messages:
            if left := self.channels.from_client(message):
                self.heard.append(b"client's: " + left)

    def says(self, *chunks: bytes) -> None:
        for chunk in chunks:
            self.channels.from_guest(memoryview(chunk))


def attaching(response: bytes = RESPONSE) -> Guest:
    guest = Guest()
    guest.client(b"log-in", INITIAL)
    guest.says(response)
    guest.heard.clear()
    return guest


def test_the_guest_hears_at_once_what_the_client_says_a_round_trip_later() -> None:
    guest = Guest()
    guest.says(b"log-in")
    guest.client(b"log-in", INITIAL)
    assert guest.heard == [b"client's: log-in", b"client's: " + INITIAL]
    guest.says(RESPONSE)
    assert guest.heard[2:] == [ERECT_DOMAIN + ATTACH_USER]
    guest.says(ATTACHED)
    guest.client(ERECT_DOMAIN, ATTACH_USER, SEND_DATA, ERECT_DOMAIN)
    assert guest.heard[3:] == [b"client's: " + SEND_DATA, b"client's: " + ERECT_DOMAIN]


def test_channels_are_joined_once_each_behind_the_last_ones_answer() -> None:
    guest = attaching(wants_joins(1005, 1004))  # the second has the user's number
    guest.says(ATTACHED)
    for channel in (1004, 1003, 1005):
        assert guest.heard.pop() == join(channel)
        assert not guest.heard
        guest.says(joined(channel))
    guest.client(ERECT_DOMAIN, ATTACH_USER, join(1005) + join(1003), join(1004))
    assert not guest.heard
    guest.client(join(1004))
    assert guest.heard == [b"client's: " + join(1004)]


def test_a_client_that_is_quicker_than_the_guest_joins_the_rest_itself() -> None:
    guest = attaching(wants_joins(1005))
    guest.says(ATTACHED)
    guest.client(ERECT_DOMAIN, ATTACH_USER, join(1003) + join(1004) + join(1005))
    guest.says(joined(1004), joined(1003), joined(1005))
    assert guest.heard == [join(1004), b"client's: " + join(1003) + join(1005)]


def test_answers_come_in_any_pieces() -> None:
    guest = attaching(b"")
    guest.says(*(bytes([byte]) for byte in wants_joins() + ATTACHED + joined(1004) + joined(1003)))
    assert guest.heard == [ERECT_DOMAIN + ATTACH_USER, join(1004), join(1003)]
    guest.says(b"anything else")
    guest.client(ERECT_DOMAIN + ATTACH_USER, join(1003) + join(1004), SEND_DATA)
    assert guest.heard[3:] == [b"client's: " + SEND_DATA]


@pytest.mark.parametrize("refusal", [b"\x03\x00\x00\x0b\x02\xf0\x80\x2e\x02\x00\x03", b"\x03\x00\x00\x00", b"nothing"])
def test_a_guest_that_attaches_nobody_hears_no_more_and_nothing_twice(refusal: bytes) -> None:
    guest = attaching(wants_joins())
    guest.says(refusal)
    guest.client(ERECT_DOMAIN, ATTACH_USER, join(1003))
    assert guest.heard == [b"client's: " + join(1003)]


def test_a_client_that_says_something_else_is_heard() -> None:
    guest = Guest()
    guest.client(INITIAL, SEND_DATA)
    guest.says(RESPONSE)
    guest.client(ERECT_DOMAIN)
    assert guest.heard[2:] == [b"client's: " + ERECT_DOMAIN]
    guest = attaching(wants_joins())
    guest.client(SEND_DATA)
    guest.says(ATTACHED)
    guest.client(ATTACH_USER, join(1003))
    assert guest.heard == [b"client's: " + SEND_DATA, b"client's: " + join(1003)]


@pytest.mark.parametrize(
    "response",
    [
        b"",
        ATTACHED,
        RESPONSE.replace(b"McDn", b"Duca"),
        RESPONSE.replace(b"\x0a\x01\x00", b"\x0a\x01\x02"),
        wants_joins(*range(1004, 1036)),
        RESPONSE[:2] + b"\xff\xff" + RESPONSE[4:] + bytes(5000),
        wants_joins()[:-2] + b"\x01\x00",
    ],
)
def test_what_is_no_answer_that_is_known_leaves_all_to_the_client(response: bytes) -> None:
    guest = attaching(response)
    guest.client(ERECT_DOMAIN, ATTACH_USER)
    assert guest.heard == [b"client's: " + ERECT_DOMAIN, b"client's: " + ATTACH_USER]


def test_a_channel_that_not_every_client_joins_leaves_the_joins_to_it() -> None:
    guest = attaching(wants_joins(1004, more=bytes.fromhex("040c0600f003")))
    guest.says(ATTACHED)
    guest.client(ERECT_DOMAIN, ATTACH_USER, join(1003))
    assert guest.heard == [b"client's: " + join(1003)]


def test_a_user_beyond_all_numbers_is_left_to_the_client() -> None:
    guest = attaching(wants_joins())
    guest.says(bytes.fromhex("0300000b02f0802e00ffff"))
    assert not guest.heard


@given(st.lists(st.tuples(st.booleans(), st.sampled_from([RESPONSE, ATTACHED, joined(1003), SEND_DATA, ERECT_DOMAIN]))))
def test_whatever_is_said_nothing_of_the_clients_is_lost_but_what_was_said_for_it(
    turns: list[tuple[bool, bytes]],
) -> None:
    guest, mine = Guest(), [INITIAL]
    guest.client(INITIAL)
    for is_clients, message in turns:
        if is_clients:
            mine.append(message)
            guest.client(message)
        else:
            guest.says(message)
    told = [packet for each in guest.heard for packet in mcs._packets(each.removeprefix(b"client's: "))]
    assert all(mine.count(each) <= told.count(each) <= max(1, mine.count(each)) for each in {*mine, *told})


def test_a_long_message_is_none_of_these_and_is_not_cut_up() -> None:
    """Packet by packet, a megabyte of small ones would hold the gateway for seconds."""
    guest, message = attaching(), ERECT_DOMAIN + bytes.fromhex("0300000500") * 200_000
    guest.client(message)
    assert guest.heard == [b"client's: " + message]


def test_what_comes_behind_a_bad_answer_is_not_kept() -> None:
    guest = attaching(b"\x03\x00\x00\x08nonsense" + bytes(200_000))
    assert not guest.channels._heard
