"""What a portal's job has to know of the images that its form offers: their names, and how desktops of them end.

A form's choice is made after the app was rendered, so all of them stand in the app; what is not seen from here, when it
is rendered, is taken for an image that says nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ...config.settings import Settings
from ...images.description import Description
from ..job import leads
from ..site.ondemand_table import OnDemandTable

Look = Callable[[str], Description | None]
"""What an image says, by the site's name for it; None of one that is not seen."""


@dataclass(frozen=True)
class ImageChoice:
    """One of the images."""

    name: str
    """As the site calls it: a name, a version of one, or a path."""
    called: str
    """The name that a desktop of it has in its saved file; empty when nobody knows."""
    suspends: bool
    """Whether a desktop of it is suspended at its end."""


def of(table: OnDemandTable, chosen: Settings, look: Look) -> tuple[ImageChoice, ...]:
    """Those of the form, the first one first; of a form that does not ask, the site's own."""
    names = [name for name, _ in table.choices()] or [chosen.image]
    return tuple(_of(name, chosen, look(name)) for name in names)


def _of(name: str, chosen: Settings, described: Description | None) -> ImageChoice:
    called = name.partition("@")[0] if "/" not in name else described.name if described else ""
    return ImageChoice(name, called, leads.suspends(chosen, described))


def called(choices: Iterable[ImageChoice]) -> dict[str, str]:
    """From the name in a saved desktop to the choice that it stands for."""
    return {choice.called: choice.name for choice in choices if choice.called}
