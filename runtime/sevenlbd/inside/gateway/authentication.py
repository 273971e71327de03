"""The lock: tokens, cookies, roles, the origin of requests. Functions of what they are given; no I/O.

A token is 256 random bits, known here by its SHA-256 only. It is exchanged for a cookie `role.nonce.mac`, where mac
is HMAC-SHA256 of `role.nonce` under a key of the session that changes with --renew.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from ...wire.gateway import Front

DESKTOP, CONSOLE, STATUS = "desktop", "console", "status"
MAY = {
    DESKTOP: frozenset({DESKTOP, CONSOLE, STATUS}),
    CONSOLE: frozenset({CONSOLE, STATUS}),
    STATUS: frozenset({STATUS}),
}
"""What each role may do."""
_TOKEN = 53  # characters of one of ours (outside/access/credentials.py)
_MAX_TOKEN = 200  # characters: no stranger has a megabyte hashed
_MAX_PASTED = 4000  # characters; a guess: a link, and some of the mail that it came in
_QUOTINGS = 3  # a guess: a mail's guard quotes the link that it leads to once, and a second guard the first one's
_AROUND = re.compile(r"""[\s>|"'<`\u00ab\u00bb\u2018-\u201f]+""")
_KEY = re.compile(rf"(?<![A-Za-z0-9])k[a-z2-7]{{{_TOKEN - 1}}}(?![A-Za-z0-9])")
_IN_LINK = re.compile(
    r"\btoken=(?:3D)?([A-Za-z0-9_=-]+)"
)  # mail writes = as =3D, and ends a line by it (RFC 2045, 6.7)
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Visitor:
    """Somebody who was let in. `nonce` tells cookies apart; it is empty for a bearer of the token itself."""

    role: str
    nonce: str = ""

    def may(self, role: str) -> bool:
        """Whether the visitor's role includes `role`."""
        return role in MAY[self.role]


def pasted_token(text: str) -> str:
    """The token in what somebody pastes for one: itself or the whole link, as mail quotes, breaks and wraps them.

    Of two different ones none is taken, but that of the first link is.
    """
    text = text[:_MAX_PASTED]
    for _ in range(_QUOTINGS):
        text = unquote(text)
    # Byte order marks, directions, soft hyphens: what nobody sees, and copies along.
    text = "".join(sign for sign in text if unicodedata.category(sign) != "Cf")
    plain = _AROUND.sub("", text)
    linked: list[str] = [words.replace("=", "")[:_TOKEN] for words in _IN_LINK.findall(plain)]
    whole = [words for words in linked if _KEY.fullmatch(words)]
    bare: set[str] = {*_KEY.findall(text), *_KEY.findall(plain)}
    if not whole and len(bare) == 1:
        return bare.pop()
    return (whole or linked or [plain.strip(".,;:()[]{}")])[0]


def is_token_of(token: str, digests: Iterable[str]) -> bool:
    """Whether one of the digests is the token's."""
    digest = hashlib.sha256(token[: _MAX_TOKEN + 1].encode(errors="replace")).hexdigest()
    return sum(hmac.compare_digest(digest, known) for known in digests) > 0


def role_of_token(token: str, tokens: Mapping[str, str]) -> str:
    """The role that the token opens, or empty. All digests are compared, whatever is found on the way."""
    digest = hashlib.sha256(token[: _MAX_TOKEN + 1].encode(errors="replace")).hexdigest()
    matched = ""
    for role, known in tokens.items():
        if hmac.compare_digest(digest, known):
            matched = role
    return matched if matched in MAY else ""


def cookie_name(session: str) -> str:
    return f"sevenlbd-{session}"


def make_cookie(role: str, key: str) -> str:
    """A new cookie for the role."""
    body = f"{role}.{secrets.token_urlsafe(16)}"
    return f"{body}.{_mac(body, key)}"


def read_cookie(value: str, key: str) -> Visitor | None:
    """The visitor with this cookie; None when it was not made with this key."""
    if not value.isascii():
        return None  # a byte of a header that is no UTF-8 comes as half a surrogate, which cannot be encoded
    body, _, mac = value.rpartition(".")
    if not hmac.compare_digest(mac.encode(), _mac(body, key).encode()):
        return None
    role, _, nonce = body.partition(".")
    return Visitor(role, nonce) if role in MAY else None


def visitors(headers: Iterable[str], session: str, key: str) -> Iterator[Visitor]:
    """Who has a good cookie, of all that the Cookie headers bring (RFC 6265 section 5.4).

    A browser sends the cookies of every port of a host: somebody else's may have our name, and look like anything.
    """
    name = cookie_name(session)
    for header in headers:
        for pair in header.split(";"):
            cookie, _, value = pair.partition("=")
            if cookie.strip() == name and (visitor := read_cookie(value.strip(), key)):
                yield visitor


def _mac(body: str, key: str) -> str:
    return hmac.new(bytes.fromhex(key), body.encode(), hashlib.sha256).hexdigest()


def bearer(authorization: str) -> str:
    """The token of an Authorization header (RFC 6750), or empty."""
    scheme, _, token = authorization.partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


class Guesses:
    """Limits wrong tokens: a few are answered late, more not at all for a while. A right one never comes here."""

    ALLOWED, WINDOW_SECONDS, DELAY_SECONDS = 10, 60.0, 1.0

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=self.ALLOWED)

    def wrong(self) -> float:
        """Note a wrong one. Seconds to wait before the answer, or -1 when there are too many."""
        now = time.monotonic()
        if len(self._times) == self.ALLOWED and now - self._times[0] < self.WINDOW_SECONDS:
            return -1.0
        self._times.append(now)
        return self.DELAY_SECONDS


def split_host(value: str) -> tuple[str, int | None] | None:
    """Name (lower case) and port of a Host header; None when it is none (RFC 9110 section 7.2)."""
    if not value or any(c in value for c in "/?#@\\ \t,"):
        return None
    try:
        parts = urlsplit(f"//{value}")
        return (parts.hostname, parts.port) if parts.hostname else None
    except ValueError:
        return None


def last(value: str) -> str:
    """The last of a list of values: what the nearest proxy said."""
    return value.rpartition(",")[2].strip()


def _place(scheme: str, host: str) -> tuple[str, int] | None:
    """Name and port that a Host header means for an origin of that scheme."""
    parts = split_host(host)
    return (parts[0], parts[1] or _PORTS[scheme]) if parts else None


def _portal_names(front: Front) -> set[str]:
    return {name for name in (urlsplit(portal).hostname for portal in front.portals) if name}


def host_allowed(host: str, forwarded: str, front: Front) -> bool:
    """Whether we are meant by that name: against DNS rebinding, where the site has listed its portals.

    X-Forwarded-Host can be set by a page of the attacker's own (rebound) origin, so Host has to be right as well.
    """
    if not front.portals:
        return True
    known = set(front.hosts) | _portal_names(front)
    names = [split_host(value) for value in (host, last(forwarded)) if value]
    return bool(host) and all(name and name[0] in known for name in names)


def origin_allowed(origin: str, host: str, front: Front) -> bool:
    """Whether a page of that origin may use a visitor's cookie: it is our own, or one of the site's portals."""
    origin = origin.lower()
    if origin in front.portals:
        return True
    scheme, _, netloc = origin.partition("://")
    requested = split_host(host)
    if scheme not in _PORTS or not requested or (front.portals and requested[0] not in front.hosts):
        return False
    ours = _place(scheme, host)
    return ours is not None and _place(scheme, netloc) == ours
