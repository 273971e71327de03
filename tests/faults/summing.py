"""What rounds came to: added up, whether it was enough, and what met whom in which phase."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from . import draws

Row = dict[str, object]
LEAST_SHARE = 0.5
"""A guess: of the clients so many at least get a file acknowledged, or the run shows nothing of bytes."""
_ENOUGH = 5  # clients or rounds; of fewer a share says nothing
_LEAST_MET = 3  # of so many drawn faults one at least: nine of ten meet somebody, but for those while it stops


def summary(played: list[Row], seconds: float) -> tuple[str, bool]:
    """What is said of a run, and whether it was one in which nothing failed and enough was done."""
    deeds = [deed for row in played for deed in _list(row, "deeds")]
    met = [deed for deed in deeds if not deed["missed"]]
    phases = sorted({str(deed["phase"]) for deed in met})
    silent = sum(_number(row, "silent") for row in played)
    clients = silent + sum(_number(row, "heard") for row in played)
    acknowledged = sum(_number(row, "acknowledged") for row in played)
    failed = sum(bool(row["failed"]) for row in played)
    idle = [*_deaf(played, clients, silent), *_harmless(played, deeds)]
    lines = [
        f"{len(played)} rounds, {failed} failed, {seconds / max(1, len(played)):.1f} s a round",
        f"{len(met)} of {len(deeds)} faults met somebody, in {', '.join(phases) or 'no phase'}",
        f"{acknowledged} files acknowledged, {silent} of {clients} clients got none",
        *(f"FAILED: {why}" for why in idle),
    ]
    return "\n".join(lines), not failed and not idle


def _deaf(played: Sequence[Row], clients: int, silent: int) -> Iterator[str]:
    """Why a run shows nothing of bytes. In a round in which something is done early there may be no client."""
    if clients == silent and (any(row.get("due") for row in played) or len(played) >= _ENOUGH):
        yield "no client got a file acknowledged"
    elif clients >= _ENOUGH and clients - silent < LEAST_SHARE * clients:
        yield f"at least {LEAST_SHARE:.0%} of the clients must get a file acknowledged"


def _harmless(played: Sequence[Row], deeds: Sequence[dict[str, object]]) -> Iterator[str]:
    """Why a run shows nothing of faults: of those that were drawn, as a session that ends early meets no more."""
    drawn = sum(_number(row, "drawn") for row in played)
    met = sum(not deed["missed"] and not _is_nothing(deed) for deed in deeds)
    if met < drawn // _LEAST_MET:
        yield f"{met} of {drawn} faults that were drawn met somebody: at least {drawn // _LEAST_MET} must"


def _is_nothing(deed: dict[str, object]) -> bool:
    fault = deed.get("fault")
    return isinstance(fault, dict) and fault["deed"] == draws.NOTHING


def _number(row: Row, name: str) -> int:
    return int(str(row.get(name, 0)))


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
    for kind in (draws.KILL_ALL, *dict.fromkeys(draws.DEEDS)):
        if kind not in draws.TO_ONE:
            counts = [str(met["", kind, phase]) for phase in draws.PHASES]
            lines.append(f"| {kind} | {' | '.join(counts)} |")
    starts = Counter(str(row.get("start")) for row in played)
    told = ", ".join(f"{starts[start]} {start}" for start in draws.STARTS)
    return "\n".join([*lines, "", f"rounds: {told}"])
