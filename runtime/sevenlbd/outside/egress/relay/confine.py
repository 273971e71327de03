"""Gives up what the relay and its broker do not need: files, ports, listeners, other processes.

Landlock (landlock(7)) where the kernel has it: it holds for threads that begin afterwards. No new privileges is set
before we start (process.spawn). The limits are the user's all the same: this is the second wall, not the first; the
third is syscall_filter.
"""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import struct
from collections.abc import Callable, Iterable
from contextlib import suppress

from ....base import syscalls
from .allowed import Allowed

log = logging.getLogger(__name__)

# What the interpreter and the system's resolver read.
_READABLE = ("/usr", "/lib", "/lib64", "/etc")
_MOST_PORTS = 4096  # a guess: a rule each, and to allow so many is to allow them all
_DNS = 53  # RFC 1035, 4.2

# <linux/landlock.h>
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH, _NET_PORT = 1, 1, 2
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
_BIND_TCP, _CONNECT_TCP = 1, 2
_SCOPE_ALL = 3  # abstract Unix sockets and signals
_NET_ABI, _SCOPE_ABI = 4, 6

_libc = ctypes.CDLL(None, use_errno=True)


def relay() -> None:
    """From now on no file, no port, no signal: all that it works with is handed to it."""
    _give_up((), ())


def broker(allowed: Allowed) -> None:
    """From now on the files of the resolver, and the ports of the orders."""
    _give_up(_READABLE, _ports(allowed))


def filtered(begin: Callable[[], None]) -> None:
    """The filter of system calls, when all is there that a process works with; what the kernel lacks is said."""
    try:
        begin()
    except OSError as error:
        log.warning("no filter of system calls: %s", error.strerror)


def _give_up(readable: Iterable[str], ports: Iterable[int] | None) -> None:
    """What the kernel lacks is said in the log."""
    syscalls.hide_from_same_user()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        _landlock(readable, ports)
    except OSError as error:
        log.warning("no Landlock: %s", error.strerror)


def _ports(allowed: Allowed) -> set[int] | None:
    """All TCP ports that are ever connected to; None when they are too many to list."""
    ports = {port for _, port in allowed.places}
    if allowed.proxy:
        ports.add(_DNS)
    for pattern in allowed.proxy:
        if pattern.last - pattern.first >= _MOST_PORTS:
            return None
        ports.update(range(pattern.first, pattern.last + 1))
    return ports if len(ports) <= _MOST_PORTS else None


def _landlock(readable: Iterable[str], ports: Iterable[int] | None) -> None:
    version = _call(_CREATE_RULESET, None, 0, _VERSION)
    net = 0 if version < _NET_ABI else _BIND_TCP if ports is None else _BIND_TCP | _CONNECT_TCP
    rules = struct.pack("QQQ", _all_of_files(version), net, _SCOPE_ALL if version >= _SCOPE_ABI else 0)
    known = 8 if version < _NET_ABI else 16 if version < _SCOPE_ABI else 24
    ruleset = _call(_CREATE_RULESET, rules, known, 0)
    try:
        for path in readable:
            _let_read(ruleset, path)
        for port in ports or () if net & _CONNECT_TCP else ():
            _call(_ADD_RULE, ruleset, _NET_PORT, struct.pack("QQ", _CONNECT_TCP, port), 0)
        _call(_RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)


def _all_of_files(version: int) -> int:
    """Every right on files that this version of Landlock knows."""
    last = {1: 12, 2: 13, 3: 14, 4: 14}.get(version, 15)
    return (1 << last + 1) - 1


def _let_read(ruleset: int, path: str) -> None:
    with suppress(FileNotFoundError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights = _READ_FILE | _READ_DIR
            # struct landlock_path_beneath_attr is packed.
            _call(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
        finally:
            os.close(descriptor)


def _call(number: int, *arguments: int | bytes | None) -> int:
    passed = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    done: int = _libc.syscall(ctypes.c_long(number), *passed)
    if done < 0:
        failure = ctypes.get_errno()
        raise OSError(failure, os.strerror(failure))
    return done
