"""What machines and the pool's service say to each other, and what a stranger's coordinator answers the owner."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from typing import Any

from sevenlbd.base.errors import visible
from sevenlbd.outside.grid import join_record, protocol
from sevenlbd.outside.grid.client import PoolClient
from sevenlbd.outside.grid.coordinator import overview, own_files, owner_asking, owner_socket
from sevenlbd.outside.grid.https_exchange import Head
from sevenlbd.outside.grid.pool import members, queue_demand
from sevenlbd.wire.codec import Codec, Malformed

from . import made_messages
from .target import Parse, Target, check_shown

_RECORDS: tuple[Codec[Any], ...] = (
    protocol.WAITING_ANSWER, protocol.IMAGES_ANSWER, protocol.REPORT, protocol.WORKER_ORDER, protocol.WORKER_PASS,
    protocol.ENROLLING, protocol.ENROLLED, protocol.HEARD, protocol.KEY_ORDER, protocol.MACHINE_KEY, protocol.PROBLEM,
    owner_socket.CALLS, own_files._STATES, members._FILE,
)  # fmt: skip


def _records() -> Parse:
    """The first byte chooses the record, which is written and read again; and what comes beside records."""
    client = PoolClient.__new__(PoolClient)
    client._clock = time.time

    def parse(data: bytes) -> None:
        codec = _RECORDS[data[0] % len(_RECORDS)] if data else _RECORDS[0]
        with suppress(Malformed):
            message = codec.unpack(data[1:])
            assert type(codec.unpack(codec.pack(message))) is type(message), message
            if isinstance(message, protocol.Images):
                for file in (file for image in message.images for file in image.files):
                    assert not file.name.startswith("/")
                    assert ".." not in file.name
        with suppress(Malformed):
            join_record.parsed(data)
        text = data.decode("latin-1")
        client._note_time(Head(200, {"date": text}))
        for demand in queue_demand.collected(lambda _wanted, _most: text, ["lab"]):
            assert demand.vm_name == "lab"

    return parse


def _answers() -> Parse:
    """Whatever stands in an answer, the owner is shown lines that are harmless."""

    def parse(data: bytes) -> None:
        with suppress(ValueError, RecursionError):
            said = owner_asking.parsed(data)
            for line in overview.lines(said):
                check_shown(visible(line))
            json.dumps(said, indent=1)

    return parse


_WORDS = {
    "PoolAddress.collector": "pool.example.edu:9618",
    "OfferedFile.name": "manifest.json",
    **dict.fromkeys(("Waiting.images", "OfferedImage.manifest", "KeyOrder.keep", "MachineKey.key"), "0" * 64),
}


def _seeds() -> tuple[bytes, ...]:
    names = {"collector": "pool.example.edu:9618", "trust_domain": "x", "vm_name": "lab", "machine": "m"}
    return (
        *made_messages.chosen_by_first_byte(_RECORDS, _WORDS),
        json.dumps(names | {"token": "a.b", "slot": 1}).encode(),
        b"lab 1 100 100\nlab undefined 1 1\n",
        b"Fri, 27 Nov 2026 17:00 GMT",
    )


def _answer_seeds() -> tuple[bytes, ...]:
    texts = dict.fromkeys(("user", "pool", "collector", "why", "image_key", "locked"), "x")
    numbers = dict.fromkeys(("slots", "slot_cpus", "slot_memory", "memory_left", "rate", "quota", "lease", "grace"), 1)
    rows = {name: ["x"] for name in ("when_empty", "when_used", "trusted_keys")}
    things: dict[str, object] = {
        "images": [{"image": "lab@1", "size": 1, "stage": "whole", "why": ""}],
        "vms": [{"vm": "g0", "slot": 0, "image": "lab@1", "stage": "busy", "seconds": 1.5}],
        "changes": [{"at": 1e9, "subject": "vm g0", "what": "busy", "why": "x"}],
    }
    whole = json.dumps({"lent": True, "paused": False, **texts, **numbers, **rows, **things}).encode()
    deep = b"[" * 900 + b"]" * 900
    changed = ((b"1000000000.0", b"1e300"), (b"1.5", b"Infinity"), (b'"why": ""', b'"why": ' + deep))
    return whole, *(whole.replace(word, odd) for word, odd in changed)


TARGETS = (
    Target("grid-records", _records, ("sevenlbd.outside.grid", "sevenlbd.wire", "json"), _seeds),
    Target("grid-answers", _answers, ("sevenlbd.outside.grid", "json"), _answer_seeds),
)
