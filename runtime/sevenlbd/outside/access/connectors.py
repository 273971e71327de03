"""The ways in: what the settings say of them, checked; their sockets; and what the gateway must know of them."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...base import hostnames
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...wire.gateway import Front, NativeTls
from ...wire.plan import Plan
from ...wire.shared_files import SERIAL_LINE
from . import listeners, peer_socket
from .credentials import Credentials
from .listeners import ListenAddress

if TYPE_CHECKING:
    from ...config.settings import Settings

# An origin as browsers write it (RFC 6454, section 6.2): no path, no default port, lower case. Whether its host can
# be one does not matter: no browser comes from one that cannot.
_ORIGIN = re.compile(r"https?://(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::\d{1,5})?")

WEB_SOCKET = "web.sock"


@dataclass(frozen=True)
class Connectors:
    """The ways in, as the settings want them. `certificate` and `key` are the site's or user's own, for the page."""

    web: ListenAddress | None
    web_tls: bool
    certificate: Path | None
    key: Path | None
    rdp_tls: ListenAddress | None
    portals: tuple[str, ...]
    console: bool
    clipboard: bool
    screen: str = ""
    web_names: tuple[str, ...] = ()

    @property
    def makes_web_certificate(self) -> bool:
        """Whether the page needs a certificate of the session's own."""
        return self.web_tls and self.certificate is None

    def native_names(self) -> list[str]:
        """Where native RDP over mutual TLS is reached. The node's name may lead to any of its addresses, so it is told
        only where all of them are ours.
        """
        if self.rdp_tls is None:
            return []
        return [os.uname().nodename.lower()] if self.rdp_tls.is_everywhere else [self.rdp_tls.address]

    def names(self) -> list[str]:
        """The names and addresses under which somebody may call this node's page, lower case."""
        node = os.uname().nodename.lower()
        names = ["localhost", "127.0.0.1", "::1", node, node.partition(".")[0], *self.web_names]
        names += [endpoint.address for endpoint in (self.web, self.rdp_tls) if endpoint and not endpoint.is_everywhere]
        return list(dict.fromkeys(names))


def check(settings: Settings, *, clipboard: bool, screen: str = "") -> Connectors:
    """The settings of the ways in, checked. Raises Refusal."""
    web = listeners.parse("web", settings.web)
    rdp_tls = listeners.parse("rdp_tls", settings.rdp_tls)
    certificate, key = _own_certificate(settings)
    beyond = web is not None and not web.is_loopback
    tls = web is not None and (settings.web_tls or certificate is not None or (beyond and not settings.web_plain_http))
    return Connectors(
        web=web,
        web_tls=tls,
        certificate=certificate,
        key=key,
        rdp_tls=rdp_tls,
        portals=tuple(origin(portal) for portal in settings.portals),
        console=settings.console,
        clipboard=clipboard,
        screen=screen,
        web_names=tuple(_name(name) for name in settings.web_names),
    )


def _name(text: str) -> str:
    plain = text.strip().lower()
    if not hostnames.is_node_name(plain):
        what = f"`web_names`: {text} is not a node's name"
        raise Refusal(ExitCode.USAGE, what, hint="letters, digits, dots and -, as in node7.cluster.example.edu")
    return plain


def _own_certificate(settings: Settings) -> tuple[Path | None, Path | None]:
    if bool(settings.web_certificate) != bool(settings.web_key):
        there, missing = ("web_certificate", "web_key") if settings.web_certificate else ("web_key", "web_certificate")
        what = f"`{there}` is set but `{missing}` is not: HTTPS needs both"
        raise Refusal(ExitCode.USAGE, what, hint=f"set {missing}, too, or neither: then each session makes its own")
    if not settings.web_certificate:
        return None, None
    return user_path(settings.web_certificate), user_path(settings.web_key)


def origin(text: str) -> str:
    """A portal's origin as browsers write it, without its default port. Raises Refusal."""
    plain = text.strip().lower().rstrip("/")
    if not _ORIGIN.fullmatch(plain):
        what = f"`portals`: {text} is not an origin"
        raise Refusal(ExitCode.USAGE, what, hint="scheme and host, without a path: https://ondemand.example.edu")
    return plain.removesuffix(":443") if plain.startswith("https:") else plain.removesuffix(":80")


@contextmanager
def tcp_sockets(ways_in: Connectors) -> Iterator[dict[str, socket.socket]]:
    """The listening TCP sockets, and what tells their callers apart, by the names that the gateway knows.

    Raises Refusal.
    """
    with ExitStack() as sockets:
        by_name = {}
        for name, setting, endpoint in (("web-tcp", "web", ways_in.web), ("rdp-tls", "rdp_tls", ways_in.rdp_tls)):
            if endpoint:
                by_name[name] = sockets.enter_context(listeners.tcp(setting, endpoint))
                if peers := sockets.enter_context(peer_socket.opened(port_of(by_name, name))):
                    by_name[f"{name}-peers"] = peers
        yield by_name


@contextmanager
def unix_sockets(folder: Path, *, console: bool, desktop: bool = True) -> Iterator[dict[str, socket.socket]]:
    """The listening Unix sockets in the session's folder, by name. Raises OSError."""
    names = [SERIAL_LINE, *(["web", "rdp"] if desktop else []), *(["vnc"] if console else [])]
    with ExitStack() as sockets:
        yield {name: sockets.enter_context(listeners.unix(folder / f"{name}.sock")) for name in names}


def port_of(sockets: dict[str, socket.socket], name: str) -> int:
    """The port of a listening TCP socket; 0 when it is not there."""
    return int(sockets[name].getsockname()[1]) if name in sockets else 0


def url(ways_in: Connectors, port: int) -> str:
    """The page's address, without a key; empty when it listens on its Unix socket only.

    A name only where every address that it may have is ours.
    """
    if ways_in.web is None:
        return ""
    host = os.uname().nodename if ways_in.web.is_everywhere else ways_in.web.address
    return f"{'https' if ways_in.web_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}/"


def front(
    ways_in: Connectors, plan: Plan, access: Credentials, login: str, cookie_key: str, native: NativeTls | None
) -> Front:
    """All that the gateway must know to let somebody in."""
    return Front(
        session=plan.session,
        account=access.account,
        password=access.password,
        tokens=access.digests(),
        cookie_key=cookie_key,
        portals=ways_in.portals,
        hosts=tuple(ways_in.names()),
        console=ways_in.console,
        clipboard=ways_in.clipboard,
        login=login,
        host=os.uname().nodename,
        folder=plan.folder,
        native=native,
        screen=ways_in.screen,
    )
