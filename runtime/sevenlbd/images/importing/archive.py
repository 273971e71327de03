"""The tar that an appliance is: its members as pieces of the file, and what its digests say of them.

The archive is walked by its headers alone; what it claims of lengths costs neither memory nor time. What other systems'
tools leave in an archive is passed over: macOS' side files and lists. Sources: POSIX, pax; DMTF DSP0243, 5.1.
"""

from __future__ import annotations

import hashlib
import io
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from ...base.errors import ExitCode, Refusal
from ..formats import Piece

_MOST_TEXT = 1 << 20  # bytes; a guess: descriptions have some dozens of KiB
_MOST_MEMBERS = 1000  # a guess: an OVA has a handful
_MOST_READ = 64 << 20  # bytes; so many members with the longest of names have some MB of headers
_STEP = 4 << 20  # bytes; a guess between many calls and much memory
_UNPACK = "unpack it (tar xf) and add the disk that you want by its own name"
_AGAIN = "copy or export it anew"
# What macOS' and old tars' tools put beside the files, in words of their own.
_BESIDE = re.compile(r"(^|/)(\._[^/]*|\.DS_Store|__MACOSX|PaxHeaders?(\.\d+)?)(/|$)")
_LINE = re.compile(r"SHA-?(1|224|256|384|512)\s*\((.+)\)\s*=\s*([0-9A-Fa-f]+)")


@dataclass(frozen=True)
class Digest:
    """What the content of the member `name` must have as its digest."""

    name: str
    algorithm: str
    expected: str

    def check(self, piece: Piece, report: Callable[[int], None] = lambda _: None) -> None:
        """Raises Refusal when `piece` has another content."""
        running = hashlib.new(self.algorithm)
        with piece.path.open("rb") as file:
            file.seek(piece.offset)
            left = piece.size
            while left and (part := file.read(min(left, _STEP))):
                running.update(part)
                left -= len(part)
                report(len(part))
        if running.hexdigest() != self.expected:
            what = f"{piece.path}: `{self.name}` in it was altered, or damaged: its {self.algorithm} digest is another"
            raise Refusal(ExitCode.IMAGE, what, hint=_AGAIN)


def _refused(whole: Piece, what: str, hint: str = _UNPACK) -> Refusal:
    return Refusal(ExitCode.IMAGE, f"{whole.path}: {what}", hint=hint)


def plain(name: str) -> str:
    """A member's name without what means nothing in it."""
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def members(whole: Piece) -> dict[str, Piece]:
    """Every file by name, each stored in one piece. Raises Refusal."""
    pieces: dict[str, Piece] = {}
    try:
        with _Headers(whole.path.open("rb", buffering=0)) as file, tarfile.open(fileobj=file, mode="r:") as tar:
            for count, member in enumerate(tar):
                if count >= _MOST_MEMBERS:
                    raise _refused(whole, "it has too many files for an OVA")
                if _BESIDE.search(member.name) or (member.isdir() and ".." not in member.name):
                    continue
                name = _checked(whole, member)
                if name in pieces:
                    raise _refused(whole, f"it has `{member.name}` twice")
                pieces[name] = Piece(whole.path, whole.offset + member.offset_data, member.size, whole=False)
    except (tarfile.TarError, ValueError, OverflowError, OSError, EOFError, RecursionError) as error:
        raise _refused(whole, f"is not an OVA: {error}", _AGAIN) from None
    return pieces


def _checked(whole: Piece, member: tarfile.TarInfo) -> str:
    """The name of a member that can be used. Raises Refusal."""
    if member.issparse():
        raise _refused(whole, f"`{member.name}` in it is stored without its holes")
    if not member.isreg():
        raise _refused(whole, f"`{member.name}` in it is not a plain file")
    if member.name.startswith("/") or ".." in member.name.split("/") or "\\" in member.name or not plain(member.name):
        raise _refused(whole, f"`{member.name}` in it is not a plain name", "this may be an attack")
    if member.offset_data + member.size > whole.size:
        raise _refused(whole, f"is truncated: `{member.name}` is not all there", _AGAIN)
    return plain(member.name)


class _Headers(io.BufferedReader):
    """The archive's file, of which tarfile reads headers only: what pretends to be a long one is none."""

    _left = _MOST_READ

    def read(self, size: int | None = -1, /) -> bytes:
        """Raises tarfile.ReadError when that is more than headers have."""
        length = _MOST_READ if size is None or size < 0 else size
        self._left -= length
        if length > _MOST_TEXT or self._left < 0:
            raise tarfile.ReadError("its headers are far too long")
        return super().read(length)


def text(whole: Piece, name: str, member: Piece) -> bytes:
    """The content of a member that is a text. Raises Refusal."""
    if member.size > _MOST_TEXT:
        raise _refused(whole, f"`{name}` in it is far too long for a text")
    return member.read(0, member.size)


def digests(whole: Piece, members: dict[str, Piece], beside: str) -> dict[str, Digest]:
    """What the archive's manifest (.mf) says, by member. `beside` is the description that it belongs to.

    Raises Refusal when it names a file that is not there.
    """
    manifest = next((name for name in members if name.lower() == f"{beside[:-4]}.mf".lower()), "")
    listed = [name for name in members if name.lower().endswith(".mf")]
    if not manifest and len(listed) == 1:
        manifest = listed[0]
    if not manifest:
        return {}
    read: dict[str, Digest] = {}
    folder = beside.rpartition("/")[0]
    for line in _lines(text(whole, manifest, members[manifest])):
        if not (said := _LINE.fullmatch(line.strip())):
            continue
        names = [plain(f"{folder}/{name}") for name in (said[2], unquote(said[2], errors="surrogateescape"))]
        name = next((name for name in names if name in members), "")
        if not name:
            what = f"its manifest {manifest} lists `{said[2]}`, which is not in it"
            raise _refused(whole, what, _AGAIN)
        read[name] = Digest(name, f"sha{said[1]}", said[3].lower())
    return read


def _lines(content: bytes) -> list[str]:
    encoding = "utf-16" if content[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    return content.decode(encoding, "surrogateescape" if encoding == "utf-8-sig" else "replace").splitlines()
