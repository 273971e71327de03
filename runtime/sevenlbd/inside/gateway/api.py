"""What the pages and programs ask for: the status, the end, the password, files for native clients."""

from __future__ import annotations

import asyncio
import json
import math
import time
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qs

from aiohttp import HttpVersion11, web

from ...base.rdp_file import local_port, pasted, rdp_file
from ...wire.gateway import Front, StopPressed, SuspendPressed
from . import responses
from .authentication import DESKTOP, STATUS, Visitor
from .client_bundle import Voided
from .gate import Gate
from .responses import Refused

_MAX_BODY = 64 * 1024  # bytes; a guess: a request has a token or a word
_BODY_SECONDS = 10.0  # as a head has (limits.py)
_BEAT_SECONDS = 1.5  # the pages tell their user of 4 s of silence (lib/session.js)
_ORDER_SECONDS = 15.0  # a guess: a beat, a slow line there and back, and a little more; who waited longer has given up
_WRITE_SECONDS = 30.0  # a browser that sleeps takes nothing, and comes back by itself
_MAX_STREAMS = 256  # a guess: far more than a user has pages
_SHOWN = (
    *("id", "user", "host", "image", "title", "accel", "network", "phase", "phases", "milestones"),
    *("warnings", "ways_out", "paused", "reason", "hint", "started", "ends_at", "certificate"),
)
_DESTINATION = "desktop:3389"  # a name for the client; the gateway knows the way


async def body(request: web.BaseRequest) -> bytes:
    """The request's body, which has to come whole, plain and in time. Raises Refused."""
    if "Content-Encoding" in request.headers:
        raise Refused(415, "the request is packed", "send it as it is")
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            return await _whole(request)
    except TimeoutError:
        raise Refused(408, "the request did not come in time", headers={"Connection": "close"}) from None
    except web.RequestPayloadError:
        raise Refused(400, "the request did not come whole", headers={"Connection": "close"}) from None


async def _whole(request: web.BaseRequest) -> bytes:
    """All of the body; who waits to be asked for it is asked (RFC 9110 section 10.1.1). Raises Refused."""
    if request.version >= HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    data = bytearray()
    while piece := await request.content.readany():
        data += piece
        if len(data) > _MAX_BODY:
            raise Refused(413, "the request is too large", headers={"Connection": "close"})
    return bytes(data)


async def form(request: web.BaseRequest) -> dict[str, str]:
    """The fields of a posted form; of one that is there twice the first. Raises Refused."""
    if request.content_type != "application/x-www-form-urlencoded":
        raise Refused(415, "this is not a form")
    try:
        fields = parse_qs((await body(request)).decode(), max_num_fields=16)
    except ValueError:
        raise Refused(400, "the form cannot be read") from None
    return {name: values[0].strip() for name, values in fields.items()}


async def _json_body(request: web.BaseRequest) -> dict[str, Any]:
    data = await body(request)
    try:
        value = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        raise Refused(400, "the body is not JSON") from None
    if not isinstance(value, dict):
        raise Refused(400, "the body is not a JSON object")
    return value


def _front(gate: Gate) -> Front:
    assert gate.front  # nobody is let in before it is there
    return gate.front


def shown(gate: Gate, visitor: Visitor) -> dict[str, Any]:
    """The session as this visitor may see it."""
    front, state = _front(gate), gate.state
    status = {name: state[name] for name in _SHOWN if name in state}
    if visitor.role == STATUS and state.get("folder"):
        status = json.loads(json.dumps(status).replace(json.dumps(state["folder"])[1:-1], "the session's folder"))
    status |= {
        "now": time.time(),
        "role": visitor.role,
        "console": front.console and bool(gate.vnc),
        "clipboard": front.clipboard,
        "screen": front.screen,
        "viewer": gate.viewer,
        "late_inputs": gate.late_inputs,
        "pages": gate.pages_version,
    }
    if visitor.may(DESKTOP):
        native, port = front.native, local_port(front.session)
        status["native"] = {
            "ssh": f"ssh -L {pasted(f'{port}:{front.folder}/rdp.sock')} {pasted(f'{front.login}@{front.host}')}",
            "local_port": port,
            "tls": {"port": native.port, "hosts": list(native.hosts)} if native else None,
        }
    return status


async def status(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """GET api/status: once as JSON, or as a stream of events for a browser's EventSource."""
    if request.method == "GET" and "text/event-stream" in request.headers.get("Accept", ""):
        return await _stream(request, gate, visitor)
    return responses.as_json(shown(gate, visitor))


async def _stream(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """Server-sent events (HTML standard, section 9.2): the status at every change, and the time in between."""
    if gate.watchers(stream=True) >= _MAX_STREAMS:
        raise Refused(503, "too many pages watch this session", "close some of them")
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    responses.dress(response)
    await response.prepare(request)
    try:
        with gate.watching(visitor, stream=True):
            while True:
                changed, over = gate.changed, gate.over
                await _send(response, "status", json.dumps(shown(gate, visitor)))
                if over:
                    break
                while not await _set_within(changed, _BEAT_SECONDS):
                    await _send(response, "beat", json.dumps(time.time()))
    except (OSError, TimeoutError):
        if request.transport:
            request.transport.abort()
    response.force_close()
    return response


async def _send(response: web.StreamResponse, kind: str, data: str) -> None:
    async with asyncio.timeout(_WRITE_SECONDS):
        await response.write(f"event: {kind}\ndata: {data}\n\n".encode())


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
    return event.is_set()


async def secrets(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """POST api/desktop {"ask": base64url}: what the browser's client logs in with (CredSSP needs the password).

    `ask` may tell what the client will ask for (ahead.py): its connection with the guest is begun meanwhile.
    """
    front, order = _front(gate), await _json_body(request)
    if "ask" in order and visitor.nonce:
        from . import desktop  # with its ASN.1, as in app.py

        desktop.begin(gate, visitor, order["ask"])
    return responses.as_json({"account": front.account, "password": front.password, "destination": _DESTINATION})


def _check_age(order: dict[str, Any]) -> None:
    """Raises Refused for what was pressed too long ago: a page tells when it had last heard from us (late_input.py)."""
    heard = order.get("heard", math.inf)
    if not isinstance(heard, int | float):
        raise Refused(400, "'heard' is a time in seconds")
    if not heard >= time.time() - _ORDER_SECONDS:  # NaN, too
        raise Refused(
            409, "it was too long on its way, and is not carried out", "look how things are, and give it anew"
        )


async def stop(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """POST api/stop {"now": bool}: ask the supervisor to end the session."""
    order = await _json_body(request)
    now = order.get("now", False)
    if not isinstance(now, bool):
        raise Refused(400, "'now' is true or false")
    _check_age(order)
    gate.ask(StopPressed(now))
    return responses.as_json({"stopping": True}, 202)


async def suspend(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """POST api/suspend: ask the supervisor to write the desktop to its file, and to end the session."""
    _check_age(await _json_body(request))
    gate.ask(SuspendPressed())
    return responses.as_json({"suspending": True}, 202)


async def rdp(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """GET api/desktop.rdp: for native clients at the end of `ssh -L`."""
    front = _front(gate)
    response = web.Response(text=rdp_file(front.account, local_port(front.session)), content_type="application/x-rdp")
    response.headers["Content-Disposition"] = f'attachment; filename="7lbd-{front.session}.rdp"'
    return response


async def client(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """POST api/client: the bundle for RDP over mutual TLS, once. The supervisor has it, and gives it to the first.

    A connection that breaks before any of it is sent leaves it to the next.
    """
    front = _front(gate)
    if not front.native:
        raise Refused(404, "this session has no RDP over TLS", "start it with --rdp-tls, or use ssh -L")
    try:
        data = await gate.bundle.take()
    except TimeoutError:
        raise Refused(503, "the session is too busy to hand out the client's bundle", "try again") from None
    except Voided:
        what = "the key was renewed meanwhile, or the session has ended"
        raise Refused(401, what, "log in with the new one: 7lbd connect --url shows it") from None
    if not data:
        hint = "7lbd connect --renew makes a new one and voids the old"
        raise Refused(410, "the client's bundle was taken before", hint)
    if not request.transport or request.transport.is_closing():
        gate.bundle.give(data)
        raise Refused(503, "the connection broke off", "try again")
    response = web.Response(body=data, content_type="application/zip")
    response.headers["Content-Disposition"] = f'attachment; filename="7lbd-{front.session}-client.zip"'
    return response


async def metrics(request: web.BaseRequest, gate: Gate, visitor: Visitor) -> web.StreamResponse:
    """GET metrics: OpenMetrics."""
    from . import metrics as openmetrics  # rarely asked for, and large

    text, content_type = await openmetrics.text(gate)
    return web.Response(body=text, headers={"Content-Type": content_type})
