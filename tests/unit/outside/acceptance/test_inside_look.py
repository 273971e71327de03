"""What a guest sends is told by where it goes; frames of any shape are taken for what they are."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.outside.acceptance.criteria.network_criteria import is_local
from sevenlbd.outside.acceptance.inside_look import destination


def ethernet(kind: int, body: bytes) -> bytes:
    return bytes(12) + kind.to_bytes(2) + body


def ipv4(address: str, protocol: int, port: int, options: int = 0) -> bytes:
    head = bytes([0x45 + options]) + bytes(8) + bytes([protocol]) + bytes(6) + ipaddress.ip_address(address).packed
    return ethernet(0x0800, head + bytes(4 * options) + bytes(2) + port.to_bytes(2) + bytes(8))


def ipv6(address: str, protocol: int, port: int) -> bytes:
    head = bytes(6) + bytes([protocol]) + bytes(17) + ipaddress.ip_address(address).packed
    return ethernet(0x86DD, head + bytes(2) + port.to_bytes(2))


@pytest.mark.parametrize(
    ("frame", "where", "local"),
    [
        (ipv4("169.254.100.2", 6, 445), "tcp 169.254.100.2:445", True),
        (ipv4("20.42.65.90", 6, 443, options=2), "tcp 20.42.65.90:443", False),
        (ipv4("255.255.255.255", 17, 67), "udp 255.255.255.255:67", True),
        (ipv4("224.0.0.22", 2, 0), "ip 2 224.0.0.22", True),
        (ipv6("ff02::fb", 17, 5353), "udp [ff02::fb]:5353", True),
        (ipv6("2001:db8::1", 6, 443), "tcp [2001:db8::1]:443", False),
        (ethernet(0x0806, bytes(24) + bytes([169, 254, 100, 1])), "arp 169.254.100.1", False),
        (ethernet(0x88CC, b"lldp"), "ethernet type 0x88cc", False),
    ],
)
def test_a_frame_is_told_by_where_it_goes(frame: bytes, where: str, *, local: bool) -> None:
    assert destination(frame) == where
    assert is_local(where) is local


@given(st.binary(max_size=128))
def test_any_frame_goes_somewhere(frame: bytes) -> None:
    assert destination(frame)
    is_local(destination(frame))
