"""`[ondemand]`, a table of the site's file: what the portal's users may choose, and what the portal is like."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, model_validator

from ...base.errors import Refusal
from ...config.settings import Settings
from ...config.tables import Line, Lines, Options, Table, key
from ...config.value_kinds import Size, Words
from ..access import connectors, listeners

FORMAT = 1
"""Of form.json: what an app writes and the runtime of another version must still understand."""
LAST = "*"
"""Instead of a saved desktop's name: the one that was written last."""
HOME, FOLDER = "home", "folder"
"""Shares that have their names already: the user's home, and the folder that the form asks for."""
_NAME = re.compile(r"[A-Za-z0-9_.-]+")
_SHARE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,31})=(/.+)")
# Rails makes methods of them, and OnDemand's own begin with bc_ or auto_.
_ATTRIBUTE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_PATH = re.compile(r"/[A-Za-z0-9_.~-]+")
_LEAST_MEMORY = 64 << 20  # bytes; finds slips like `memory = 16`


def _clusters(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _NAME.fullmatch(value):
            raise ValueError("each is the name of a file in OnDemand's clusters.d, without .yml")
    return values


def _images(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        name, equals, label = value.partition("=")
        if not name.strip() or (equals and not label.strip()):
            raise ValueError("each is NAME, or NAME=LABEL with what people read")
    return values


def _shares(values: tuple[str, ...]) -> tuple[str, ...]:
    names = {HOME, FOLDER}
    for value in values:
        match = _SHARE.fullmatch(value)
        if not match:
            raise ValueError("each is NAME=PATH or NAME=PATH:ro, with a path from the root")
        name = match[1].lower().replace("-", "_")
        if name in names:
            raise ValueError(f"the name `{match[1]}` is taken; home and folder are names of our own")
        names.add(name)
    return values


def _roots(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not value.startswith("/") or "/.." in value or "," in value or ":" in value:
            raise ValueError("each is a folder's path from the root, without `..`, comma and colon")
    return values


def _attribute_names(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if not _ATTRIBUTE.fullmatch(value) or value.startswith("desktop_"):
            raise ValueError("each is an attribute of OnDemand's, for instance bc_account; desktop_... are our own")
    return values


def _attributes(values: object) -> object:
    if isinstance(values, dict):
        for name, value in values.items():
            if not _ATTRIBUTE.fullmatch(str(name)):
                raise ValueError(f"`{name}` cannot be an attribute's name: lower-case letters, digits and _")
            try:
                json.dumps(value)
            except TypeError:
                raise ValueError(f"`{name}` has a value that is no text, number, list or table") from None
    return values


def _path(value: str) -> str:
    if not _PATH.fullmatch(value):
        raise ValueError("it is one part of an address, for instance /node or /rnode")
    return value


class DesktopSize(Table):
    """One of the sizes that the form offers: what is asked of the scheduler."""

    label: Line = key("", "What people read; made of the rest when empty.")
    cpus: int = key(2, "CPUs of the job.", metavar="N", ge=1, le=4096)
    memory: Size = key(8 << 30, "Memory of the job; the guest gets it but for what its helpers need.", metavar="SIZE")
    options: Options = key((), "Further options of sbatch for this size, for instance `--gres=gpu:1`.")

    @model_validator(mode="after")
    def _not_too_small(self) -> DesktopSize:
        if self.memory < _LEAST_MEMORY:
            raise ValueError("a size has its memory in bytes, or with M or G: 16G")
        return self

    @property
    def title(self) -> str:
        """What people read."""
        cores = "1 core" if self.cpus == 1 else f"{self.cpus} cores"
        memory = f"{self.memory / (1 << 30):.3g} GB"
        return self.label or f"{cores}, {memory}"


class OnDemandTable(Table):
    """`[ondemand]`: the app that `render ondemand` writes, and what its form may ask for."""

    cluster: Annotated[Words, AfterValidator(_clusters)] = key(
        (), "The clusters, by their names in OnDemand (/etc/ood/config/clusters.d/NAME.yml)."
    )
    condor_clusters: Annotated[Words, AfterValidator(_clusters)] = key(
        (), "Those of the clusters that are HTCondor's (adapter: htcondor); the others are Slurm's."
    )
    title: Line = key("Windows desktop", "The app's name on the dashboard.", min_length=1)
    description: Line = key(
        "A desktop of your own on a node of the cluster, in the browser.", "What it says of itself."
    )
    category: Line = key("Interactive Apps", "The menu that the app is in.")
    subcategory: Line = key("Desktops", "The heading in that menu.")
    images: Annotated[Lines, AfterValidator(_images)] = key(
        (),
        "Images to choose from: NAME, or NAME=LABEL; the first is preset. Empty: the setting `image`, and no choice.",
    )
    sizes: tuple[DesktopSize, ...] = key(
        (DesktopSize(),), "Sizes to choose from, tables of label, cpus, memory and options; the first is preset."
    )
    hours: int = key(4, "Hours that the form presets.", metavar="N", ge=1, le=8760)
    max_hours: int = key(8, "Most hours that may be asked for.", metavar="N", ge=1, le=8760)
    shares: Annotated[Lines, AfterValidator(_shares)] = key(
        (), "Folders that users may tick, beside their home: NAME=PATH[:ro]."
    )
    share_roots: Annotated[Lines, AfterValidator(_roots)] = key(
        (), "Folders below which users may name one to be shared; empty: the form does not ask."
    )
    console: bool = key(True, "Show a button for the console, where the setting `console` offers one.")
    saved: bool = key(
        True,
        "Offer users their suspended desktops to go on from, and a button that suspends, unless `state_dir` is off.",
    )
    web: Line = key(
        "0.0.0.0:20000-20999",
        "Where the pages of the portal's sessions listen on the nodes; by plain HTTP, which is what portals speak.",
        metavar="ADDRESS:PORT-LAST",
    )
    portals: Words = key((), "The portal's origins, as https://ondemand.example.edu; empty: the setting `portals`.")
    proxy: Annotated[str, AfterValidator(_path)] = key(
        "/node", "The portal's path to ports of nodes: its node_uri, or whatever its rnode_uri is."
    )
    form: Annotated[Words, AfterValidator(_attribute_names)] = key(
        (), "Further attributes of OnDemand in the form, for instance bc_account."
    )
    attributes: Annotated[dict[str, Any], BeforeValidator(_attributes)] = key(
        {},
        "Tables that are laid over the form's attributes: [ondemand.attributes.NAME]. A plain value is everybody's "
        "answer, and nobody is asked.",
    )
    options: Options = key((), "Further options of sbatch, beside those of [slurm] and of the size.")

    @model_validator(mode="after")
    def _one_size_at_least(self) -> OnDemandTable:
        if not self.sizes:
            raise ValueError("`sizes` is empty, so nobody could choose one")
        if self.hours > self.max_hours:
            raise ValueError(f"`hours` = {self.hours} is more than `max_hours` = {self.max_hours}")
        return self

    @property
    def schedulers(self) -> list[str]:
        """Whose clusters there are: of one kind, or of both."""
        return list(dict.fromkeys("condor" if name in self.condor_clusters else "slurm" for name in self.cluster))

    def choices(self) -> list[tuple[str, str]]:
        """The images to choose from, each with what people read."""
        parts = (image.partition("=") for image in self.images)
        return [(name.strip(), label.strip() or name.strip()) for name, _, label in parts]

    def offered(self) -> dict[str, str]:
        """The folders that may be ticked: what is in the form, and the share as `run` takes it."""
        return {f"desktop_share_{share.partition('=')[0].lower().replace('-', '_')}": share for share in self.shares}


def amiss(table: OnDemandTable, settings: Settings) -> Iterator[str]:
    """What does not fit together, a sentence each: the app would be there, and no desktop in it."""
    if not table.cluster:
        yield "[ondemand] `cluster` is missing: OnDemand would not know where to submit the job"
    if not table.images and not settings.image:
        yield "neither [ondemand] `images` nor the setting `image` says what to boot"
    try:
        address = listeners.parse("web", table.web)
        if address is None or address.is_loopback:
            yield f"[ondemand] `web` = {table.web}: the portal cannot reach that from its own machine"
    except Refusal as refusal:
        yield f"[ondemand] {refusal.what}"
    for portal in table.portals:
        try:
            connectors.origin(portal)
        except Refusal as refusal:
            yield f"[ondemand] {refusal.what}"
    if not table.portals and not settings.portals:
        yield "neither [ondemand] nor the settings name the `portals`: any name that leads to a node opens its pages"
    if strangers := [name for name in table.condor_clusters if name not in table.cluster]:
        yield f"[ondemand] `condor_clusters` names `{strangers[0]}`, which is not in `cluster`"
    known = [*table.form, "bc_num_hours", "cluster", *attributes(table)]
    for name in table.attributes:
        if name not in known:
            yield f"[ondemand.attributes.{name}] is in no form: add it to `form`, or mend its name"
    yield from _wrong_answers(table)


def _wrong_answers(table: OnDemandTable) -> Iterator[str]:
    """Plain values for what the form itself asks, which neither it nor a session would take."""
    takes = {
        "bc_num_hours": [str(hours) for hours in range(1, table.max_hours + 1)],
        "desktop_saved": [""],
        "desktop_image": [name for name, _ in table.choices()],
        "desktop_size": list(keyed(table.sizes)),
        **{name: ["0", "1"] for name in table.offered()},
    }
    words = {
        "bc_num_hours": f"a whole number from 1 to `max_hours` = {table.max_hours}",
        "desktop_saved": "``, a new desktop",
        "desktop_folder": "a path",
    }
    for name, value in table.attributes.items():
        if name not in ("bc_num_hours", *attributes(table)) or isinstance(value, dict):
            continue
        if not (isinstance(value, str) if name == "desktop_folder" else str(value) in takes[name]):
            may_be = words.get(name) or ", ".join(f"`{one}`" for one in takes[name])
            yield f"[ondemand.attributes] `{name}` = {value!r} would be everybody's answer, and it can be {may_be}"


def attributes(table: OnDemandTable) -> list[str]:
    """The names of the form's own attributes, in order."""
    names = ["desktop_image"] if len(table.images) > 1 else []
    names += ["desktop_size"] if len(table.sizes) > 1 else []
    names += table.offered()
    names += ["desktop_folder"] if table.share_roots else []
    return names + (["desktop_saved"] if table.saved else [])


def keyed(sizes: tuple[DesktopSize, ...]) -> dict[str, DesktopSize]:
    """The sizes by what the form says of each: a name that stays when the site adds or moves one."""
    by_name: dict[str, DesktopSize] = {}
    for size in sizes:
        name = f"{size.cpus}x{size.memory >> 20}"
        while name in by_name:
            name += "b"
        by_name[name] = size
    return by_name
