"""The user's files: the drive, its protocol, 1 GiB each way, modes, zone, and programs that nobody has signed."""

from __future__ import annotations

from collections.abc import Callable

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence, GuestFacts
from .observations import SharedFiles

_RATE = 30.0  # MB/s; a guess: less is felt with every large file
_DIALECT = "3.1.1"
_ALIKE = {"311", "3.11", "3.1.1"}  # Linux's spelling, and Windows' own two
_FILE, _FOLDER = 0o644, 0o755  # what files and folders have that are made under the umask 022
_FORBIDDEN = 0o022  # writable for others; and a file is no program
_INTRANET = frozenset({"Intranet", "Trusted", "MyComputer"})  # System.Security.SecurityZone


def _seen(evidence: Evidence) -> GuestFacts:
    """What the guest tells: of Windows the user's part, in whose session the drives are."""
    record = evidence.first_cold()
    return record.facts_of("files_user" if evidence.is_windows else "files")


def _why(evidence: Evidence) -> str:
    record = evidence.first_cold()
    return record.failure or record.facts_of("files").failure or _seen(evidence).failure or "the guest shows no drive"


def _node_saw(evidence: Evidence) -> SharedFiles | None:
    found = evidence.first_cold().more.get("files")
    return found if isinstance(found, SharedFiles) else None


def _drive(evidence: Evidence) -> Judgement:
    seen = _seen(evidence)
    if seen.failure:
        return cannot_tell(_why(evidence))
    drive = seen.one("drive")
    if drive is None:
        return fail("the guest does not show the user's files", "none", "a drive or a mount")
    if evidence.is_windows and seen.one("shell") != "yes":
        return fail("the drive is mapped, and Explorer does not show it", drive, "shown")
    return ok("the guest shows the user's files", drive, "a drive or a mount")


def _dialect(evidence: Evidence) -> Judgement:
    said = evidence.first_cold().facts_of("files").one("dialect")
    if said is None:
        return cannot_tell(_why(evidence))
    if said in _ALIKE:
        return ok("files come by the newest SMB", _DIALECT, _DIALECT)
    return fail("files come by an older SMB", said, _DIALECT)


def _signing(evidence: Evidence) -> Judgement:
    facts = evidence.first_cold().facts_of("files")
    said = facts.one("signed")
    if said is None:
        # Of Windows' releases only some tell it; our smbd refuses a connection that is not signed.
        required = facts.one("signing.required")
        if required is None or _seen(evidence).one("drive") is None:
            return cannot_tell(_why(evidence))
        return cannot_tell(f"this Windows does not say it of a connection; required by its client: {required.lower()}")
    return (ok if said == "yes" else fail)("whether the connection of the share is signed", said, "yes")


def _transfer(way: str) -> Callable[[Evidence], Judgement]:
    def judge(evidence: Evidence) -> Judgement:
        seen, node = _seen(evidence), _node_saw(evidence)
        milliseconds = seen.number(f"{way}.milliseconds")
        if node is None or milliseconds is None:
            return cannot_tell(_why(evidence))
        arrived = seen.one("read.digest") if way == "read" else node.up_digest
        if arrived != node.down_digest:
            return fail("what arrives is not what was sent", arrived or "nothing", "equal checksums")
        rate = node.size / 1e3 / max(milliseconds, 1)
        value, limit = f"{node.size >> 20} MiB at {rate:.0f} MB/s, equal checksums", f"{_RATE:.0f} MB/s"
        if rate >= _RATE:
            return ok("a large file arrives whole", value, limit)
        if not evidence.node.kvm:
            return cannot_tell(f"{value}: whole, and how fast says little where the CPU is emulated")
        return fail("a large file arrives whole, and late", value, limit)

    return judge


def _modes(evidence: Evidence) -> Judgement:
    node = _node_saw(evidence)
    if node is None or node.file_mode is None or node.folder_mode is None:
        return cannot_tell(_why(evidence))
    value, limit = f"files {node.file_mode:04o}, folders {node.folder_mode:04o}", f"{_FILE:04o}, {_FOLDER:04o}"
    wrong = (node.file_mode & (_FORBIDDEN | 0o111)) or (node.folder_mode & _FORBIDDEN)
    if wrong:
        return fail("what the guest makes has modes that files made on the node have not", value, limit)
    return ok("what the guest makes has the modes that files have which are made on the node", value, limit)


def _zone(evidence: Evidence) -> Judgement:
    zone = _seen(evidence).one("zone")
    if zone is None:
        return cannot_tell(_why(evidence))
    if zone in _INTRANET:
        return ok("files of the drive are local", zone, "not Internet")
    return fail(
        "files of the drive count as the Internet's: programs ask, documents open read-only", zone, "not Internet"
    )


def _program(evidence: Evidence) -> Judgement:
    said = _seen(evidence).one("program")
    if said is None:
        return cannot_tell(_why(evidence))
    says = "a program on the drive that nobody has signed"
    return (
        ok(f"{says} starts", said, "started") if said == "started" else fail(f"{says} does not start", said, "started")
    )


CRITERIA = (
    Criterion("files.drive", "the user's files are there as a drive", _drive),
    Criterion("files.dialect", "by SMB 3.1.1", _dialect),
    Criterion("files.signing", "and signed", _signing),
    Criterion("files.down", "1 GiB arrives from the node", _transfer("read")),
    Criterion("files.up", "and 1 GiB on the node", _transfer("write")),
    Criterion("files.modes", "what the guest makes has usual modes", _modes),
    Criterion("files.zone", "files on the drive are not the Internet's", _zone, ("windows",)),
    Criterion("files.program", "an unsigned program on the drive starts", _program),
)
