"""The page's own client runs without a browser: the very module that is laid beside the pages."""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager

import aiohttp
import pytest
from sevenlbd.outside.rdp_client import glue
from sevenlbd.outside.rdp_client.browser import Canvas, PageWindow
from sevenlbd.outside.rdp_client.imports import table
from sevenlbd.outside.rdp_client.ironrdp import NAME, IronClient, Login, NotLetIn
from sevenlbd.outside.rdp_client.values import UNDEFINED, Promise, Thrown
from sevenlbd.outside.rdp_client.visit import VENDOR

# Of the clipboard, of printers and of a KDC's proxy: no connection to a gateway of ours asks for them.
NOT_HERE = {"URL", "URLSearchParams", "Headers", "Request"}


class Nowhere:
    """A wire whose other end is not there."""

    def dial(self, url: str) -> AbstractAsyncContextManager[aiohttp.ClientWebSocketResponse]:
        raise OSError(f"{url} is not there")

    def received(self, data: bytes) -> None:
        raise AssertionError(data)

    def sent(self, data: bytes) -> None:
        raise AssertionError(data)


def test_the_script_beside_the_module_tells_what_its_imports_are() -> None:
    told = glue.read(VENDOR / f"{NAME}.js")
    assert {"WebSocket", "ImageData", "Uint8Array", "Object", "Array"} <= set(told.constructors.values())
    assert len([name for name in told.closures if "__wbindgen_cast" in name]) >= 4
    assert len([name for name in told.closures if "new_typed" in name]) == 1


def test_all_that_the_module_makes_is_here() -> None:
    told = glue.read(VENDOR / f"{NAME}.js")
    assert {glue.plain(name) for name in told.constructors} <= set(table(PageWindow(Nowhere())))
    made = set(told.constructors.values()) - NOT_HERE
    assert made <= {"Array", "Blob", "CloseEvent", "Date", "Error", "ImageData", "Object"} | {
        "Uint8Array",
        "Uint32Array",
        "WebSocket",
    }


def test_a_gateway_that_is_not_there_is_a_refusal_in_the_clients_words() -> None:
    async def attempt() -> None:
        client = IronClient(VENDOR, Nowhere())
        await client.connect(Login("user1", "secret", "guest", "ws://127.0.0.1:9/ws/rdp"), Canvas(640, 480))

    with pytest.raises(NotLetIn) as refused:
        asyncio.run(asyncio.wait_for(attempt(), 150))
    assert refused.value.kind == "proxy"
    assert "secret" not in str(refused.value)


def test_promises_settle_in_their_turn() -> None:
    seen: list[object] = []

    def note(value: object) -> str:
        seen.append(value)
        return "next"

    async def go() -> None:
        promise = Promise()
        after = promise.then(note)
        promise.resolve(Promise.resolved(7))
        promise.resolve(8)
        assert seen == [], "a handler never runs at once"
        assert await after == "next"
        assert await Promise.resolved(1).then(UNDEFINED) == 1

    asyncio.run(go())
    assert seen == [7]


def test_what_is_thrown_goes_to_the_next_that_catches() -> None:
    def throw(_value: object) -> None:
        raise Thrown("word")

    async def go() -> None:
        assert await Promise.resolved(1).then(throw).then(UNDEFINED, lambda value: [value]) == ["word"]
        with pytest.raises(Thrown):
            await Promise.resolved(1).then(throw)

    asyncio.run(go())
