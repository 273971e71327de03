"""The key of encrypted images while its machine enrols: a pool keeps what wraps it for machines that it knows."""

from __future__ import annotations

from collections.abc import Mapping

from ...base.errors import Refusal
from ...config.settings import KeyPlace, Settings
from ..console import terminal
from . import key_sources, membership
from .client import MachineBarred, PoolDeclined, PoolTrouble

_AGAIN = "  the coordinator tries it again when it begins; until then it fetches and starts nothing"
_FORGET = "wait for that pool, or give up the key, and the images here with it: 7lbd grid rekey --forget"


class EnrolledKey:
    """One user's on this machine."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        self._settings, self._environment = settings, environment
        self._own = key_sources.own(settings, environment)
        self._held = b""
        """The key itself, from the pool that the machine belonged to before."""
        self._lost = ""

    @property
    def _by_pool(self) -> bool:
        there = self._own.exists()
        names = self._own.kept_by if there else (key_sources.wanted_place(self._settings),)
        return KeyPlace.POOL in (*names, self._settings.image_key_source)

    def prepare(self) -> None:
        """Before the code is used up, which lets a machine in once. Raises Refusal."""
        if not self._by_pool:
            self._own.make()
        elif self._own.exists() and not (self._own.place.parent / membership.MACHINE).exists():
            self._lost = "the pool that keeps it is not known here any more"
        elif self._own.exists():
            try:
                self._held = self._own.load()
            except (MachineBarred, PoolDeclined) as gone:
                self._lost = gone.what
            except PoolTrouble as trouble:
                raise Refusal(trouble.code, f"the key of encrypted images: {trouble.what}", hint=_FORGET) from None

    def settle(self) -> None:
        """The machine belongs to the pool: what is to be kept there is. It is not in vain when this is not done yet."""
        if not self._by_pool:
            return
        try:
            if self._lost:
                terminal.warn(f"the key of encrypted images is lost, and they are fetched anew: {self._lost}")
                key_sources.forget(self._settings, self._environment)
            elif self._held:
                place = key_sources.wanted_place(self._settings)
                name = self._own.kept_by[-1] if self._settings.image_key_source is KeyPlace.AUTO else place
                self._own.change(key_sources.source(self._settings, self._own.place, name), key=self._held)
            key_sources.of_coordinator(self._settings, self._environment)
        except Refusal as refusal:
            terminal.warn(f"the key of encrypted images is not kept by the pool yet: {refusal.what}", _AGAIN)
            return
        terminal.say("  what opens its encrypted images is kept by the pool, and here in memory alone")
