"""What crosses the wall, and records in files that others may have written: exactly what they say, or a refusal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from sevenlbd.base import heartbeat
from sevenlbd.base.errors import Refusal
from sevenlbd.images import layout, warm
from sevenlbd.images.encryption import encrypted_version
from sevenlbd.images.repository import acceptances, history
from sevenlbd.images.signing import manifest, signature
from sevenlbd.outside.access import credentials
from sevenlbd.outside.egress.relay import allowed, dialing, lines
from sevenlbd.outside.folders import session_folders
from sevenlbd.outside.presence import records
from sevenlbd.outside.saved import chunks, layers, messages, saved_format
from sevenlbd.outside.session import control
from sevenlbd.wire import forwards, gateway, keeper, plan, state
from sevenlbd.wire.codec import MAX_TEXT, Codec, Malformed

from . import made_messages
from .target import Parse, Target, check_shown, file, folder

_RUNTIME = "sevenlbd."
_KEY = b"k" * 32
_WIRES: tuple[Codec[Any], ...] = (
    keeper.ORDERS, gateway.INWARDS, gateway.OUTWARDS, plan.PLANS, allowed.ORDERS, dialing.WISHES, dialing.OUTCOMES,
    messages.ORDERS, messages.REPORTS, saved_format.HEADERS, saved_format.OPENINGS, saved_format.CLOSINGS, lines.LINES,
    control._ORDERS, control._REPLIES,
)  # fmt: skip


def _wire() -> Parse:
    """The first byte chooses the wire. What was read is written, and read again as the same."""

    def parse(data: bytes) -> None:
        codec = _WIRES[data[0] % len(_WIRES)] if data else _WIRES[0]
        with suppress(Malformed):
            message = codec.unpack(data[1:])
            written = codec.pack(message)
            assert type(codec.unpack(written)) is type(message), message

    return parse


def _events() -> Parse:
    """What the supervisor hears from a keeper, or from who has taken it over."""

    def parse(data: bytes) -> None:
        with suppress(Malformed):
            event = keeper.EVENTS.unpack(data)
            for text in (event.kind, event.text, event.hint, event.answer.failure if event.answer else ""):
                check_shown(text, MAX_TEXT)
        with suppress(Malformed):
            for one in forwards.FORWARDS.unpack(data):
                assert isinstance(one.port, int)
        gateway.OUTWARDS.unpack_or_none(data)

    return parse


def _session_record() -> Parse:
    """`session.json`, by `status` and by other nodes; then written, and read as the same phase."""

    def parse(data: bytes) -> None:
        path = file("session.json", data)
        with suppress(ValueError):
            found = state.read(path)
            for text in (found.id, found.reason, found.hint, *found.warnings, *found.ways_out):
                check_shown(text)
            found.write(path)
            assert state.read(path).phase is found.phase

    return parse


def _records() -> Parse:
    """Everything else that lies in a folder of sessions or of images, a reader each."""

    def parse(data: bytes) -> None:
        for name, read, refusals in _readers():
            path = file(name, data)
            with suppress(*refusals):
                read(path)

    return parse


def _readers() -> Iterator[tuple[str, Callable[[Path], object], tuple[type[Exception], ...]]]:
    home = folder()
    yield session_folders.CREDENTIALS, lambda path: credentials.read(path.parent), (ValueError,)
    yield records.CONNECTION, lambda path: _keys(records.tokens(path.parent)), ()
    yield layout.HISTORY, lambda path: history.before(history.events(path.parent), "1"), ()
    yield acceptances.paths(home, "1")[0].name, lambda _: acceptances.read(home, "1"), ()
    yield layout.WARM_RECORD, lambda path: warm._read_record(path.parent), (warm.WarmError,)
    yield "manifest.json", _manifest, (Refusal,)
    yield "beat", heartbeat.read, ()
    yield layers._KNOWN, lambda path: _digests(layers._read(path.parent)), ()
    yield encrypted_version.RECORD, _encrypted, (Refusal,)


def _keys(found: dict[str, str]) -> None:
    assert all(len(token) < 200 for token in found.values())


def _digests(found: dict[str, layers.KnownDigest]) -> None:
    assert all(isinstance(one.identity, str) and isinstance(one.root, str) for one in found.values())


def _encrypted(path: Path) -> None:
    """By itself, where no key wrote it; and as the machine's key would have written it."""
    content = path.read_text("latin-1")
    with suppress(Refusal):
        encrypted_version.read(path.parent, _KEY)
        raise AssertionError("nobody knows this key")
    mac = encrypted_version._mac(_KEY, content.encode())
    for table in (content, json.dumps({"record": content, "mac": mac})):
        path.write_text(table, "latin-1")
        with suppress(Refusal):
            found = encrypted_version.read(path.parent, None if table is content else _KEY)
            assert all(layer.name in found.files for layer in found.layers)
            encrypted_version.write(path.parent, found, _KEY)
            assert encrypted_version.read(path.parent, _KEY) == found


def _manifest(path: Path) -> None:
    content = path.read_bytes()
    with suppress(Refusal):
        found = manifest.parse(content, path)
        assert all(not name.startswith("/") and ".." not in name.split("/") for name in found.parts)
        assert manifest.parse(found.to_json(), path).parts == found.parts
    signature._parsed(content, path)


def _saved() -> Parse:
    """A saved desktop from anywhere: header, records, and the runs in them."""

    def parse(data: bytes) -> None:
        path = file("desktop.7lbd", data)
        with suppress(saved_format.Damaged, Refusal), path.open("rb") as opened:
            saved_format.read_header(opened)
        with suppress(saved_format.Damaged):
            frames = saved_format.Frames()
            for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
                for frame in frames.feed(piece):
                    _chunk(saved_format.unpacked(frame))
        _chunk(data)

    return parse


def _chunk(record: bytes) -> None:
    with suppress(saved_format.Damaged):
        one = chunks.unpack(record)
        assert chunks.pack(one.kind, one.part, one.runs, bytes(one.data)) == record


def _saved_seeds() -> tuple[bytes, ...]:
    record = chunks.pack(saved_format.DATA, 0, [(0, 4)], b"abcd")
    whole = saved_format.MAGIC + str(saved_format.FORMAT).encode() + b"\n{}"
    return record, saved_format.compressed(record), whole.ljust(saved_format.HEADER_ROOM - 1) + b"\n"


def _wire_seeds() -> tuple[bytes, ...]:
    return made_messages.chosen_by_first_byte(_WIRES)


def _state_seeds() -> tuple[bytes, ...]:
    whole = {
        "id": "a",
        "user": "b",
        "host": "c",
        "image": "d",
        "accel": "tcg",
        "network": "tap",
        "pid": 1,
        "folder": "/",
    }
    more = {"phase": "ready", "phases": {"ready": 1.5}, "warnings": ["x"], "ends_at": 1e9, "console": True}
    return json.dumps(whole | {"phase": "ended"}).encode(), json.dumps(whole | more).encode()


def _record_seeds() -> tuple[bytes, ...]:
    part = {"a": {"size": 1, "sha256": "0" * 64}}
    return (
        json.dumps({"schema": 1, "name": "a", "version": "1", "parts": part}).encode(),
        b"host=a\nport=1\ntoken=" + b"A" * 43 + b"\n",
        b"2026-01-01T00:00:00Z publish 1 a@b\n",
        b'{"checks":[{"name":"a","outcome":"fail"}],"passed":false,"when":"x","quick":false}',
        b'{"password":"a","share_user":"b","share_password":"c","tokens":{},"cookie_key":""}',
        json.dumps({"files": {"/a": {"identity": "1 2", "root": "0" * 64}}}).encode(),
        json.dumps(
            {"schema": 1, "manifest": "0" * 64, "files": {"d": {"plain": 1, "size": 2, "root": "0" * 64}}, "size": 1}
            | {"layers": [{"name": "d", "format": "raw"}]}
        ).encode(),
        b'{"host":"a","boot":"b","space":1,"pid":2,"born":3,"user":"u","note":""}',
    )


def _event_seeds() -> tuple[bytes, ...]:
    answer = keeper.GuestAnswer(1, 0, b"out", b"", "")
    return (
        keeper.EVENTS.pack(keeper.Event("warning", "x", "y")),
        keeper.EVENTS.pack(keeper.Event("answer", answer=answer)),
        forwards.FORWARDS.pack((forwards.Forward("tcp", "192.0.2.1", 1),)),
        gateway.OUTWARDS.pack(gateway.Hello()),
    )


TARGETS = (
    Target("wire", _wire, (_RUNTIME + "wire", "json"), _wire_seeds),
    Target("keeper-events", _events, (_RUNTIME + "wire", "json"), _event_seeds),
    Target("session-record", _session_record, (_RUNTIME + "wire", _RUNTIME + "base", "json"), _state_seeds, 2048),
    Target("records", _records, ("sevenlbd", "json"), _record_seeds, 2048),
    Target("saved-desktop", _saved, (_RUNTIME + "outside.saved", _RUNTIME + "wire"), _saved_seeds, 8192),
)
