"""The service as a process: its parts put together, its socket, its certificate, and what it does beside answering."""

from __future__ import annotations

import asyncio
import logging
import resource
import socket
import ssl
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from ....base.errors import ExitCode, Refusal
from ..https_exchange import pin_of
from . import pool_folder
from .admin_pages import AdminPages
from .front_line import FrontLine
from .machine_api import PoolParts
from .members import Members
from .pool_app import PoolApp
from .pool_folder import CERTIFICATE

log = logging.getLogger(__name__)

Tls = ssl.SSLContext

_LASTS = 10 * 365 * 86400  # seconds; nobody but a browser looks at its dates
_BEFORE = 86400  # seconds; a clock that was wrong when it was made
_SAVE_SECONDS = 5.0  # a guess: what is lost of renewals is forgiven (members.py)
_THREADS = 8  # a guess: files are read for as many machines at a time
_DESCRIPTORS = 8192  # a guess: two for each line
_LINGER_SECONDS = 1.0  # what is being sent when the service ends is asked for again


def certificate(place: Path, site: tuple[str, str], names: list[str]) -> tuple[Tls, str]:
    """What the service shows itself by, and the digest of its key. Raises Refusal."""
    files = [Path(file) for file in site if file] or [place / CERTIFICATE]
    try:
        if not any(site) and not files[0].exists():
            _make(files[0], names)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(files[0], files[-1])
        first = ssl.PEM_cert_to_DER_cert(_certificate_in(files[0].read_text()))
        return context, pin_of(first)
    except (OSError, ValueError) as error:
        what = f"{files[0]}: cannot be used as the service's certificate: {getattr(error, 'strerror', '') or error}"
        hint = (
            "`certificate` and `private_key` of the table [pool] name PEM files; without them the service makes its own"
        )
        raise Refusal(ExitCode.USAGE, what, hint=hint) from None


def _make(file: Path, names: list[str]) -> None:
    from ...access.certificates import Maker  # a library of ten megabytes, once in ten years

    begins, ends = (datetime.fromtimestamp(int(time.time()) + at, UTC) for at in (-_BEFORE, _LASTS))
    pool_folder.settle(file, Maker("grid pool", begins, ends).for_page(names).pem())


def _certificate_in(pem: str) -> str:
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    if begin not in pem:
        raise ValueError("there is none in it")
    return pem[pem.index(begin) : pem.index(end, pem.index(begin)) + len(end)]


async def serve(
    parts: PoolParts, listener: socket.socket, tls: Tls, ready: asyncio.Event, ended: asyncio.Event
) -> None:
    """Serve until the end is wanted. What machines run goes on without it."""
    _more_descriptors()
    loop = asyncio.get_running_loop()
    loop.set_default_executor(ThreadPoolExecutor(_THREADS, "pool"))
    service = PoolApp(parts, AdminPages(parts))
    server = web.Server(service.answer)
    entry = FrontLine(server, listener, tls)
    tasks = [loop.create_task(entry.serve()), loop.create_task(_upkeep(parts))]
    ready.set()
    try:
        await ended.wait()
    finally:
        for task in tasks:
            task.cancel()
        listener.close()
        server.pre_shutdown()
        await server.shutdown(_LINGER_SECONDS)
        _save(parts.members)


async def _upkeep(parts: PoolParts) -> None:
    while True:
        await asyncio.sleep(_SAVE_SECONDS)
        if parts.members.changed:
            await asyncio.to_thread(_save, parts.members)


def _save(members: Members) -> None:
    try:
        members.save()
    except OSError as error:
        log.error("who is enrolled cannot be written down: %s", error.strerror)
        members.changed = True


def _more_descriptors() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, _DESCRIPTORS)
    if soft < target:
        with suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
