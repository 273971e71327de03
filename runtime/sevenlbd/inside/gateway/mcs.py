"""RDP's channel connection, said to the guest before its client says it. Messages only, no I/O.

Behind the guest's Connect Response come requests that leave a client no choice: Erect Domain, Attach User, and a
Channel Join for each channel where the guest wants them. Each would wait for its answer at the other end of a slow
line. The guest hears them from here instead, in their order, each behind the answer that it needs; the client's own are
held against them, and go no further. Where a client or a guest says anything else, nothing more is said in its stead.

Sources: MS-RDPBCGR 1.3.1.1 for the order; 2.2.1.4 to 2.2.1.9 for the messages; T.125 for their coding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum, auto

_MOST = 4096  # bytes; a guess: an answer has a hundred, and what a client says here less
_VERSION = b"\x03\x00"  # RFC 1006, 6
_HEADER = b"\x02\xf0\x80"  # X.224's of data, behind the four bytes of RFC 1006
_AT = 7  # where MCS begins
_CONNECT_INITIAL, _CONNECT_RESPONSE = b"\x7f\x65", b"\x7f\x66"  # T.125: in BER, tags of the application, 101 and 102
_SUCCESSFUL = b"\x0a\x01\x00"  # BER: an enumeration, rt-successful
_KEY = b"McDn"  # 2.2.1.4: what a server's blocks stand behind, after their length
_CORE, _NETWORK, _MESSAGES = 0x0C01, 0x0C03, 0x0C04  # 2.2.1.4.1: SC_CORE, SC_NET, SC_MCS_MSGCHANNEL
_EARLY_CAPABILITIES_AT, _SKIPS_JOINS = 12, 0x8  # 2.2.1.4.2: RNS_UD_SC_SKIP_CHANNELJOIN_SUPPORTED
_LAST_CHANNEL = 31  # 2.2.1.3.4: no client has more
_FIRST_USER = 1001  # T.125: the numbers of users are told from here

ERECT_DOMAIN = bytes.fromhex("0300000c02f0800401000100")
ATTACH_USER = bytes.fromhex("0300000802f08028")
_ATTACHED = re.compile(re.escape(bytes.fromhex("0300000b02f0802e00")) + b"(..)", re.DOTALL)
_JOINED = re.compile(re.escape(bytes.fromhex("0300000f02f0803e00")) + b".{6}", re.DOTALL)


class _Phase(Enum):
    BEGINNING = auto()
    """Nothing of it is said yet: the log-in has the line."""
    CONNECTING = auto()
    ATTACHING = auto()
    JOINING = auto()
    SAID = auto()
    """Nothing more is to be said, but the client's own may still come."""
    OVER = auto()


_ANSWERED = (_Phase.CONNECTING, _Phase.ATTACHING, _Phase.JOINING)


class ChannelConnection:
    """Of one line. `say` tells the guest something."""

    def __init__(self, say: Callable[[bytes], object]) -> None:
        self._say = say
        self._phase = _Phase.BEGINNING
        self._heard = b""
        self._said: list[bytes] = []
        self._channels: list[int] = []
        """To be joined, the next one first."""
        self._user = 0

    def from_client(self, message: bytes) -> bytes:
        """What of one message the guest has not been told yet."""
        if self._phase is _Phase.OVER:
            return message
        if self._phase is _Phase.BEGINNING:
            if _is_whole(message) and message[_AT:].startswith(_CONNECT_INITIAL):
                self._phase = _Phase.CONNECTING
            return message
        left = b""
        for packet in _packets(message):
            if packet in self._said:
                self._said.remove(packet)
            else:
                left += packet
        if left:
            self._phase = _Phase.SAID  # it goes another way
        if self._phase is _Phase.SAID and not self._said:
            self._phase = _Phase.OVER
        return left

    def from_guest(self, data: bytes | memoryview) -> None:
        """What the client is being told: more of an answer, perhaps."""
        if self._phase not in _ANSWERED:
            return
        self._heard += data
        while self._phase in _ANSWERED and len(self._heard) >= 4:
            size = int.from_bytes(self._heard[2:4])
            if len(self._heard) < size <= _MOST:
                return
            answer, self._heard = self._heard[:size], self._heard[size:]
            self._phase = self._behind(answer)
        if self._phase not in _ANSWERED:
            self._heard = b""

    def _behind(self, answer: bytes) -> _Phase:
        """Says what is next behind this answer, if it is the one that belongs here."""
        match self._phase:
            case _Phase.CONNECTING if (channels := channels_of(answer)) is not None:
                self._channels = channels
                self._tell(ERECT_DOMAIN, ATTACH_USER)
                return _Phase.ATTACHING
            case _Phase.ATTACHING if attached := _ATTACHED.fullmatch(answer):
                self._user = int.from_bytes(attached[1])
                if self._channels:
                    self._channels = list(dict.fromkeys((self._user + _FIRST_USER, *self._channels)))
                return self._join_next()
            case _Phase.JOINING if _JOINED.fullmatch(answer):
                return self._join_next()
        return _Phase.SAID

    def _join_next(self) -> _Phase:
        if not self._channels:
            return _Phase.SAID
        channel = self._channels.pop(0)
        if channel >= 1 << 16:
            return _Phase.SAID
        self._tell(bytes.fromhex("0300000c02f08038") + self._user.to_bytes(2) + channel.to_bytes(2))
        return _Phase.JOINING

    def _tell(self, *requests: bytes) -> None:
        self._said += requests
        self._say(b"".join(requests))


def channels_of(response: bytes) -> list[int] | None:
    """The channels to be joined by a Connect Response, none where the guest does without; None when it is none."""
    header = response[_AT : response.find(_KEY)]
    if not _is_whole(response) or not header.startswith(_CONNECT_RESPONSE) or header.find(_SUCCESSFUL) not in (3, 4, 5):
        return None
    blocks = _blocks(response[response.find(_KEY) + len(_KEY) :])
    core, network = blocks.get(_CORE, b""), blocks.get(_NETWORK, b"")
    if _MESSAGES in blocks or _early_capabilities(core) & _SKIPS_JOINS:
        return []
    io, count = (int.from_bytes(network[at : at + 2], "little") for at in (4, 6))
    ids = network[8 : 8 + 2 * count]
    if len(network) < 8 or count > _LAST_CHANNEL or len(ids) != 2 * count:
        return None
    return [io, *(int.from_bytes(ids[at : at + 2], "little") for at in range(0, len(ids), 2))]


def _early_capabilities(core: bytes) -> int:
    return int.from_bytes(core[_EARLY_CAPABILITIES_AT : _EARLY_CAPABILITIES_AT + 4], "little")


def _blocks(data: bytes) -> dict[int, bytes]:
    """A server's blocks by their kinds, headers included; what is cut is left out."""
    length = 2 if data[:1] >= b"\x80" else 1  # X.691, 11.9: of all the blocks
    blocks: dict[int, bytes] = {}
    data = data[length:]
    while len(data) >= 4:
        kind, size = (int.from_bytes(data[at : at + 2], "little") for at in (0, 2))
        if not 4 <= size <= len(data):
            break
        blocks[kind], data = data[:size], data[size:]
    return blocks


def _is_whole(packet: bytes) -> bool:
    return packet[:2] == _VERSION and int.from_bytes(packet[2:4]) == len(packet) and packet[4:_AT] == _HEADER


def _packets(message: bytes) -> list[bytes]:
    """RFC 1006's packets in a message; the message itself where it is none, more than whole ones, or long."""
    packets, left = [], message
    if len(message) > _MOST:
        return [message]
    while left:
        size = int.from_bytes(left[2:4])
        if left[:2] != _VERSION or not 4 < size <= len(left):
            return [message]
        packets.append(left[:size])
        left = left[size:]
    return packets
