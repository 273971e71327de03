"""The record beside the image, for programs, and the report, for people. Neither holds a secret or a name."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .check import Outcome, Result
from .node_facts import NodeFacts

SCHEMA = 1
_MARKS = {Outcome.OK: "ok", Outcome.FAIL: "**fail**", Outcome.CANNOT_TELL: "cannot tell"}


@dataclass(frozen=True)
class Acceptance:
    """One acceptance that has come to its end."""

    image: str
    version: str
    digest: str
    """SHA-256 of what the version is made of, where it has a manifest."""
    system: str
    appliance: str
    when: str
    """UTC, as RFC 3339 has it."""
    quick: bool
    seconds: float
    node: NodeFacts
    results: tuple[Result, ...]

    @property
    def passed(self) -> bool:
        """Whether nothing failed, and something was found out."""
        counts = self.counts
        return not counts[Outcome.FAIL] and bool(counts[Outcome.OK])

    @property
    def counts(self) -> Counter[Outcome]:
        """How many checks came to what."""
        return Counter(result.finding.outcome for result in self.results)


def judged(checks: Sequence[Any], evidence: Any) -> tuple[Result, ...]:
    """What each check says of the evidence."""
    return tuple(Result(check.name, check.about, check.judge(evidence)) for check in checks)


def record(acceptance: Acceptance, scrub: Callable[[str], str]) -> dict[str, Any]:
    """For the file beside the image."""
    node = acceptance.node
    return {
        "schema": SCHEMA,
        "image": acceptance.image,
        "version": acceptance.version,
        "digest": acceptance.digest,
        "system": acceptance.system,
        "appliance": acceptance.appliance,
        "when": acceptance.when,
        "quick": acceptance.quick,
        "seconds": round(acceptance.seconds, 1),
        "passed": acceptance.passed,
        "counts": {str(outcome): acceptance.counts[outcome] for outcome in Outcome},
        "node": {
            "kvm": node.kvm,
            "vendor": node.vendor,
            "model": node.model,
            "microcode": node.microcode,
            "flags": list(node.flags),
            "cpus": node.cpus,
            "kernel": node.kernel,
        },
        "checks": [
            {
                "name": result.check,
                "about": result.about,
                "outcome": str(result.finding.outcome),
                "value": scrub(result.finding.value),
                "limit": result.finding.limit,
                "says": scrub(result.finding.says),
            }
            for result in acceptance.results
        ],
    }


def as_text(made: dict[str, Any]) -> str:
    """The same as a page of Markdown."""
    title = f"{made['image']}@{made['version']}" if made["version"] else made["image"]
    counts = ", ".join(f"{number} {outcome}" for outcome, number in made["counts"].items())
    node = made["node"]
    lines = [
        f"# Acceptance of {title}",
        "",
        f"{'Passed' if made['passed'] else 'Failed'}: {counts}. {'Quick. ' if made['quick'] else ''}"
        f"{made['when']}, in {made['seconds'] / 60:.0f} minutes, by appliance {made['appliance']}.",
        f"Node: {node['vendor']}, {node['model']}, microcode {node['microcode'] or 'unknown'}, {node['cpus']} CPUs, "
        f"Linux {node['kernel']}, {'KVM' if node['kvm'] else 'no KVM'}.",
        "",
        "| check | | value | limit | |",
        "|---|---|---|---|---|",
    ]
    for row in made["checks"]:
        cells = (row["name"], _MARKS[Outcome(row["outcome"])], row["value"], row["limit"], row["says"])
        lines.append("| " + " | ".join(_cell(cell) for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def as_json(made: dict[str, Any]) -> str:
    """For the file."""
    return json.dumps(made, indent=1) + "\n"


def _cell(text: str) -> str:
    """A guest's words must not leave their cell."""
    return text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").replace("`", "'").replace("\n", " ")
