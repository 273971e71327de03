"""The far side of a site's network, as one program: licence servers, a portal, a name server, and a witness.

It runs in a network namespace of its own and owns every address that the tests speak to. It prints one JSON object a
line: what its servers were asked, and (the witness, on a packet socket) each place that anything was sent to at all.

    siteserver.py CERTIFICATE KEY
"""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import struct
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

LICENSE, LICENSE_V6, PORTAL, RESOLVER = "192.0.2.10", "2001:db8::10", "192.0.2.80", "192.0.2.53"
OTHER, OTHER_V6 = "192.0.2.99", "2001:db8::99"
"""On nobody's list, and listening all the same."""
ADDRESSES = (LICENSE, PORTAL, RESOLVER, OTHER)
ADDRESSES_V6 = (LICENSE_V6, OTHER_V6)
NODE, GATEWAY, NODE_V6, GATEWAY_V6 = "198.51.100.2", "198.51.100.1", "2001:db8:1::2", "2001:db8:1::1"

LMGRD, VENDOR, RESETS, HALVES, TRICKLES, SINKS, COUNTS, BULK, SINKS_ALL, DOWN = range(27000, 27010)
SERIAL = 5093
"""Ports of the licence server's address; nobody listens on DOWN."""
UNLISTED = 27100
NAMES = {
    "license.example.edu": [LICENSE],
    "license6.example.edu": [LICENSE_V6],
    "short": [LICENSE],
    "portal.example.edu": [PORTAL],
    "other.example.edu": [OTHER],
    "other.example.com": [OTHER],
    # Answers that lead home.
    "loop.example.edu": ["127.0.0.1", "::1"],
    "meta.example.edu": ["169.254.169.254"],
    "node.example.edu": [NODE, NODE_V6],
    "link.example.edu": ["169.254.100.2"],
}
SEARCHED = ".example.edu.example.edu"
"""Where every name leads to OTHER: what comes of one that does not exist, with the node's search domain behind it."""
SILENT = "silent"
"""How names begin that are not answered at all."""
_lock = threading.Lock()


def tell(**what: object) -> None:
    """A line for the test."""
    with _lock:
        print(json.dumps(what), flush=True)


def lmgrd(wire: socket.socket) -> None:
    """As lmgrd does: says on which port the vendor daemon is, and on which host, by its name."""
    vendor = wire.recv(100).decode().removeprefix("HELLO ").strip()
    wire.sendall(f"{vendor} license.example.edu {VENDOR}\n".encode())


def vendor(wire: socket.socket) -> None:
    """As a vendor daemon does: a long conversation, a line each way."""
    with wire.makefile("rw", newline="\n") as talk:
        for line in talk:
            talk.write(f"granted {line.strip()[::-1]}\n")
            talk.flush()


def resets(wire: socket.socket) -> None:
    """Some bytes, then a reset."""
    wire.recv(100)
    wire.sendall(b"some")
    time.sleep(0.3)
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def halves(wire: socket.socket) -> None:
    """Says all it has to say, closes that half, and counts what still comes."""
    wire.sendall(b"that is all")
    wire.shutdown(socket.SHUT_WR)
    tell(halves=_drained(wire))


def answers_after_eof(wire: socket.socket) -> None:
    """The other half: counts to the end before it says anything."""
    count = _drained(wire)
    wire.sendall(f"{count} bytes".encode())


def trickles(wire: socket.socket) -> None:
    """A slow server."""
    wire.recv(100)
    for letter in b"slowly":
        wire.sendall(bytes([letter]))
        time.sleep(0.5)


def never_reads(wire: socket.socket) -> None:
    """A server that takes nothing until the test has seen that nothing more is sent."""
    wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    time.sleep(5)
    tell(sink=_drained(wire))


def takes_all(wire: socket.socket) -> None:
    """As many bytes as come."""
    tell(uploaded=_drained(wire))


def bulk(wire: socket.socket) -> None:
    """As many bytes as are asked for."""
    wire.sendall(bytes(int(wire.recv(100) or b"0")))


def _drained(wire: socket.socket) -> int:
    count = 0
    with suppress(OSError):
        while data := wire.recv(65536):
            count += len(data)
    return count


def web(wire: socket.socket) -> None:
    """One request, one answer."""
    request = b""
    while b"\r\n\r\n" not in request and (data := wire.recv(4096)):
        request += data
    tell(web=request.split(b"\r\n")[0].decode(errors="replace"))
    wire.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nConnection: close\r\n\r\nactivated")


def serve(address: str, port: int, talk: Callable[[socket.socket], None], tls: ssl.SSLContext | None = None) -> None:
    """One server in threads of its own."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.create_server((address, port), family=family)

    def one(wire: socket.socket) -> None:
        with suppress(OSError), wire:
            if tls:
                with tls.wrap_socket(wire, server_side=True) as secured:
                    talk(secured)
            else:
                talk(wire)

    def accept() -> None:
        while True:
            wire, peer = listener.accept()
            tell(connection=[address, port], by=peer[0])
            threading.Thread(target=one, args=(wire,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def serial_numbers(address: str) -> None:
    """A UDP service: for a request of N, N datagrams, as large as datagrams get without fragments."""
    ours = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind((address, SERIAL))

    def answer() -> None:
        while True:
            data, peer = ours.recvfrom(2000)
            with suppress(ValueError, OSError):
                for number in range(int(data)):
                    ours.sendto(f"{number} ".encode().ljust(1400, b"."), peer)

    threading.Thread(target=answer, daemon=True).start()


def name_server() -> None:
    """A and AAAA of NAMES (RFC 1035), and the wildcard; every other name does not exist, or is not answered."""
    ours = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ours.bind((RESOLVER, 53))

    def answer() -> None:
        while True:
            query, peer = ours.recvfrom(512)
            labels, at = [], 12
            while query[at]:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += 1 + query[at]
            name, question = ".".join(labels).lower(), query[12 : at + 5]
            (kind,) = struct.unpack_from("!H", query, at + 1)
            tell(asked=name)
            if name.startswith(SILENT):
                continue
            known = NAMES.get(name, [OTHER] if name.endswith(SEARCHED) else None)
            found = [ipaddress.ip_address(text) for text in known or []]
            rows = [address.packed for address in found if {4: 1, 6: 28}[address.version] == kind]
            flags = 0x8583 if known is None else 0x8580
            head = query[:2] + struct.pack("!HHHHH", flags, 1, len(rows), 0, 0)
            told = b"".join(struct.pack("!HHHIH", 0xC00C, kind, 1, 60, len(row)) + row for row in rows)
            ours.sendto(head + question + told, peer)

    threading.Thread(target=answer, daemon=True).start()


def witness() -> None:
    """Tell of each place that a packet was sent to, once. Sources: packet(7), RFC 791, RFC 8200."""
    eyes = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(3))
    seen: set[tuple[str, str, int]] = set()

    def watch() -> None:
        while True:
            packet, (interface, protocol, kind, *_) = eyes.recvfrom(200)
            # Not to us, or no IP; or what the servers here say to each other.
            if kind != 0 or protocol not in (0x0800, 0x86DD) or interface == "lo":
                continue
            if protocol == 0x0800:
                head, number = (packet[0] & 15) * 4, packet[9]
                target = socket.inet_ntop(socket.AF_INET, packet[16:20])
            else:
                head, number = 40, packet[6]
                target = socket.inet_ntop(socket.AF_INET6, packet[24:40])
            if number == 58:
                continue  # neighbour discovery
            name = {6: "tcp", 17: "udp"}.get(number, str(number))
            port = struct.unpack_from("!H", packet, head + 2)[0] if name in ("tcp", "udp") else 0
            if (name, target, port) not in seen:
                seen.add((name, target, port))
                tell(seen=[name, target, port])

    threading.Thread(target=watch, daemon=True).start()


def main() -> None:
    """All servers, until we are killed."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(sys.argv[1], sys.argv[2])
    for address in (LICENSE, LICENSE_V6):
        serve(address, LMGRD, lmgrd)
        serve(address, VENDOR, vendor)
        serial_numbers(address)
    talks = {RESETS: resets, HALVES: halves, TRICKLES: trickles, SINKS: never_reads}
    talks |= {COUNTS: answers_after_eof, BULK: bulk, SINKS_ALL: takes_all, UNLISTED: vendor}
    for port, talk in talks.items():
        serve(LICENSE, port, talk)
    for address in (PORTAL, OTHER):
        serve(address, 80, web)
        serve(address, 443, web, tls)
        serve(address, 8443, web, tls)
    for address in (OTHER, OTHER_V6):
        serve(address, LMGRD, lmgrd)
        serial_numbers(address)
    name_server()
    witness()
    tell(ready=True)
    threading.Event().wait()


if __name__ == "__main__":
    main()
