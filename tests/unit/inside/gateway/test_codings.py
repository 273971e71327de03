"""Accept-Encoding as browsers, proxies and strangers write it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.inside.gateway.codings import CODINGS, IDENTITY, preferred

ALL = frozenset(CODINGS)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("br;q=0.5, gzip;q=0.8", "gzip"),
        ("br ; q=1.0 , gzip", "br"),
        ("br;q=0, gzip", "gzip"),
        ("*", "br"),
        ("*;q=0.1, br;q=0", "gzip"),
        ("identity, br;q=0.5", "identity"),
        ("*;q=0", "identity"),
        ("", "identity"),
        ("sobriety, gzipper", "identity"),
        ("br;q=2, gzip;q=x", "identity"),
        ("br;q=0.0001", "identity"),
        (",;,q=1,", "identity"),
    ],
)
def test_what_is_wanted_most_is_sent(accepted: str, coding: str) -> None:
    assert preferred(accepted, ALL) == coding


def test_what_is_not_there_is_not_sent() -> None:
    assert preferred("br", frozenset({"gzip"})) == IDENTITY
    assert preferred("br, gzip;q=0.1", frozenset({"gzip"})) == "gzip"
    assert preferred("br, gzip", frozenset()) == IDENTITY


@given(st.text())
def test_nothing_that_a_stranger_writes_is_an_error(accepted: str) -> None:
    assert preferred(accepted, ALL) in ALL | {IDENTITY}
