"""Somebody else on this node: a process of another number, as the kernel sees it, and what it floods with."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# One of the numbers that /etc/subuid gives the tests' user.
_AS_A_NEIGHBOUR = ["unshare", "--user", "--map-auto", "--map-root-user", "--setuid=7", "--setgid=7"]
_HELD = 400

_HELLOS = """
import itertools, socket, ssl, sys
port, count, most = map(int, sys.argv[1:])
context, hello = ssl._create_unverified_context(), ssl.MemoryBIO()
try:
    context.wrap_bio(ssl.MemoryBIO(), hello).do_handshake()
except ssl.SSLWantReadError:
    pass
hello, held = hello.read(), []
for number in itertools.count():
    if number == count:
        print("greeted", flush=True)
    one = socket.create_connection(("127.0.0.1", port), 60)
    held.append(one)
    try:
        one.send(hello if number % 4 else b"")
    except OSError:
        pass
    if len(held) > most:
        held.pop(0).close()
"""


@contextmanager
def greeting(port: int, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """While it lasts: connections, of which three in four begin TLS, and none goes on. Holds hundreds.

    It says so once there were `count` of them, and goes on.
    """
    command = [*_AS_A_NEIGHBOUR, sys.executable, "-c", _HELLOS, str(port), str(count), str(_HELD)]
    flood = subprocess.Popen(command, stdout=subprocess.PIPE)
    try:
        yield flood
    finally:
        flood.kill()
        flood.wait()
