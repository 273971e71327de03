"""What is a host's name and what an address is told by the spelling alone, the same for everybody."""

from __future__ import annotations

import pytest
from sevenlbd.base import hostnames


@pytest.mark.parametrize("text", ["192.0.2.1", "2001:db8::1", "::1"])
def test_an_address_in_its_usual_form_is_one(text: str) -> None:
    assert hostnames.is_address(text)
    assert str(hostnames.address(text)) == text
    assert not hostnames.is_name(text)


@pytest.mark.parametrize("text", ["127.1", "0x7f000001", "2130706433", "192.0.2.1.", "192.0.2.01"])
def test_another_spelling_of_an_address_is_neither(text: str) -> None:
    assert not hostnames.is_address(text)
    assert not hostnames.is_name(text)
    assert hostnames.is_number(text)


@pytest.mark.parametrize("text", ["node7", "a.b", "_ldap._tcp.example.edu", "example.edu.", "7zip.org", "x" * 63])
def test_a_name_is_one(text: str) -> None:
    assert hostnames.is_name(text)


@pytest.mark.parametrize(
    "text", ["", ".", "a..b", "-a", "a-", "A", "a b", "\N{KELVIN SIGN}", "x" * 64, "a." * 127 + "b"]
)
def test_what_no_name_server_has_is_none(text: str) -> None:
    assert not hostnames.is_name(text)


@pytest.mark.parametrize(("text", "fits"), [("n", True), ("node-7.x", True), ("192.0.2.1", True), ("a_b", False)])
def test_what_a_node_may_be_called(text: str, fits: bool) -> None:
    assert hostnames.is_node_name(text) is fits
