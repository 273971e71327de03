"""What a portal's job asks of HTCondor, as lines of its submit description.

OnDemand's adapter hands each on to condor_submit by ssh (`submit_host`), whose far end is a shell: so values are quoted
for one. Without ssh the adapter joins option and line into one word, which condor_submit does not take.
"""

from __future__ import annotations

import math
import shlex

from ...config.settings import Settings
from ...images import names
from ..job import leads
from ..schedulers import classad
from ..site.ondemand_table import keyed
from ..site.site_tables import Site


def of_size(site: Site, chosen: Settings) -> dict[str, dict[str, str]]:
    """The lines for each size that may be chosen, by what the form calls it."""
    grace = math.ceil(chosen.stop_grace + leads.AFTER_GUEST_SECONDS)
    common = {"kill_sig": "SIGTERM", "job_max_vacate_time": str(grace)}
    for command in site.condor.commands:
        name, _, value = command.partition("=")
        common[name.strip()] = shlex.quote(value.strip())
    if site.condor.disk:
        common["request_disk"] = f"{math.ceil(site.condor.disk / (1 << 20))}M"
    return {
        name: {"request_memory": f"{size.memory >> 20}M", "request_cpus": str(size.cpus), **common}
        for name, size in keyed(site.ondemand.sizes).items()
    }


def of_image(site: Site, chosen: Settings) -> dict[str, dict[str, str]]:
    """The lines that name the image, by the form's choices; the first is that of a form that does not ask."""
    table = site.condor
    choices = [name for name, _ in site.ondemand.choices()] or [chosen.image]
    return {choice: _named(choice, table.requirements, advertised=table.match_images) for choice in choices}


def _named(image: str, requirements: str, *, advertised: bool) -> dict[str, str]:
    conditions = [f"({requirements})"] if requirements else []
    lines = {}
    if advertised and names.is_name(image.partition("@")[0]):
        lines["+vm_name"] = shlex.quote(classad.written(image))
        conditions.append("stringListMember(MY.vm_name, TARGET.SevenLbdImages)")
    if conditions:
        lines["requirements"] = shlex.quote(" && ".join(conditions))
    return lines
