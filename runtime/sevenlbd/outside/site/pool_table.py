"""`[pool]`, a table of the site's file: the service that tells borrowed machines what is wanted (`grid pool`)."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated

from pydantic import AfterValidator

from ...base import hostnames
from ...config.tables import Line, Name, Place, Table, key
from ...config.value_kinds import Duration, Size, Words
from ...images import names

_ADDRESS = re.compile(r"(?P<host>[^\[\]/@?#:\s]+|\[[0-9a-fA-F:.]+\]):(?P<port>[0-9]{1,5})")
_IDENTITY = re.compile(
    r"(?:[A-Za-z0-9._-]|\{machine\}|\{trust_domain\})+@(?:[A-Za-z0-9._-]|\{machine\}|\{trust_domain\})+"
)
_MOST_PORT = 65535  # RFC 9293, 3.1: 16 bits


def _address(value: str) -> str:
    match = _ADDRESS.fullmatch(value.lower())
    if not match or not 1 <= int(match["port"]) <= _MOST_PORT:
        raise ValueError("it must be HOST:PORT, for instance pool.example.edu:9618")
    host = match["host"].strip("[]")
    if not (hostnames.is_name(host) or hostnames.is_address(host)):
        raise ValueError(f"`{host}` is neither a host's name nor an address")
    return value.lower()


def _own_address(value: str) -> str:
    if not hostnames.is_address(_address(value).rpartition(":")[0].strip("[]")):
        raise ValueError("it must be an address of this machine and a port, for instance 0.0.0.0:9680 or [::]:9680")
    return value


def _collector(value: str) -> str:
    return _address(value) if value else value


def _hosts(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not (hostnames.is_name(value.lower()) or hostnames.is_address(value)):
            raise ValueError(f"`{value}` is neither a host's name nor an address")
    return values


def _images(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not names.is_name(value):
            raise ValueError(f"`{value}` cannot be an image's name")
    return values


def _networks(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        try:
            ipaddress.ip_network(value)
        except ValueError as error:
            raise ValueError(f"{error}; for instance 10.1.0.0/16") from None
    return values


def _identity(value: str) -> str:
    if not _IDENTITY.fullmatch(value):
        raise ValueError("it must be NAME@DOMAIN, in which {machine} and {trust_domain} stand for theirs")
    return value


class PoolTable(Table):
    """`[pool]`: beside an HTCondor pool's queue, the service that borrowed machines ask (`7lbd grid pool`)."""

    listen: Annotated[str, AfterValidator(_own_address)] = key(
        "0.0.0.0:9680", "Where the service listens, by HTTPS.", metavar="ADDRESS:PORT"
    )
    names: Annotated[Words, AfterValidator(_hosts)] = key(
        (), "Names and addresses by which machines and browsers call it; the first is shown. Empty: the host's name."
    )
    certificate: Place = key(
        "", "Certificate chain (PEM) of the site's for it; empty: it makes one itself.", metavar="FILE"
    )
    private_key: Place = key("", "Private key of `certificate` (PEM).", metavar="FILE")
    state: Place = key(
        "",
        "Folder in which it keeps its key and who is enrolled; empty: grid-pool in its user's state_dir.",
        metavar="DIR",
    )
    collector: Annotated[str, AfterValidator(_collector)] = key(
        "",
        "Where the pool is for the VMs, which know no other way; empty: COLLECTOR_HOST of HTCondor's configuration.",
        metavar="HOST:PORT",
    )
    trust_domain: Name = key("", "The pool's TRUST_DOMAIN; empty: as HTCondor's configuration says.")
    images: Annotated[Words, AfterValidator(_images)] = key(
        (), "Images that are offered; empty: every signed one that is published in image_dirs.", metavar="NAME"
    )
    rate: Size = key(
        0, "Most bytes of images a second that leave, all machines together; 0 is no limit.", metavar="SIZE"
    )
    machine_rate: Size = key(0, "The same for each machine.", metavar="SIZE")
    poll: Duration = key(30, "How often a machine asks what is wanted.", metavar="DURATION", ge=5, le=3600)
    key_networks: Annotated[Words, AfterValidator(_networks)] = key(
        (),
        'Networks in which a machine gets the key that the pool keeps for it (image_key_source = "pool"), so that a '
        "stolen disk is worth nothing elsewhere; empty: everywhere.",
        metavar="ADDRESS/BITS",
    )
    worker_identity: Annotated[str, AfterValidator(_identity)] = key(
        "{machine}@workers.{trust_domain}",
        "Who a VM is in the pool: the identity of its token, which ALLOW_ADVERTISE_STARTD and ALLOW_ADVERTISE_MASTER "
        "must let in.",
    )
    worker_lifetime: Duration = key(
        86400,
        "How long such a token lasts; HTCondor asks for it again when a security session ends.",
        metavar="DURATION",
        ge=60,
        le=30 * 86400,
    )
    signing_key: Name = key(
        "", "Name of the key that signs it (SEC_TOKEN_POOL_SIGNING_KEY_FILE); empty: the pool's own."
    )
    user: Line = key("", "The account that `render grid-pool-unit` has the service run as; empty: who renders.")
