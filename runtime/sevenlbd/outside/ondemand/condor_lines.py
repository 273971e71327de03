"""What a portal's job asks of HTCondor, as lines of its submit description.

OnDemand's adapter hands each on to condor_submit by ssh (`submit_host`), whose far end is a shell: so values are quoted
for one. Without ssh the adapter joins option and line into one word, which condor_submit does not take.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Sequence

from ...images import names
from ..schedulers import classad
from ..site.condor_table import CondorTable
from ..site.site_tables import Site
from .image_choices import ImageChoice


def of_size(site: Site) -> dict[str, str]:
    """The lines of every size; what a size and an image make of them is counted when a form has come."""
    lines = {"kill_sig": "SIGTERM"}
    for command in site.condor.commands:
        name, _, value = command.partition("=")
        lines[name.strip()] = shlex.quote(value.strip())
    if site.condor.disk:
        lines["request_disk"] = f"{math.ceil(site.condor.disk / (1 << 20))}M"
    return lines


def of_image(site: Site, choices: Sequence[ImageChoice]) -> dict[str, dict[str, str]]:
    """The lines that name the image, by the form's choices; the first is that of a form that does not ask."""
    return {choice.name: dict(_named(choice.name, site.condor)) for choice in choices}


def _named(image: str, table: CondorTable) -> Iterator[tuple[str, str]]:
    conditions = [f"({table.requirements})"] if table.requirements else []
    if table.match_images and names.is_name(image.partition("@")[0]):
        yield "+vm_name", shlex.quote(classad.written(image))
        conditions.append("stringListMember(MY.vm_name, TARGET.SevenLbdImages)")
    if conditions:
        yield "requirements", shlex.quote(" && ".join(conditions))
