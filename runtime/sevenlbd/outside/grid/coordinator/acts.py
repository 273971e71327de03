"""What the state machine wants done. Each is begun at once, and what it comes to is told as a happening."""

from __future__ import annotations

from dataclasses import dataclass

from ..protocol import OfferedImage
from .stages import Vm


@dataclass(frozen=True)
class AskPool:
    """Ask what is wanted, and say what we do: PoolTold, ImagesTold, or PoolSilent."""


@dataclass(frozen=True)
class FetchImage:
    """Begin, or go on: FetchEnded."""

    image: OfferedImage


@dataclass(frozen=True)
class StopFetch:
    """What has arrived stays: FetchEnded."""

    digest: str


@dataclass(frozen=True)
class DropImage:
    """Remove it from the store."""

    digest: str


@dataclass(frozen=True)
class CheckImage:
    """Verify all of its image: ImageChecked."""

    vm: Vm


@dataclass(frozen=True)
class StartVm:
    """From its image, or from the file that it was suspended into: VmReady, and once VmGone or VmSaved."""

    vm: Vm


@dataclass(frozen=True)
class SuspendVm:
    """VmSaved, or VmNotSaved."""

    vm: Vm


@dataclass(frozen=True)
class EndVm:
    """In order: VmGone."""

    vm: Vm


@dataclass(frozen=True)
class KillVm:
    """At once, whatever it does: VmGone."""

    vm: Vm


@dataclass(frozen=True)
class DropSaved:
    """Nobody waits for it any more: remove its file."""

    vm: Vm


@dataclass(frozen=True)
class Leave:
    """All is done: the coordinator ends."""


type Act = (
    AskPool | FetchImage | StopFetch | DropImage | CheckImage | StartVm | SuspendVm | EndVm | KillVm | DropSaved | Leave
)
