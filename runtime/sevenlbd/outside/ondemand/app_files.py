"""The files of the OnDemand app, made of the site's file: the wording is in `templates`, the quoting is here.

Four languages meet in them: Ruby in ERB, YAML, shell and HTML. Each value of the site's is quoted for the one that it
stands in; what a user types into the form is put into `form.json` by Ruby and read by the runtime, never by a shell.

The files and what OnDemand does with them: OnDemand's documentation, "Develop Interactive Apps".
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ... import __version__
from ...base.rdp_file import FIRST_PORT, PORTS
from ...config.settings import Settings
from ..job import leads
from ..job.sizing import HELPERS_MEMORY
from ..presence import records
from ..saved import estimate, places, saved_format
from ..site import binds
from ..site.ondemand_table import FORMAT, LAST, OnDemandTable, attributes, keyed
from ..site.site_tables import Site
from . import condor_lines, image_choices
from .image_choices import ImageChoice, Look

PAGES = ("view.html.erb", "info.html.erb", "completed.html.erb")
SCRIPTS = ("before.sh", "script.sh", "after.sh", "clean.sh")
ICON = "icon.png"
SITES_OWN = (*SCRIPTS, *PAGES, ICON)
"""What a site may lay into the app's folder `site`: it is woven into the file of that name."""
_ERB = re.compile(r"<%|%>")
_PLAIN = re.compile(r"[A-Za-z0-9 ._:/=,+@()-]")


@dataclass(frozen=True)
class File:
    content: bytes
    mode: int = 0o644


def ruby(text: str) -> str:
    """A text as Ruby's literal, which neither Ruby nor ERB sees anything in."""
    return '"' + "".join(sign if _PLAIN.fullmatch(sign) else f"\\u{{{ord(sign):x}}}" for sign in text) + '"'


def words(values: list[str] | tuple[str, ...]) -> str:
    """A list of texts as Ruby's literal."""
    return "[" + ", ".join(map(ruby, values)) + "]"


def pairs(values: Mapping[str, str]) -> str:
    """A table of texts as Ruby's literal."""
    return "{" + ", ".join(f"{ruby(name)} => {ruby(value)}" for name, value in values.items()) + "}"


def yaml(value: object) -> str:
    """A value as YAML, in its JSON-like form (YAML 1.2, section 10.2)."""
    written = json.dumps(value, ensure_ascii=False)
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in written)


def _escaped(sign: str) -> str:
    """YAML 1.2, section 5.7."""
    return f"\\u{ord(sign):04x}" if ord(sign) <= 0xFFFF else f"\\U{ord(sign):08x}"


def yaml_in_erb(value: object) -> str:
    """The same in a file that ERB reads first."""
    return _ERB.sub(lambda match: "\\u003c%" if match[0] == "<%" else "%\\u003e", yaml(value))


def _unseen(_name: str) -> None:
    """Nothing is known of any image."""


def compose(site: Site, chosen: Settings, sif: str, own: Mapping[str, bytes], look: Look = _unseen) -> dict[str, File]:
    """Every file of the app by its path. `own` is what the site has laid into `site/`, `look` tells of an image."""
    table = site.ondemand
    environment = Environment(
        loader=PackageLoader("sevenlbd.outside.ondemand"),
        undefined=StrictUndefined,
        # Neither ERB, shell, Ruby nor HTML writes these.
        block_start_string="@%", block_end_string="%@", variable_start_string="@{", variable_end_string="}@",
        comment_start_string="@#", comment_end_string="#@",
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    environment.filters |= {
        "ruby": ruby, "words": words, "pairs": pairs, "yaml": yaml, "yaml_in_erb": yaml_in_erb, "sh": shlex.quote,
    }  # fmt: skip
    facts = _facts(site, chosen, sif) | _of_jobs(site, chosen, image_choices.of(table, chosen, look))
    texts = {name: data.decode() for name, data in own.items() if name != ICON}

    def made(name: str, **more: Any) -> bytes:
        own_text = texts.get(name.rpartition("/")[2], "")
        return environment.get_template(f"{name}.j2").render(facts, own=own_text, **more).encode()

    app = {name: File(made(name)) for name in ("manifest.yml", "submit.yml.erb", "template/form.json.erb", *PAGES)}
    app["form.yml.erb"] = File(made("form.yml.erb", form=_form(table, saves=facts["saves"])))
    for name in SCRIPTS:
        # OnDemand runs script.sh as a program and sources the others; files keep their modes on the way.
        app[f"template/{name}"] = File(made(f"template/{name}"), 0o755 if name == "script.sh" else 0o644)
    app[ICON] = File(own.get(ICON) or files(__package__).joinpath("templates", ICON).read_bytes())
    return app


def _facts(site: Site, chosen: Settings, sif: str) -> dict[str, Any]:
    """What the templates are filled with."""
    table = site.ondemand
    # On clusters of both kinds Apptainer is called as on Slurm's.
    called = site.job_table("slurm" if "slurm" in table.schedulers else "condor")
    slurm = site.slurm
    return {
        "version": __version__,
        "format": FORMAT,
        "table": table,
        "attributes": attributes(table),
        "condor": list(table.condor_clusters),
        "condor_account": "" if {"bc_account", "auto_accounts"} & {*table.form} else site.condor.account,
        "queue": "" if {"bc_queue", "auto_queues"} & {*table.form} else slurm.partition,
        "account": "" if {"bc_account", "auto_accounts"} & {*table.form} else slurm.account,
        "setup": called.setup,
        "apptainer": called.apptainer,
        "shows": binds.script(binds.folders(sif, chosen, _named(table)), called.binds, first='"$desktop_folder"'),
        "sif": sif,
        "first_port": FIRST_PORT,
        "ports": PORTS,
        "console": table.console and chosen.console,
        "saves": table.saved and chosen.state_dir != records.OFF,
        "state": _state_folder(chosen.state_dir),
        "saved": places.SAVED,
        "suffix": places.SUFFIX,
        "saved_begins": saved_format.BEGINNINGS,
        "header_room": saved_format.HEADER_ROOM,
        "last": LAST,
    }


def _state_folder(state_dir: str) -> str:
    """The folder of the user's state, as Ruby finds it on the portal's machine (presence/records.where)."""
    if state_dir:
        return f"File.expand_path({ruby(state_dir)})"
    homes = '[ENV["XDG_STATE_HOME"].to_s, File.join(Dir.home, ".local/state")]'
    return f'File.join({homes}.find {{ |at| at[0] == "/" }}, "7lbd")'


def _named(table: OnDemandTable) -> list[str]:
    """The folders that a form may lead to: of images that are paths, of shares, and the roots."""
    images = [str(Path(name).parent) for name, _ in table.choices() if name.startswith("/")]
    return [*images, *map(binds.path_of, table.shares), *table.share_roots]


def _of_jobs(site: Site, chosen: Settings, choices: Sequence[ImageChoice]) -> dict[str, Any]:
    """What the template counts with, when a form has come; durations in seconds, memory in MiB."""
    table = site.ondemand
    return {
        "sizes": keyed(table.sizes),
        "helpers": HELPERS_MEMORY >> 20,
        "native": _native(site),
        "suspending": [choice.name for choice in choices if choice.suspends],
        "called": image_choices.called(choices),
        "first_image": choices[0].name,
        "on_condor": condor_lines.of_size(site) if table.condor_clusters else {},
        "vm_names": condor_lines.of_image(site, choices) if table.condor_clusters else {},
        "leads": leads,
        "signal_lead": math.ceil(chosen.signal_lead),
        "least_lead": math.ceil(leads.least(chosen, suspending=True)),
        "stop_grace": math.ceil(chosen.stop_grace),
        "after_guest": math.ceil(leads.AFTER_GUEST_SECONDS),
        "estimate": estimate,
    }


def _native(site: Site) -> list[str]:
    """What sbatch is asked for in every size (sbatch(1)), beside its signal."""
    options = []
    for name, value in (("qos", site.slurm.qos), ("constraint", site.slurm.constraint)):
        options += [f"--{name}={value}"] if value else []
    return [*options, *site.slurm.options, *site.ondemand.options]


@dataclass(frozen=True)
class Erb:
    """A value that Ruby finds when the form is shown, as the template has it."""

    code: str


def _form(table: OnDemandTable, *, saves: bool) -> str:
    """form.yml.erb but for its head: what the user is asked."""
    own = dict(_fields(table, saves=saves))
    names = [
        *(["desktop_saved"] if "desktop_saved" in own else []),
        *(["desktop_image"] if "desktop_image" in own else []),
        *(["desktop_size"] if "desktop_size" in own else []),
    ]
    names += ["bc_num_hours", *(name for name in own if name not in (*names, "bc_num_hours")), *table.form]
    fields = {
        name: _laid_over(own.get(name, {}), table.attributes.get(name, {}))
        for name in names
        if name in own or name in table.attributes
    }
    clusters = list(table.cluster)
    lines = [
        f"cluster: {yaml_in_erb(clusters[0] if len(clusters) == 1 else clusters)}",
        f"title: {yaml_in_erb(table.title)}",
        f"description: {yaml_in_erb(table.description)}",
        "form:",
        *(f"  - {yaml_in_erb(name)}" for name in dict.fromkeys(names)),
        "attributes:",
    ]
    for name, field in fields.items():
        if isinstance(field, dict):
            lines += [f"  {name}:", *(f"    {key}: {_value(value)}" for key, value in field.items())]
        else:
            lines.append(f"  {name}: {yaml_in_erb(field)}")
    return "\n".join(lines) + "\n"


def _laid_over(own: dict[str, Any], said: Any) -> Any:
    """What the site says of an attribute. A plain value takes its place: OnDemand fixes it then, and asks nobody."""
    return own | said if isinstance(said, dict) else said


def _value(value: object) -> str:
    return value.code if isinstance(value, Erb) else yaml_in_erb(value)


def _fields(table: OnDemandTable, *, saves: bool) -> Iterator[tuple[str, dict[str, Any]]]:
    """The form's own attributes."""
    if saves:
        note = "What you suspended within the last hours is there as the last one only."
        found = Erb("<%= JSON.generate(choices) %>")
        yield "desktop_saved", {"widget": "select", "label": "Begin with", "options": found, "help": note}
    if len(table.images) > 1:
        options = [[label, name] for name, label in table.choices()]
        yield "desktop_image", {"widget": "select", "label": "Desktop", "options": options}
    if len(table.sizes) > 1:
        options = [[size.title, name] for name, size in keyed(table.sizes).items()]
        yield "desktop_size", {"widget": "select", "label": "Size", "options": options}
    hours = {"label": "Hours", "value": table.hours, "min": 1, "max": table.max_hours, "step": 1}
    yield "bc_num_hours", {**hours, "help": f"The desktop ends after so many hours; {table.max_hours} at most."}
    for name, share in table.offered().items():
        title, _, path = share.partition("=")
        kind = " (read only)" if path.endswith(":ro") else ""
        yield name, {"widget": "check_box", "label": f"Share {title}{kind}", "help": f"`{binds.path_of(share)}`"}
    if table.share_roots:
        where = " or ".join(f"`{root}`" for root in table.share_roots)
        note = f"The path of a folder below {where}, seen in the desktop as the share `folder`. May be left empty."
        yield "desktop_folder", {"widget": "text_field", "label": "A folder of yours", "value": "", "help": note}
