"""A process of its own that looks at the guest from inside the wall: which ports answer, and what the guest sends.

It enters the user and network namespaces of a session that is examined, as its owner, and stays a reader: what a guest
sends is counted by its headers (RFC 791, 826, 8200), and nothing is answered.

    python -m sevenlbd.outside.acceptance.inside_look PID ports|packets VALUE
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
import sys
import time
from collections import Counter
from pathlib import Path

from ...base.addresses import GUEST

_TAP = "tap0"
_AT_ONCE = 256  # connections under way; a guest that drops what it does not know makes each last
_ANSWER = 2.0  # seconds for a port to answer, on a link without a way
_ALL_PACKETS = 3  # linux/if_ether.h: ETH_P_ALL
_OUTGOING = 4  # packet(7): PACKET_OUTGOING, towards the guest
_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD  # IEEE 802
_HEADER = 128  # bytes of each packet that are looked at
_MAX_KINDS = 500  # destinations that are told apart
_TCP, _UDP = 6, 17  # IANA


def main() -> None:
    pid, what, value = sys.argv[1:]
    for kind, flag in (("user", os.CLONE_NEWUSER), ("net", os.CLONE_NEWNET)):
        with Path(f"/proc/{pid}/ns/{kind}").open("rb") as namespace:
            os.setns(namespace.fileno(), flag)
    answer = asyncio.run(open_ports(value)) if what == "ports" else packets(float(value))
    print(json.dumps(answer))


async def open_ports(chosen: str) -> list[int]:
    """Those of `FIRST-LAST,...` that take a connection over TCP."""
    ranges = [part.split("-") for part in chosen.split(",")]
    ports = [port for part in ranges for port in range(int(part[0]), int(part[-1]) + 1)]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def answers(port: int) -> bool:
        async with gate:
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(GUEST, port), _ANSWER)
            except (OSError, TimeoutError):
                return False
            writer.close()
            return True

    found = await asyncio.gather(*map(answers, ports))
    return [port for port, is_open in zip(ports, found, strict=True) if is_open]


def packets(seconds: float) -> dict[str, int]:
    """How many the guest sends in this time, by where they go."""
    counts: Counter[str] = Counter()
    deadline = time.monotonic() + seconds
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(_ALL_PACKETS)) as wire:
        wire.bind((_TAP, _ALL_PACKETS))
        while (left := deadline - time.monotonic()) > 0:
            wire.settimeout(left)
            try:
                data, (_, _, direction, *_) = wire.recvfrom(_HEADER)
            except TimeoutError:
                break
            if direction != _OUTGOING:
                kind = destination(data)
                counts[kind if kind in counts or len(counts) < _MAX_KINDS else "others"] += 1
    return dict(counts)


def destination(frame: bytes) -> str:
    """Where a frame goes, in words: `tcp 169.254.100.2:445`."""
    kind, body = int.from_bytes(frame[12:14]), frame[14:]
    if kind == _ARP and len(body) >= 28:
        return f"arp {ipaddress.ip_address(body[24:28])}"
    if kind == _IPV4 and len(body) >= 20:
        return _transport(ipaddress.ip_address(body[16:20]), body[9], body[(body[0] & 0xF) * 4 :])
    if kind == _IPV6 and len(body) >= 40:
        return _transport(ipaddress.ip_address(body[24:40]), body[6], body[40:])
    return f"ethernet type {kind:#06x}"


def _transport(address: ipaddress.IPv4Address | ipaddress.IPv6Address, protocol: int, data: bytes) -> str:
    name = {_TCP: "tcp", _UDP: "udp"}.get(protocol)
    if name and len(data) >= 4:
        return f"{name} {f'[{address}]' if address.version == 6 else address}:{int.from_bytes(data[2:4])}"
    return f"ip {protocol} {address}"


if __name__ == "__main__":
    main()
