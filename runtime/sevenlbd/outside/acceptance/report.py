"""The record beside the image, for programs, and the report, for people. Neither holds a secret or a name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .criteria.criterion import Criterion, JudgementKind, Result
from .criteria.evidence import Evidence
from .criteria.node_facts import NodeFacts

SCHEMA = 1  # the record's format
_MARKS = {JudgementKind.OK: "ok", JudgementKind.FAIL: "**fail**", JudgementKind.CANNOT_TELL: "cannot tell"}


@dataclass(frozen=True)
class Acceptance:
    """One acceptance that has come to its end."""

    image: str
    version: str
    digest: str
    """SHA-256 of what the version is made of, where it has a manifest."""
    guest_os: str
    appliance: str
    when: str
    """UTC, as RFC 3339 has it."""
    quick: bool
    only: tuple[str, ...]
    """The groups that were asked for; empty for all."""
    seconds: float
    node: NodeFacts
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and something was found out."""
        counts = self.counts
        return not counts[JudgementKind.FAIL] and bool(counts[JudgementKind.OK])

    @property
    def counts(self) -> Counter[JudgementKind]:
        """How many checks came to what."""
        return Counter(result.judgement.kind for result in self.results)


def judged(criteria: Sequence[Criterion], evidence: Evidence) -> tuple[Result, ...]:
    """What each check says of the evidence."""
    return tuple(Result(one.name, one.about, one.judge(evidence)) for one in criteria)


def record(acceptance: Acceptance, scrub: Callable[[str], str]) -> dict[str, Any]:
    """For the file beside the image."""
    node = acceptance.node
    return {
        "schema": SCHEMA,
        "image": acceptance.image,
        "version": acceptance.version,
        "digest": acceptance.digest,
        "os": acceptance.guest_os,
        "appliance": acceptance.appliance,
        "when": acceptance.when,
        "quick": acceptance.quick,
        "only": list(acceptance.only),
        "seconds": round(acceptance.seconds, 1),
        "passed": acceptance.passed,
        "counts": {str(outcome): acceptance.counts[outcome] for outcome in JudgementKind},
        "node": {
            "kvm": node.kvm,
            "vendor": node.vendor,
            "model": scrub(node.model),
            "microcode": node.microcode,
            "flags": list(node.flags),
            "cpus": node.cpus,
            "kernel": scrub(node.kernel),
        },
        "checks": [
            {
                "name": result.check,
                "about": result.about,
                "outcome": str(result.judgement.kind),
                "value": scrub(result.judgement.value),
                "limit": result.judgement.limit,
                "says": scrub(result.judgement.says),
            }
            for result in acceptance.results
        ],
    }


def as_text(made: dict[str, Any]) -> str:
    """The same as a page of Markdown."""
    title = f"{made['image']}@{made['version']}" if made["version"] else made["image"]
    counts = ", ".join(f"{number} {outcome}" for outcome, number in made["counts"].items())
    node = made["node"]
    extent = ("Quick. " if made["quick"] else "") + (f"Only {', '.join(made['only'])}. " if made["only"] else "")
    lines = [
        f"# Acceptance of {title}",
        "",
        f"{'Passed' if made['passed'] else 'Failed'}: {counts}. {extent}"
        f"{made['when']}, in {made['seconds'] / 60:.0f} minutes, by appliance {made['appliance']}.",
        f"Node: {node['vendor']}, {node['model']}, microcode {node['microcode'] or 'unknown'}, {node['cpus']} CPUs, "
        f"Linux {node['kernel']}, {'KVM' if node['kvm'] else 'no KVM'}.",
        "",
        "| check | | value | limit | |",
        "|---|---|---|---|---|",
    ]
    for row in made["checks"]:
        cells = (row["name"], _MARKS[JudgementKind(row["outcome"])], row["value"], row["limit"], row["says"])
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def as_json(made: dict[str, Any]) -> str:
    """For the file."""
    return json.dumps(made, indent=1) + "\n"


def _cell(text: str) -> str:
    """A guest's words must not leave their cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("\n", " ")
