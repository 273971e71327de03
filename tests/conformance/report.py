"""What the suite found: by section, for people. Knows the cases that are known to fail, and why."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from pathlib import Path

LIMITED, UNLIMITED = "as it is", "without the size limit"
REFUSED = ("9.1.4", "9.2.4", "9.3.1")
"""Larger than the gateway allows, and sent to it all the same."""
_TOO_BIG = 1009
SECTIONS = {
    1: "Framing",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8",
    7: "Closing handshake",
    9: "Limits and speed",
    10: "Automatic fragmentation",
}
VERDICTS = {"OK": "passed", "NON-STRICT": "non-strict", "INFORMATIONAL": "informational", "FAILED": "failed"}
KNOWN = {
    "7.9.5": "A client's close frame with the code 1006, which is for no wire, is answered by an ordinary close (1000) "
    "where the suite wants a protocol error (1002). The connection ends either way. aiohttp's own; mended there by "
    "pull request 13536, which 3.14.5 has not.",
    **dict.fromkeys(
        ("6.4.1", "6.4.2", "6.4.3", "6.4.4"),
        "Text that is not UTF-8 is refused when its message is complete, where the suite would like it at the first "
        "wrong byte. RFC 6455 leaves both open, and the gateway's WebSockets end at any text.",
    ),
}
"""Why a case does not pass. Another one is news."""


class Report:
    """One run of the suite."""

    def __init__(self, index: Path) -> None:
        agents = json.loads(index.read_text())
        told = {case: agents[LIMITED].pop(case)["remoteCloseCode"] for case in REFUSED if case in agents[LIMITED]}
        self.let_in = [case for case, code in told.items() if code != _TOO_BIG]
        self.verdicts = {case: _verdict(found) for cases in agents.values() for case, found in cases.items()}

    @property
    def unexpected(self) -> list[str]:
        """Cases that do not pass and are not known for it, or should have been refused."""
        good = ("passed", "informational")
        news = [case for case, verdict in self.verdicts.items() if verdict not in good and case not in KNOWN]
        return news + [f"{case} (not refused)" for case in self.let_in]

    def table(self) -> list[tuple[str, ...]]:
        """A row for each section, and the sum."""
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for case, verdict in self.verdicts.items():
            counts[int(case.partition(".")[0])][verdict] += 1
        rows = [("", "section", *VERDICTS.values())]
        for number, count in sorted(counts.items()):
            rows.append((str(number), SECTIONS[number], *(str(count[verdict]) for verdict in VERDICTS.values())))
        total = Counter(self.verdicts.values())
        return [*rows, ("", "all", *(str(total[verdict]) for verdict in VERDICTS.values()))]

    def text(self) -> str:
        """For a terminal. The last line is a test runner's."""
        lines = [
            "  ".join([row[0].rjust(2), row[1].ljust(24), *(cell.rjust(13) for cell in row[2:])])
            for row in self.table()
        ]
        worse = {case: verdict for case, verdict in self.verdicts.items() if verdict in ("failed", "non-strict")}
        news = self.unexpected
        lines += [f"{case}: {verdict}{', as known' if case in KNOWN else ''}" for case, verdict in worse.items()]
        lines += [f"{case}: larger than the gateway allows, but let in" for case in self.let_in]
        return "\n".join([*lines, f"{len(self.verdicts) - len(worse)} passed, {len(news)} failed"])

    def page(self) -> str:
        """docs/conformance.md."""
        rows = ["| " + " | ".join(row) + " |" for row in self.table()]
        rows.insert(1, "|---:|---" + "|---:" * len(VERDICTS) + "|")
        reasons: dict[str, list[str]] = defaultdict(list)
        for case, why in KNOWN.items():
            if self.verdicts[case] not in ("passed", "informational"):
                reasons[why].append(f"{case} ({self.verdicts[case]})")
        known = [f"- {', '.join(cases)}: {why}" for why, cases in reasons.items()]
        return _PAGE.format(table="\n".join(rows), known="\n".join(known))


def _verdict(found: dict[str, str]) -> str:
    """The worse of the two: what was said, and how it was closed."""
    behaviours = {found["behavior"], found["behaviorClose"]}
    if behaviours - {"OK", "NON-STRICT", "INFORMATIONAL"}:
        return "failed"
    return VERDICTS[next(word for word in ("NON-STRICT", "INFORMATIONAL", "OK") if word in behaviours)]


_PAGE = """\
# Conformance of the WebSockets

The Autobahn test suite (`autobahntestsuite` 25.10.1), unchanged, against the gateway's WebSockets. \
`scripts/test conformance` takes two minutes and writes this page to `build/conformance.md`.

{table}

What does not pass, and why that is left so:

{known}

## What is tested

The suite wants every message back. A desktop's bytes are no echo, so the gateway's own guest is left out \
(`tests/conformance/echo.py`) and all else is the gateway's: aiohttp in the appliance's Python, the handshake and \
options of `bridge.Socket` (binary subprotocol, no compression, heartbeat, at most 1 MiB a message), the server of \
`limits.serve`, and binary messages framed by `bridge.Far`, as the guest's bytes are (up to 256 KiB).

- The cases 9.1.4 to 9.1.6, 9.2.4 to 9.2.6, 9.3 and 9.4 send messages of 4 to 16 MiB. The gateway refuses those \
with 1009 (message too big), which three of them check; all run against the same server without that limit.
- The sections 12 and 13 test compression, which is off: the bytes of a desktop are compressed already.

The suite is written for Python 2. `scripts/conformance-suite` takes that from Debian bullseye into a folder of its \
own; nothing of it is in the appliance. It wants that old release to be on Debian's mirrors, so it is no part of \
`make test`.
"""
