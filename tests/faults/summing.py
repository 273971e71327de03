"""What rounds came to: added up, whether it was enough, and what met whom in which phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from . import draws

Row = dict[str, object]
LEAST_SHARE = 0.5
"""A guess: of the clients so many at least get a file acknowledged, or the run shows nothing of bytes."""
_ENOUGH = 5  # clients; of fewer a share says nothing


def summary(played: list[Row], seconds: float) -> tuple[str, bool]:
    """What is said of a run, and whether it was one in which nothing failed and enough was done."""
    deeds = [deed for row in played for deed in _list(row, "deeds")]
    met = [deed for deed in deeds if not deed["missed"]]
    phases = sorted({str(deed["phase"]) for deed in met})
    silent = sum(int(str(row.get("silent", 0))) for row in played)
    clients = silent + sum(int(str(row.get("heard", 0))) for row in played)
    acknowledged = sum(int(str(row.get("acknowledged", 0))) for row in played)
    failed = sum(bool(row["failed"]) for row in played)
    is_idle = clients >= _ENOUGH and clients - silent < LEAST_SHARE * clients
    lines = [
        f"{len(played)} rounds, {failed} failed, {seconds / max(1, len(played)):.1f} s a round",
        f"{len(met)} of {len(deeds)} faults met somebody, in {', '.join(phases) or 'no phase'}",
        f"{acknowledged} files acknowledged, {silent} of {clients} clients got none",
    ]
    if is_idle:
        lines.append(f"FAILED: at least {LEAST_SHARE:.0%} of the clients must get a file acknowledged")
    return "\n".join(lines), not failed and not is_idle


def _list(row: Row, name: str) -> list[dict[str, object]]:
    found = row.get(name, [])
    assert isinstance(found, list)
    return found


def table(played: Sequence[Row]) -> str:
    """How often each process was killed, stopped and hung in each phase, and what else befell sessions, as Markdown."""
    met: Counter[tuple[object, ...]] = Counter()
    for row in played:
        for deed in _list(row, "deeds"):
            fault = deed["fault"]
            if not deed["missed"] and isinstance(fault, dict):
                who = fault["role"] if fault["deed"] in draws.TO_ONE else ""
                met[who, fault["deed"], fault["phase"]] += 1
    lines = [f"| | {' | '.join(draws.PHASES)} |", "|---" * (len(draws.PHASES) + 1) + "|"]
    for role in draws.ROLES:
        cells = [" ".join(str(met[role, kind, phase]) for kind in draws.EACH) for phase in draws.PHASES]
        lines.append(f"| {role}: {', '.join(draws.EACH)} | {' | '.join(cells)} |")
    for kind in dict.fromkeys(draws.DEEDS):
        if kind not in draws.TO_ONE:
            counts = [str(met["", kind, phase]) for phase in draws.PHASES]
            lines.append(f"| {kind} | {' | '.join(counts)} |")
    starts = Counter(str(row.get("start")) for row in played)
    told = ", ".join(f"{starts[start]} {start}" for start in draws.STARTS)
    return "\n".join([*lines, "", f"rounds: {told}"])
