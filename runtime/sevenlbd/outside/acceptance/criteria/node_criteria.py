"""The node: KVM, CPU, and whether QEMU took every feature that was asked for."""

from __future__ import annotations

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence

# What QEMU says of a feature that the CPU or KVM does not have (target/i386/cpu.c, report_unavailable_features).
_REFUSED = ("doesn't support requested feature", "Hyper-V", "hv-")


def _kvm(evidence: Evidence) -> Judgement:
    if evidence.node.kvm:
        return ok("KVM can be used here", "yes")
    return cannot_tell(f"there is no KVM here, so every time below is one of emulation: {evidence.node.kvm_why_not}")


def _cpu(evidence: Evidence) -> Judgement:
    node = evidence.node
    if not node.vendor:
        return cannot_tell("the node does not say which CPU it has")
    microcode = f", microcode {node.microcode}" if node.microcode else ""
    return ok("the CPU of this node", f"{node.vendor}, {node.model}{microcode}, {node.cpus} CPUs, Linux {node.kernel}")


def _flags(evidence: Evidence) -> Judgement:
    record = evidence.first_cold()
    if record.failure:
        return cannot_tell(record.failure)
    lines = [line for line in record.qemu_log.splitlines() if "warning" in line and any(w in line for w in _REFUSED)]
    if lines:
        return fail(
            "QEMU could not give the guest every CPU feature that was asked for", "; ".join(lines)[:400], "none"
        )
    return ok("QEMU gave the guest every CPU feature that was asked for", "none refused", "none")


CRITERIA = (
    Criterion("node.kvm", "KVM can be used", _kvm),
    Criterion("node.cpu", "CPU, microcode and kernel", _cpu),
    Criterion("node.flags", "every CPU feature is accepted", _flags),
)
