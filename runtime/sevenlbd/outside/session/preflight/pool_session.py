"""A session whose guest joins a pool: what it may reach and what it gets, which is little, and what it is handed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from ....base.errors import ExitCode, Refusal
from ....wire.worker_words import Join
from ...egress.policy import rules
from ...egress.policy.rules import EgressEntry
from ...grid.join_record import PREFIX, JoinRecord
from .prepared import Prepared

if TYPE_CHECKING:
    from ....config.settings import Settings


def settings_for(chosen: Settings, record: JoinRecord) -> Settings:
    """Those of a worker: the pool is its one way out, and nothing of this machine is in it. Raises Refusal."""
    way = f"tcp://{record.host}:{record.port}"
    pool = rules.parse(way)
    if not chosen.egress:
        what = "--join: the guest would have no way to the pool: `egress` is off"
        raise Refusal(ExitCode.USAGE, what, hint="egress = true, or no --no-egress")
    if not any(_leads(rules.parse(text), pool) for text in chosen.egress_allow):
        what = f"--join: the pool is at {way}, and no way out of this site leads there (egress_allow)"
        hint = f'in the site\'s 7lbd.toml: egress_allow = ["{way}"]'
        raise Refusal(ExitCode.USAGE, what, hint=hint)
    nothing = {"shares": (), "home_share": False, "cached_shares": ()}
    unseen = {"web": "off", "web_certificate": "", "web_key": "", "rdp_tls": "", "end_notice": 0}
    return chosen.model_copy(update={"egress_allow": (way,), **nothing, **unseen})


def _leads(way: EgressEntry, pool: EgressEntry) -> bool:
    """Whether a way out of the site's is the pool's, or more than that."""
    return way.scheme == pool.scheme and way.host == pool.host and pool.first in way.ports


def joined(session: Prepared, record: JoinRecord) -> Prepared:
    """The session with what its guest is to be told. Raises Refusal where that cannot be."""
    worker = session.worker
    if worker is None:
        what = f"{session.image_title}: cannot join a pool: its description has no join_hook, or it has no agent"
        raise Refusal(ExitCode.IMAGE, what, hint="what the image needs for that: docs/worker.md")
    places = [address for address, _ in session.egress.tcp] if session.egress else []
    if not places:
        why = "; ".join(text for text in session.warnings if text.startswith("egress_allow")) or "see `egress`"
        what = f"--join: the guest cannot reach the pool at {record.collector}: {why}"
        raise Refusal(ExitCode.RESOURCES, what, hint="does the node know its name? getent hosts NAME")
    address = next((place for place in places if ":" not in place), f"[{places[0]}]")
    ours = {f"{PREFIX}Image": session.image_title, **({f"{PREFIX}ImageDigest": worker.digest} if worker.digest else {})}
    join = Join(worker.hook, record.for_guest(address, ours), worker.status)
    note = f"the guest joins the pool at {record.collector} as {record.vm_name}: nothing else can be reached from it"
    return replace(session, plan=replace(session.plan, join=join), notes=(*session.notes, note))
