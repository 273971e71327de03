"""What somebody gets who has taken over the relay or its broker: as docs/egress.md says, tried in their place."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from egress_world import HOME

PREPARED = """
import ctypes, errno, json, mmap, os, resource, select, signal, socket, struct, sys, threading
from sevenlbd.outside.egress.relay import confine, syscall_filter
from sevenlbd.outside.egress.relay.allowed import Allowed, Pattern

which, folder, listed, unlisted, local = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5]
allowed = Allowed(
    tcp=(("127.0.0.1", listed),), proxy=(Pattern("https", "localhost", listed, listed),)
)
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
FASTOPEN, MPTCP, SENDMSG, IO_URING_SETUP, PIDFD_OPEN, PTRACE = 0x20000000, 262, 46, 425, 434, 101
PROCESS_VM_READV, PRLIMIT, OPENAT2, CLONE3 = 310, 302, 437, 435

def call(number, *arguments):
    if libc.syscall(number, *arguments) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

# What a relay has: a connection outside, one that was reset, a door, a bound socket of the guest's network.
far = socket.create_connection(("127.0.0.1", listed))
dead = socket.create_connection(("127.0.0.1", listed))
dead.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
dead.shutdown(socket.SHUT_RDWR)
door = socket.create_server(("127.0.0.1", 0))
guest = socket.create_connection(door.getsockname())
near, answer = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
answer.bind(("127.0.0.1", 0))
# And what it never has.
fresh = socket.socket()
# One end of a pair whose other is gone, as both processes have.
path, gone = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
gone.close()
file = folder + "/secret"

def sent_by_message():
    fresh.sendmsg([b"x"], [], FASTOPEN, ("127.0.0.1", unlisted))

def executable():
    if libc.mmap(0, 4096, mmap.PROT_READ | mmap.PROT_EXEC, 0x22, -1, 0) in (None, 2**64 - 1):
        raise OSError(ctypes.get_errno(), "mmap")

def thread():
    started = threading.Thread(target=lambda: None)
    started.start()
    started.join()

def socket_of(*kind):
    return lambda: socket.socket(*kind).close()

def made(want):
    one = socket.socket()
    try:
        one.connect(("127.0.0.1", want))
    finally:
        one.close()

ALL = {
    "carry": lambda: far.sendall(b"x"),
    "carry by splice": lambda: os.splice(far.fileno(), os.pipe()[1], 100) if far.recv(1, socket.MSG_PEEK) else 0,
    "accept": lambda: door.accept(),
    "answer a datagram": lambda: near.sendto(b"x", answer.getsockname()),
    "a thread": thread,
    "look up a name": lambda: socket.getaddrinfo(b"localhost", None),
    "reach what is listed": lambda: made(listed),
    "reach what is not listed": lambda: made(unlisted),
    "connect a socket that is there": lambda: fresh.connect(("127.0.0.1", unlisted)),
    "connect by sending": lambda: fresh.sendto(b"x", FASTOPEN, ("127.0.0.1", unlisted)),
    "connect by sending a message": sent_by_message,
    "connect one that was reset": lambda: dead.connect(("127.0.0.1", unlisted)),
    "connect one that was reset by sending": lambda: dead.sendto(b"x", FASTOPEN, ("127.0.0.1", unlisted)),
    "MPTCP": socket_of(socket.AF_INET, socket.SOCK_STREAM, MPTCP),
    "SCTP": socket_of(socket.AF_INET, socket.SOCK_STREAM, 132),
    "UDP": socket_of(socket.AF_INET, socket.SOCK_DGRAM),
    "a Unix socket": socket_of(socket.AF_UNIX),
    "the user's sockets": lambda: path.connect(local),
    "netlink": socket_of(socket.AF_NETLINK, socket.SOCK_RAW, 0),
    "packets": socket_of(socket.AF_PACKET, socket.SOCK_DGRAM, 0),
    "vsock": socket_of(40, socket.SOCK_STREAM, 0),
    "bind": lambda: fresh.bind(("127.0.0.1", 0)),
    "listen": lambda: fresh.listen(),
    "an option that connects later": lambda: fresh.setsockopt(6, 30, 1),
    "an option that adds a protocol": lambda: far.setsockopt(6, 31, b"tls"),
    "read a system file": lambda: os.close(os.open("/etc/hosts", os.O_RDONLY)),
    "read the user's file": lambda: os.close(os.open(file, os.O_RDONLY)),
    "write the user's file": lambda: os.close(os.open(file, os.O_WRONLY)),
    "make a file": lambda: os.close(os.open(folder + "/new", os.O_WRONLY | os.O_CREAT)),
    "list a folder": lambda: os.listdir(folder),
    "remove a file": lambda: os.unlink(file),
    "read by another call": lambda: call(OPENAT2, -100, file.encode(), ctypes.create_string_buffer(24), 24),
    "signal": lambda: os.kill(os.getppid(), 0),
    "signal itself": lambda: os.kill(os.getpid(), 0),
    "be told by signal": lambda: __import__("fcntl").fcntl(far, 8, os.getppid()),
    "limits of others": lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE),
    "limits of its own": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64)),
    "trace": lambda: call(PTRACE, 16, os.getppid(), 0, 0),
    "read others' memory": lambda: call(PROCESS_VM_READV, os.getppid(), 0, 0, 0, 0, 0),
    "take others' descriptors": lambda: call(PIDFD_OPEN, os.getppid(), 0),
    "io_uring": lambda: call(IO_URING_SETUP, 1, ctypes.create_string_buffer(120)),
    "a process": lambda: os.fork() or os._exit(0),
    "a program": lambda: os.execv("/bin/true", ["true"]),
    "new code": executable,
    "leave the namespace": lambda: os.unshare(os.CLONE_NEWUSER),
}
fcntl_is_loaded = __import__("fcntl")
# As the processes do: Landlock, then threads and the loop, then the filter.
confine.relay() if which == "relay" else confine.broker(allowed)
waiting = threading.Event()
other, results = threading.Thread(target=lambda: (waiting.wait(), tried())), {}

def tried():
    for name, action in ALL.items():
        try:
            action()
            results[name] = "done"
        except (OSError, RuntimeError, ValueError) as error:  # ValueError: EPERM of setrlimit(2)
            no = (errno.EPERM, errno.EACCES, errno.ENOSYS, errno.EISCONN, socket.EAI_NONAME, socket.EAI_AGAIN)
            denied = not isinstance(error, OSError) or error.errno in no
            results[name] = "denied" if denied else f"done: {error}"
    print(json.dumps(results), flush=True)
    os._exit(0)

other.start()
getattr(syscall_filter, which)()
# A thread that was there before is held, too.
waiting.set()
other.join()
"""
CARRYING = {"carry", "carry by splice", "accept", "answer a datagram"}
MAKING = {"a thread", "look up a name", "reach what is listed", "read a system file", "UDP"}


@pytest.mark.parametrize(("which", "can"), [("relay", CARRYING), ("broker", CARRYING | MAKING)])
def test_who_takes_it_over_gets_this_and_no_more(tmp_path: Path, which: str, can: set[str]) -> None:
    (tmp_path / "secret").write_text("secret")
    with (
        socket.create_server((HOME, 0)) as listed,
        socket.create_server((HOME, 0)) as unlisted,
        socket.socket(socket.AF_UNIX) as local,
    ):
        local.bind(str(tmp_path / "control.sock"))
        local.listen()
        ports = [str(one.getsockname()[1]) for one in (listed, unlisted)]
        script = ["-c", PREPARED, which, str(tmp_path), *ports, str(tmp_path / "control.sock")]
        with subprocess.Popen(
            ["setpriv", "--no-new-privs", sys.executable, "-W", "ignore", *script],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        ) as process:  # fmt: skip
            wire, _ = listed.accept()
            wire.sendall(b"from the server")
            said, errors = process.communicate(timeout=30)
        unlisted.settimeout(0.2)
        with pytest.raises(TimeoutError):
            unlisted.accept()
    assert errors == "", "this node's kernel lacks something: the test cannot tell"
    results = json.loads(said)
    assert {name for name, result in results.items() if result != "denied"} == can, results
