"""Secure Boot, TPM, BitLocker, and what sends a machine to sleep."""

from __future__ import annotations

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence, GuestFacts


def _machine(evidence: Evidence) -> GuestFacts:
    return evidence.first_cold().facts_of("machine")


def _as_described(evidence: Evidence, name: str, what: str) -> Judgement:
    """A switch that must be on with the firmware `uefi-secure`; with any other it is only told."""
    said = _machine(evidence).one(name)
    if said is None:
        return cannot_tell(_machine(evidence).failure or f"the guest does not say whether there is {what}")
    wanted = evidence.description.firmware == "uefi-secure"
    if wanted and said != "on":
        return fail(f"the image asks for {what}, and the guest has none", said, "on")
    return ok(f"{what} as the image asks for it", said, "on" if wanted else "")


def _secure_boot(evidence: Evidence) -> Judgement:
    return _as_described(evidence, "secure_boot", "Secure Boot")


def _tpm(evidence: Evidence) -> Judgement:
    return _as_described(evidence, "tpm", "a TPM")


def _bitlocker(evidence: Evidence) -> Judgement:
    said = _machine(evidence).one("bitlocker")
    if said is None:
        return cannot_tell(_machine(evidence).failure or "the guest does not say whether its disk is encrypted")
    if said == "off":
        return ok("the disk is not encrypted: the TPM of a session is a new one", said, "off")
    return fail("BitLocker is on or begins: the TPM of the next session will not open the disk", said, "off")


def _power(evidence: Evidence) -> Judgement:
    facts = _machine(evidence)
    sleeps = {name: facts.number(f"power.{name}") for name in ("standby", "hibernate", "disk")}
    known = {name: value for name, value in sleeps.items() if value is not None}
    if not known.keys() & {"standby", "hibernate"}:
        return cannot_tell(facts.failure or "the guest does not say when it sleeps")
    value = ", ".join(f"{name} {seconds:.0f} s" for name, seconds in known.items())
    if any(known.get(name) for name in ("standby", "hibernate")):
        return fail("the guest goes to sleep by itself, and a session ends with it", value, "0 s")
    return ok("the guest never goes to sleep by itself", value, "0 s")


CRITERIA = (
    Criterion("security.secure_boot", "Secure Boot where the image asks for it", _secure_boot),
    Criterion("security.tpm", "a TPM where the image asks for it", _tpm),
    Criterion("security.bitlocker", "BitLocker is off", _bitlocker, ("windows",)),
    Criterion("power.sleep", "no sleep by itself", _power),
)
