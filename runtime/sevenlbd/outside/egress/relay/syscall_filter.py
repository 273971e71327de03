"""What the relay and its broker may ask the kernel for: seccomp(2), by libseccomp. Everything else is EPERM.

Beside Landlock (confine.py), which knows paths and ports of plain TCP: the filter knows kinds of sockets and flags. A
relay has no way to make a socket, to connect one, or to open a file; nor can the sockets that it was given be turned to
another place. It begins when all threads and the event loop are there, and holds for all of them.
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import socket

import seccomp
from seccomp import EQ, MASKED_EQ, Arg

_FASTOPEN = 0x20000000  # MSG_FASTOPEN: to send is to connect (<linux/socket.h>)
# <asm-generic/ioctls.h>, <linux/fcntl.h>, <linux/sched.h>.
_FIONBIO, _FIONREAD, _F_SETPIPE_SZ, _CLONE_THREAD = 0x5421, 0x541B, 1031, 0x10000
_SOCK_TYPE, _ACCESS_MODE = 0xF, 0x3  # <linux/net.h>, SOCK_TYPE_MASK; <asm-generic/fcntl.h>, O_ACCMODE
# <linux/in.h>, <linux/in6.h>.
_IP_MTU_DISCOVER, _IPV6_MTU_DISCOVER, _IP_RECVERR, _IPV6_RECVERR = 10, 23, 11, 25

_PLAIN = (
    # bytes on descriptors that are there
    *("read", "readv", "write", "writev", "recvfrom", "recvmsg", "splice", "close", "shutdown", "pipe2", "lseek"),
    *("getsockname", "getpeername", "getsockopt", "accept4", "fstat", "ftruncate"),
    *("epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2", "poll", "ppoll"),
    # memory, threads that are there, time, signals that come
    *("brk", "munmap", "mremap", "madvise", "futex", "sched_yield"),
    *("clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "getrandom"),
    *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack", "restart_syscall"),
    *("getpid", "gettid", "getuid", "geteuid", "getgid", "getegid", "exit", "exit_group"),
)
_FCNTL = (fcntl.F_GETFL, fcntl.F_SETFL, fcntl.F_GETFD, fcntl.F_SETFD, _F_SETPIPE_SZ)
_OPTIONS = (
    *((socket.SOL_SOCKET, name) for name in (socket.SO_LINGER, socket.SO_KEEPALIVE, socket.SO_OOBINLINE)),
    *((socket.SOL_SOCKET, name) for name in (socket.SO_SNDBUF, socket.SO_RCVBUF)),
    *((socket.IPPROTO_TCP, name) for name in (socket.TCP_NODELAY, socket.TCP_KEEPIDLE)),
    *((socket.IPPROTO_TCP, name) for name in (socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)),
    (socket.IPPROTO_IP, _IP_MTU_DISCOVER),
    (socket.IPPROTO_IPV6, _IPV6_MTU_DISCOVER),
)
# What the resolver reads, and the threads that ask it.
_BROKER = (
    *("newfstatat", "statx", "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getdents64", "uname"),
    *("connect", "set_robust_list", "rseq", "sched_getaffinity", "getcwd"),
)


def relay() -> None:
    """For the rest of the process, all its threads. Raises OSError where the kernel has no such filters."""
    _load(_common())


def broker() -> None:
    """The same, with sockets of TCP and UDP, the resolver's files, and threads."""
    seccomp_filter = _common()
    for name in _BROKER:
        seccomp_filter.add_rule(seccomp.ALLOW, name)
    for address_family in (socket.AF_INET, socket.AF_INET6):
        for kind, protocol in ((socket.SOCK_STREAM, socket.IPPROTO_TCP), (socket.SOCK_DGRAM, socket.IPPROTO_UDP)):
            for number in (0, protocol):
                which = (Arg(0, EQ, address_family), Arg(1, MASKED_EQ, _SOCK_TYPE, kind), Arg(2, EQ, number))
                seccomp_filter.add_rule(seccomp.ALLOW, "socket", *which)
    pair = (Arg(0, EQ, socket.AF_UNIX), Arg(1, MASKED_EQ, _SOCK_TYPE, socket.SOCK_SEQPACKET))
    seccomp_filter.add_rule(seccomp.ALLOW, "socketpair", *pair)
    # What the resolver asks of its sockets: how long an answer is, and errors by ICMP.
    seccomp_filter.add_rule(seccomp.ALLOW, "ioctl", Arg(1, EQ, _FIONREAD))
    for level, option in ((socket.IPPROTO_IP, _IP_RECVERR), (socket.IPPROTO_IPV6, _IPV6_RECVERR)):
        seccomp_filter.add_rule(seccomp.ALLOW, "setsockopt", Arg(1, EQ, level), Arg(2, EQ, option))
    seccomp_filter.add_rule(seccomp.ALLOW, "sendmmsg", Arg(3, MASKED_EQ, _FASTOPEN, 0))
    seccomp_filter.add_rule(seccomp.ALLOW, "openat", Arg(2, MASKED_EQ, _ACCESS_MODE, 0))
    seccomp_filter.add_rule(seccomp.ALLOW, "clone", Arg(0, MASKED_EQ, _CLONE_THREAD, _CLONE_THREAD))
    # Its arguments are out of a filter's sight; the C library goes on to clone(2) when there is no such call.
    seccomp_filter.add_rule(seccomp.ERRNO(errno.ENOSYS), "clone3")
    _load(seccomp_filter)


def _common() -> seccomp.SyscallFilter:
    seccomp_filter = seccomp.SyscallFilter(defaction=seccomp.ERRNO(errno.EPERM))
    seccomp_filter.set_attr(seccomp.Attr.CTL_TSYNC, 1)
    for name in _PLAIN:
        seccomp_filter.add_rule(seccomp.ALLOW, name)
    # Nothing becomes a program that was not one before.
    for name in ("mmap", "mprotect"):
        seccomp_filter.add_rule(seccomp.ALLOW, name, Arg(2, MASKED_EQ, mmap.PROT_EXEC, 0))
    seccomp_filter.add_rule(seccomp.ALLOW, "sendto", Arg(3, MASKED_EQ, _FASTOPEN, 0))
    seccomp_filter.add_rule(seccomp.ALLOW, "sendmsg", Arg(2, MASKED_EQ, _FASTOPEN, 0))
    seccomp_filter.add_rule(seccomp.ALLOW, "ioctl", Arg(1, EQ, _FIONBIO))
    for command in _FCNTL:
        seccomp_filter.add_rule(seccomp.ALLOW, "fcntl", Arg(1, EQ, command))
    for level, option in _OPTIONS:
        seccomp_filter.add_rule(seccomp.ALLOW, "setsockopt", Arg(1, EQ, level), Arg(2, EQ, option))
    return seccomp_filter


def _load(seccomp_filter: seccomp.SyscallFilter) -> None:
    try:
        seccomp_filter.load()
    except RuntimeError as error:
        raise OSError(errno.ENOSYS, f"the filter cannot be loaded: {error}") from error
