"""HTTP as a stranger would speak it: what browsers never send, and answers seen as they come."""

from __future__ import annotations

import base64
import http.client
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit


@dataclass(frozen=True)
class Answer:
    """Status, headers (names in lower case) and body."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(
    method: str, address: str, headers: Mapping[str, str] | None = None, body: bytes = b"", place: str = ""
) -> Answer:
    """One request, sent to `place` (HOST:PORT) when that is not the address's own; the path goes as it stands."""
    parts = urlsplit(address)
    path = address[address.index(parts.netloc) + len(parts.netloc) :] or "/"
    given = {"Host": parts.netloc, **(headers or {})}
    link = _connection(parts.scheme, place or parts.netloc)
    try:
        link.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        if body or method == "POST":
            given["Content-Length"] = str(len(body))
        for name, value in given.items():
            link.putheader(name, value)
        link.endheaders(body)
        answer = link.getresponse()
        fields = {name.lower(): value for name, value in answer.getheaders()}
        held_open = answer.status == 101 or "event-stream" in fields.get("content-type", "")
        return Answer(answer.status, fields, b"" if held_open else answer.read())
    finally:
        link.close()


def _connection(scheme: str, place: str) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(place, timeout=20)
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    return http.client.HTTPSConnection(place, timeout=20, context=anybody)


def handshake(origin: str, cookie: str = "") -> dict[str, str]:
    """The headers that ask for a WebSocket (RFC 6455, section 4.1)."""
    key = base64.b64encode(os.urandom(16)).decode()
    wanted = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key}
    return {**wanted, **({"Origin": origin} if origin else {}), **({"Cookie": cookie} if cookie else {})}


def log_in(address: str, token: str, headers: Mapping[str, str] | None = None, place: str = "") -> Answer:
    """The form of the login page at `address`, which ends in a slash."""
    form = {"Content-Type": "application/x-www-form-urlencoded", **(headers or {})}
    return ask("POST", f"{address}login", form, urlencode({"token": token}).encode(), place)


def cookie(address: str, token: str) -> str:
    """The Cookie header of somebody who is in."""
    answer = log_in(address, token)
    assert answer.status == 303, (answer.status, answer.body)
    return answer.headers["set-cookie"].partition(";")[0]
