"""The account that sessions log in with, and its groups, by their numbers: names are in the guest's own language."""

from __future__ import annotations

from .criterion import Criterion, Judgement, cannot_tell, fail, ok
from .evidence import Evidence

# Well-known SIDs (MS-DTYP 2.4.2.4): Administrators, Remote Desktop Users.
_MAY_LOG_IN = frozenset({"S-1-5-32-544", "S-1-5-32-555"})


def _exists(evidence: Evidence) -> Judgement:
    facts = evidence.first_cold().facts_of("account")
    said = facts.one("account.enabled")
    if said is None:
        return cannot_tell(facts.failure or "the guest does not say whether the account is there")
    number = facts.one("account.id") or ""
    if said != "yes":
        return fail("the image's account is not there, or is switched off", said, "yes")
    return ok("the image's account is there", number)


def _groups(evidence: Evidence) -> Judgement:
    facts = evidence.first_cold().facts_of("account")
    groups = facts.all("account.group")
    if not groups:
        return cannot_tell(facts.failure or "the guest does not say which groups the account is in")
    value = ", ".join(groups)[:400]
    if evidence.is_windows and not _MAY_LOG_IN & set(groups):
        wanted = " or ".join(sorted(_MAY_LOG_IN))
        return fail("the account is in no group that may log in by Remote Desktop", value, wanted)
    return ok("the account is in groups that may log in", value)


def _expires(evidence: Evidence) -> Judgement:
    facts = evidence.first_cold().facts_of("account")
    said = facts.one("account.expires")
    if said is None:
        return cannot_tell(facts.failure or "the guest does not say whether the password expires")
    if said == "never":
        return ok("the account's password does not expire", said, "never")
    return fail("the account's password expires, and nobody can change it", said, "never")


def _secrets(evidence: Evidence) -> Judgement:
    seen = evidence.first_cold().facts_of("files_user")
    said = seen.one("secret")
    if said is None:
        return cannot_tell(seen.failure or "the guest does not say whether a secret can be kept")
    if said == "kept":
        return ok("programs can keep passwords", said, "kept")
    return fail("programs cannot keep passwords: the account's key is of another password", said, "kept")


CRITERIA = (
    Criterion("account.exists", "the account is there", _exists),
    Criterion("account.groups", "its groups may log in", _groups),
    Criterion("account.expires", "its password does not expire", _expires),
    Criterion("account.secrets", "programs can keep passwords", _secrets, ("windows",)),
)
