"""What is called how where images are kept: in an image's folder, beside it, and in a repository.

    NAME/VERSION/            an image, or a version of one (or a folder anywhere, given by its path)
        image.toml           what it asks of its machine (see `description`)
        disk.qcow2           its disk, unless image.toml says otherwise
        variables.fd         the UEFI variables that it starts with, if it has any
        warm/                a machine frozen just before anybody logs in (see `warm`)
        encrypted.json       of a version that lies here encrypted: what its files are (see `encryption`)
        manifest.*           every file of a version, and who vouches for it (see `signing`)
    NAME/current, history    which version new sessions get, and which were so before
    NAME/.maintain/          a version's writable child (see `repository.maintenance`)
    NAME/.*                  what somebody is at work on, hidden until it is whole
    NAME/acceptance-VERSION.json, .md   what an acceptance of a version came to
    .leases/                 which sessions use what

Nobody else spells these names. Those of a session's own files are `wire.shared_files`'.
"""

from __future__ import annotations

DESCRIPTION = "image.toml"
DISK = "disk.qcow2"
VARIABLES = "variables.fd"

WARM = "warm"
WARM_RECORD = "warm.json"
WARM_MEMORY = "memory"
WARM_STATE = "state"
"""Beside them, in `WARM`, are a `DISK` and `VARIABLES`."""

MANIFEST, TREE, SIGNATURE, PLACES = "manifest.json", "manifest.tree", "manifest.sig", "manifest.places"

ENCRYPTED = "encrypted.json"

ACCEPTANCE = "acceptance-"
"""How the names of a version's record and report begin."""
CURRENT = "current"
HISTORY = "history"
LOCK = ".lock"

MAINTENANCE, MAINTENANCE_MARK = ".maintain", ".maintaining"
MAINTENANCE_RECORD = "child.json"
"""Beside it, in `MAINTENANCE`, are a `DISK` and `VARIABLES`."""

NEW, MAKING, OLD, NEW_LINK = ".new-", ".making-", ".old-", ".current-"
"""A version in the making, the heartbeat of its maker, a version that is being removed, a link not yet `current`."""
NEW_WARM, WARMING = ".warm-", ".warming-"
"""A warm state in the making, and the heartbeat of its maker."""
NEW_SIGNATURE = ".seal-"
IMPORTING = ".import-"
"""In a version in the making: what is only needed to make it."""

LEASES = ".leases"
LEASE = ".lease"
"""How a lease's name ends."""
