"""A session whose supervisor was killed while the keeper loads: the SIF is gone, and nobody is there to complain to."""

from __future__ import annotations

import errno
import os
import socket
import sys

import pytest
from sevenlbd.inside import __main__ as entry
from sevenlbd.inside import builder


def broken() -> builder.Builder:
    """What an import comes to when squashfuse is gone."""
    raise OSError(errno.ENOTCONN, "Transport endpoint is not connected")


def test_a_keeper_that_cannot_be_loaded_ends_quietly_when_its_supervisor_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(entry, "Builder", broken)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours:
        with theirs, pytest.raises(OSError, match="not connected"):
            entry._loaded(ours)
        with pytest.raises(SystemExit) as end:
            entry._loaded(ours)
        assert end.value.code == 1


def test_a_builder_that_cannot_be_loaded_tells_the_keeper_why_and_prints_nothing(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "sevenlbd.inside.setup", None)
    monkeypatch.delattr("sevenlbd.inside.setup", raising=False)
    plan, _ = os.pipe()
    told, trouble = os.pipe()
    assert builder._build(plan, trouble) == 1
    assert b"sevenlbd.inside.setup" in os.read(told, 1000)
    assert capfd.readouterr().err == ""
