"""What came back from the portal's form, checked against the site's table: it becomes settings, or a refusal.

form.json holds text that a user typed, or that a hostile page made a user send. Nothing of it has been near a shell.
What the site's file says of portal sessions (where the page listens, the portal's origin) comes in on the same way.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ...base import hostnames
from ...base.errors import ExitCode, Refusal
from ...base.paths import is_folder, user_path
from ...config import sources
from ...config.merging import Source
from ..folders import shares
from ..site import site_tables
from ..site.ondemand_table import FOLDER, FORMAT, OnDemandTable, keyed

REPORT = "report"
"""The folder beside form.json in which the session leaves a record for the portal's card."""
_MOST = 64 << 10  # bytes; a guess: the answers to some dozens of questions
_TICKED = {"1", "true", "on", "yes"}


@dataclass(frozen=True)
class FormAnswers:
    """The settings that follow from a form, and what its user should know of them."""

    source: Source
    notes: tuple[str, ...] = ()


def read(file: str, here: sources.Places) -> FormAnswers:
    """The settings of a portal's session. Raises Refusal for whatever the site does not allow."""
    path = user_path(file).absolute()
    said = _said(path)
    site = site_tables.read(here)
    if not site.file or not site.ondemand.cluster:
        what = f"{path}: the site's file has no table [ondemand], so it is not known what a form may ask for"
        raise Refusal(ExitCode.USAGE, what, hint=f"the container must show {site.file or '7lbd.toml beside the SIF'}")
    table = site.ondemand
    # OnDemand's script exports the name by which it sends browsers to this node (batch_connect, set_host).
    host = here.environment.get("host", "")
    values: dict[str, object] = {
        "web": table.web,
        # Portals speak plain HTTP to nodes, whatever the sessions do that users start by themselves.
        "web_plain_http": True,
        "web_tls": False,
        "web_certificate": "",
        "web_key": "",
        "report_dir": str(report_of(file)),
        **({"portals": table.portals} if table.portals else {}),
        **({"web_names": (host,)} if hostnames.is_node_name(host.lower()) else {}),
        **_begun_with(table, said, here),
        **({"shares": shares} if (shares := tuple(_shares(table, said))) else {}),
    }
    trouble = _trouble_with_home(here.environment)
    if trouble:
        values["home_share"] = False
    notes = [f"your home is not in the desktop: {trouble}"] if trouble else []
    notes += _notes_on_size(table, said)
    # Trusted: each value is the site's own, or one of those that the site offers.
    return FormAnswers(Source("the portal's form", values, trusted=True), tuple(notes))


def _begun_with(table: OnDemandTable, said: Mapping[str, str], here: sources.Places) -> dict[str, object]:
    """The image, or the suspended desktop and the image that it stands on. Raises Refusal."""
    if wanted := said.get("desktop_saved", ""):
        from . import suspended  # its libraries are large

        return suspended.chosen(table, wanted, here)
    image = _image(table, said)
    return {"image": image} if image else {}


def report_of(file: str) -> Path:
    """Where the session that a form asks for leaves a record."""
    return user_path(file).absolute().parent / REPORT


def _said(path: Path) -> dict[str, str]:
    """The form's fields."""
    try:
        with path.open("rb") as file:
            data = file.read(_MOST + 1)
    except OSError as error:
        raise Refusal(
            ExitCode.USAGE, f"{path}: the form cannot be read: {error.strerror}",
            hint="OnDemand writes it when a session is started; the container must show its folder",
        ) from None  # fmt: skip
    try:
        if len(data) > _MOST:
            raise ValueError("it is too long")
        said = json.loads(data)
        if not isinstance(said, dict):
            raise ValueError("it is no table")
    except (ValueError, RecursionError) as error:
        raise Refusal(ExitCode.USAGE, f"{path}: is not a form: {error}", hint="start a new session") from None
    if said.pop("format", None) != FORMAT:
        what = f"{path}: was written by the app of another version of 7lbd"
        raise Refusal(ExitCode.USAGE, what, hint="the site renders the app again: 7lbd render ondemand DIR")
    return {name: value.strip() for name, value in said.items() if isinstance(value, str)}


def _notes_on_size(table: OnDemandTable, said: Mapping[str, str]) -> list[str]:
    """A size of a form that is older than the site's table: the job has been given the first one."""
    sizes = keyed(table.sizes)
    if len(sizes) < 2 or said.get("desktop_size", "") in ("", *sizes):
        return []
    return [f"the size that you chose is no longer offered; this desktop has {table.sizes[0].title}"]


def _image(table: OnDemandTable, said: Mapping[str, str]) -> str:
    """The image, one of the site's choices; empty when it has none."""
    names = [name for name, _ in table.choices()]
    requested = said.get("desktop_image", "")
    if requested and requested not in names:
        known = ", ".join(names) or "none"
        raise Refusal(ExitCode.USAGE, f"the form asks for the image {requested!r}", hint=f"the site offers: {known}")
    return requested or (names[0] if names else "")


def _shares(table: OnDemandTable, said: Mapping[str, str]) -> Iterator[str]:
    """The folders that were ticked, and the one that was named."""
    for name, share in table.offered().items():
        if said.get(name, "").lower() in _TICKED:
            yield share
    if requested := said.get("desktop_folder", ""):
        # The `:rw` is there to be taken off: a folder's name may end in `:ro`.
        yield f"{FOLDER}={_below_roots(table, requested)}:rw"


def _below_roots(table: OnDemandTable, requested: str) -> Path:
    """The folder, without links and `..`, if it is where the site allows it. Raises Refusal."""
    allowed = " or ".join(table.share_roots)
    if not allowed:
        raise Refusal(
            ExitCode.SHARE, f"the form asks for the folder {requested!r}", hint="this site offers no such choice"
        )
    what, hint = f"the form asks for the folder {requested!r}", f"name a folder of yours below {allowed}"
    try:
        folder = Path(requested).resolve() if requested.startswith("/") and "\0" not in requested else None
    except (OSError, RuntimeError):
        folder = None
    if folder and not any(folder.is_relative_to(Path(root).resolve()) for root in table.share_roots):
        what, folder = what + (f", which is {str(folder)!r}" if str(folder) != requested else ""), None
    if not folder:
        raise Refusal(ExitCode.SHARE, f"{what}, outside of what the site allows", hint=hint)
    if not is_folder(folder) or not os.access(folder, os.R_OK | os.X_OK):
        raise Refusal(ExitCode.SHARE, f"{what}, which is not there or not yours to read", hint=hint)
    return folder


def _trouble_with_home(environment: Mapping[str, str]) -> str:
    """Why the home cannot be shared: somebody without a proper one still gets a desktop."""
    try:
        shares.home(environment)
    except Refusal as refusal:
        return refusal.what
    return ""
