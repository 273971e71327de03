"""What a guest tries on its network, run by the guest's own Python: `probe.py NAME ARGUMENT...` prints JSON.

It knows nothing of the tests, so that it can be copied into a guest as it is.
"""

from __future__ import annotations

import errno
import json
import select
import socket
import ssl
import struct
import sys
import time
import urllib.error
import urllib.request

SECONDS = 15
OURS = "169.254.100.15"
_WELL_KNOWN = (22, 25, 53, 80, 88, 389, 443, 445, 636, 2049, 3128, 6817, 6818, 8443)


def licence(host: str) -> list[str]:
    """A FlexLM-like exchange: lmgrd says where the vendor daemon is, which is then talked to at length."""
    with socket.create_connection((host, 27000), SECONDS) as lmgrd:
        lmgrd.sendall(b"HELLO vendord")
        daemon, server, port = lmgrd.recv(200).decode().split()
    with socket.create_connection((server, int(port)), SECONDS) as wire, wire.makefile("rw", newline="\n") as talk:
        answers = []
        for feature in ("compiler", "solver", "heartbeat"):
            talk.write(feature + "\n")
            talk.flush()
            answers.append(talk.readline().strip())
    return [daemon, server, *answers]


def serial_numbers(host: str, count: str) -> list[int]:
    """A UDP exchange: one datagram out, `count` back."""
    family, kind, _, _, place = socket.getaddrinfo(host, 5093, type=socket.SOCK_DGRAM)[0]
    with socket.socket(family, kind) as wire:
        wire.settimeout(SECONDS)
        wire.connect(place)
        wire.send(count.encode())
        return sorted(int(wire.recv(2000).split()[0]) for _ in range(int(count)))


def connect(host: str, port: str, seconds: str = str(SECONDS)) -> list[object]:
    """What a connection brings: all that comes until its end, or the error."""
    began = time.monotonic()
    came = b""
    try:
        with socket.create_connection((host, int(port)), float(seconds)) as wire:
            wire.settimeout(float(seconds))
            wire.sendall(b"x")
            while data := wire.recv(65536):
                came += data
            end = "closed"
    except OSError as error:
        end = "timeout" if isinstance(error, TimeoutError) else errno.errorcode.get(error.errno or 0, str(error))
    return [came.decode(), end, round(time.monotonic() - began, 1)]


def half(host: str, port: str, count: str) -> str:
    """Send `count` bytes, close that half, then read."""
    with socket.create_connection((host, int(port)), SECONDS) as wire:
        wire.settimeout(SECONDS)
        wire.sendall(bytes(int(count)))
        wire.shutdown(socket.SHUT_WR)
        return wire.makefile("rb").read().decode()


def other_half(host: str, port: str, count: str) -> str:
    """Read until the server has closed its half, and still send `count` bytes."""
    with socket.create_connection((host, int(port)), SECONDS) as wire:
        wire.settimeout(SECONDS)
        said = wire.makefile("rb").read().decode()
        wire.sendall(bytes(int(count)))
        return said


def flood(host: str, port: str, seconds: str) -> int:
    """How many bytes a server that does not read lets us send within so long."""
    sent = 0
    with socket.create_connection((host, int(port)), SECONDS) as wire:
        wire.setblocking(False)
        deadline = time.monotonic() + float(seconds)
        while (left := deadline - time.monotonic()) > 0:
            if select.select([], [wire], [], left)[1]:
                sent += wire.send(bytes(65536))
    return sent


def download(host: str, port: str, count: str) -> list[float]:
    """Seconds that `count` bytes take to come."""
    with socket.create_connection((host, int(port)), SECONDS) as wire:
        wire.sendall(count.encode())
        began, came = time.monotonic(), 0
        while data := wire.recv(262144):
            came += len(data)
    return [came, time.monotonic() - began]


def upload(host: str, port: str, count: str) -> float:
    """Seconds that `count` bytes take to go."""
    with socket.create_connection((host, int(port)), SECONDS) as wire:
        began = time.monotonic()
        wire.sendall(bytes(int(count)))
        wire.shutdown(socket.SHUT_WR)
        wire.recv(1)
    return time.monotonic() - began


def web(proxy: str, authority: str, *addresses: str) -> list[str]:
    """What each address brings through the proxy: its text, or the error."""
    context = ssl.create_default_context(cafile=authority)
    by_proxy = urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {})
    opener = urllib.request.build_opener(by_proxy, urllib.request.HTTPSHandler(context=context))
    found = []
    for address in addresses:
        try:
            with opener.open(address, timeout=SECONDS) as answer:
                found.append(answer.read().decode())
        except urllib.error.HTTPError as error:
            found.append(f"HTTP {error.code}")
        except (urllib.error.URLError, OSError) as error:
            found.append(str(getattr(error, "reason", error)))
    return found


def ask(server: str, *questions: str) -> dict[str, list[object]]:
    """What a name server says: for each NAME/TYPE the response code and the addresses (RFC 1035)."""
    types = {"A": 1, "AAAA": 28, "TXT": 16, "ANY": 255}
    found: dict[str, list[object]] = {}
    for question in questions:
        name, kind = question.rsplit("/", 1)
        labels = b"".join(bytes([len(label)]) + label.encode() for label in name.split("."))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as wire:
            wire.settimeout(SECONDS)
            wire.connect((server, 53))
            wire.send(struct.pack("!6H", 7, 0x100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!2H", types[kind], 1))
            answer = wire.recv(4096)
        (count,) = struct.unpack_from("!H", answer, 6)
        at, rows = 12 + len(labels) + 5, []
        for _ in range(count):
            size = struct.unpack_from("!H", answer, at + 10)[0]
            data = answer[at + 12 : at + 12 + size]
            rows.append(socket.inet_ntop(socket.AF_INET6 if size == 16 else socket.AF_INET, data))
            at += 12 + size
        found[question] = [answer[3] & 15, *sorted(rows)]
    return found


def scan(host: str, *ports: str) -> list[object]:
    """Which TCP ports of an address do anything but refuse. `ports` are numbers or FIRST-LAST."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found: list[object] = []
    wanted: list[int] = []
    for text in ports:
        first, _, last = text.partition("-")
        wanted += range(int(first), int(last or first) + 1)
    # Many at once: under emulation each answer takes a while to come.
    for some in (wanted[at : at + 500] for at in range(0, len(wanted), 500)):
        waiting, poll = {}, select.poll()
        for port in some:
            wire = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            wire.connect_ex((host, port))
            waiting[wire.fileno()] = wire, port
            poll.register(wire, select.POLLOUT)
        while waiting:
            answers = poll.poll(10000)
            for number, _ in answers or [(number, 0) for number in waiting]:
                wire, port = waiting.pop(number)
                poll.unregister(number)
                code = wire.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) if answers else errno.ETIMEDOUT
                wire.close()
                # A server that is down resets what has been accepted: a door all the same.
                if code != errno.ECONNREFUSED:
                    found.append(port if code in (0, errno.ECONNRESET) else [port, errno.errorcode[code]])
    return found


def _syn(source: bytes, target: bytes, port: int) -> bytes:
    """A packet that asks for a connection (RFC 791, RFC 9293)."""
    syn = struct.pack("!HHIIBBHHH", 40000, port, 1, 0, 0x50, 2, 1024, 0, 0)
    total = sum(struct.unpack("!16H", source + target + struct.pack("!BBH", 0, 6, len(syn)) + syn))
    total = (total >> 16) + (total & 0xFFFF)
    return syn[:16] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + syn[18:]


def _packet(source: bytes, target: bytes, number: int, segment: bytes) -> bytes:
    return struct.pack("!BBHHHBBH", 0x45, 0, 0, 0, 0, 64, number, 0) + source + target + segment


def every_port(host: str) -> list[list[int]]:
    """Which of all TCP ports of an address answer, and how many stay silent. Needs root; packets of its own making."""
    source, target = socket.inet_aton(OURS), socket.inet_aton(host)
    out = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    back = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    back.setsockopt(socket.SOL_SOCKET, 33, 64 << 20)  # SO_RCVBUFFORCE
    back.setblocking(False)
    silent, opened = set(range(1, 65536)), set()
    for _ in range(4):
        for number, port in enumerate(sorted(silent)):
            out.sendto(_packet(source, target, 6, _syn(source, target, port)), (host, 0))
            if number % 256 == 255:
                time.sleep(0.02)
        while select.select([back], [], [], 2)[0]:
            answer = back.recv(100)
            if answer[12:16] == target:
                head = (answer[0] & 15) * 4
                port, flags = struct.unpack_from("!H", answer, head)[0], answer[head + 13]
                silent.discard(port)
                if not flags & 4:  # anything but a reset
                    opened.add(port)
    return [sorted(opened), sorted(silent)]


def spray(step: str, *hosts: str) -> str:
    """Send a TCP SYN and a UDP datagram to every so manieth port of addresses, and wait for nothing. Needs root."""
    source = socket.inet_aton(OURS)
    wire = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW)
    for host in hosts:
        target = socket.inet_aton(host)
        for port in (*_WELL_KNOWN, *range(1, 65536, int(step))):
            for number, segment in ((6, _syn(source, target, port)), (17, struct.pack("!HHHH", 40000, port, 8, 0))):
                try:
                    wire.sendto(_packet(source, target, number, segment), (host, 0))
                except OSError:
                    continue
    return "sent"


if __name__ == "__main__":
    print(json.dumps(globals()[sys.argv[1]](*sys.argv[2:])))
