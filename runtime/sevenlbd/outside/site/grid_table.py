"""The site file's table `[grid]`: what a coordinator may do on a machine that is lent, beside its table `[owner]`."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, model_validator

from ...base.errors import Refusal
from ...config.tables import Table, key
from ...config.value_kinds import Duration, Size, Words
from ...images import names
from ...images.signing import signature

_MEGABIT = 125_000  # bytes a second


def _images(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not names.is_name(value):
            raise ValueError("each is the name of an image")
    return values


def _keys(values: tuple[str, ...]) -> tuple[str, ...]:
    """One that was mistyped must not be found out by an image that nobody can start."""
    for value in values:
        try:
            signature.trusted([value])
        except Refusal as refusal:
            raise ValueError(f"`{value}` is not a public key: {refusal.hint}") from None
    return values


class GridTable(Table):
    """`[grid]`: what a grid's coordinator may do on a machine: how much of it, whose images, which part of the line."""

    slots: int = key(1, "VMs that may run at a time.", metavar="N", ge=1, le=64)
    cpus: int = key(0, "CPUs for all of them; 0 is what [owner] leaves. Each has its part.", metavar="N", ge=0)
    memory: Size = key(
        0,
        "Memory for all of them; 0 is what [owner] and the system itself leave, for which an eighth is reckoned, a GiB "
        "at least. Each has its part.",
        metavar="SIZE",
    )
    trusted_keys: Annotated[Words, AfterValidator(_keys)] = key(
        (),
        "Public keys (ed25519) whose signed images may run: nothing else does, whatever pool or jobs say. Empty: the "
        "site's own trusted_keys.",
        metavar="KEY",
    )
    images: Annotated[Words, AfterValidator(_images)] = key(
        (), "Images that are held on the machine ahead of need.", metavar="NAME"
    )
    quota: Size = key(100 << 30, "Most that images on the machine take; 0 is no limit.", metavar="SIZE")
    rate: Size = key(
        0,
        "Most bytes a second, each way, of all that the grid moves on this machine: images and VMs together; 0 is no "
        "limit.",
        metavar="SIZE",
    )
    idle: Duration = key(1200, "A VM that no job has claimed for so long ends; 0: it stays.", metavar="DURATION")
    lease: Duration = key(
        0,
        "For how long a VM is kept that is suspended for the owner, to go on when it may; 0: VMs end. Jobs of the "
        "worker image are vacated before either, and those of an image that vacates none wait so long.",
        metavar="DURATION",
    )

    @model_validator(mode="after")
    def _has_a_part_for_each(self) -> GridTable:
        if self.rate and self.rate < (self.slots + 1) * _MEGABIT:
            raise ValueError(f"`rate` must leave a megabit ({_MEGABIT} bytes) a second for each slot and for images")
        return self
