"""The verb `image accept`: sessions are started and asked, checks look at what came, a record is left."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ... import __version__
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...images import names, warm
from ...images.layout import MANIFEST
from ...images.lookup import image as images
from ...images.lookup import repositories
from ...images.lookup.image import Image
from ...images.repository import acceptances
from ...images.signing import digest
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, options
from ..console import terminal
from ..folders import bases
from . import gatherers, report, scrubbing
from .course import Course, CourseOptions
from .criteria import node_facts
from .criteria.criterion import Criterion, JudgementKind
from .criteria.every import ALL
from .criteria.evidence import Evidence
from .report import Acceptance

_SETTINGS = ("memory", "cpus", "cpu_model", "accel", "network", "session_dir", "ready_timeout", "stop_grace")


@dataclass(frozen=True)
class _Place:
    """Where record and report go: beside a version, or into a folder that was named."""

    folder: Path
    version: str


def accept(context: CommandContext) -> int:
    """Examine one version. Returns 0 when nothing failed."""
    image = images.resolve(context.options.image, context.folders)
    chosen = _chosen(context.options.only, quick=context.options.quick)
    place = _place(image, context.options.output, some=bool(context.options.only))
    tell = _Told(context.options.json)
    began = time.time()
    evidence = Evidence(image.description, node_facts.gathered(), context.options.quick, no_warm=_no_warm(image))
    with _base(context.settings.session_dir) as base:
        Course(_course(context, image, base), evidence, tell.line, gatherers.ALL).run()
        hidden = _hidden(image, base, evidence)
    acceptance = _acceptance(image, evidence, chosen, began, only=tuple(context.options.only))
    made = report.record(acceptance, partial(scrubbing.scrubbed, hidden=hidden))
    if place:
        _keep(place, made)
    _show(made, place, as_json=context.options.json)
    return ExitCode.OK if acceptance.passed else ExitCode.IMAGE


def _chosen(only: list[str], *, quick: bool) -> tuple[Criterion, ...]:
    """The checks that were asked for. Raises Refusal for a group that there is not."""
    groups = sorted({criterion.group for criterion in ALL})
    for group in only:
        if group not in groups:
            what = f"`{group}` is no group of checks"
            raise Refusal(ExitCode.USAGE, what, hint=f"--only with one of: {', '.join(groups)}")
    asked = (criterion for criterion in ALL if not only or criterion.group in only)
    return tuple(criterion for criterion in asked if criterion.quick or not quick)


def _place(image: Image, output: str, *, some: bool) -> _Place | None:
    """Where the result will be. Raises Refusal before an hour is spent for nothing.

    Some groups alone say nothing of a version: their result is kept only where that is asked for.
    """
    owner = repositories.owner(image.folder) if image.folder else None
    if output:
        said = image.description.version
        place = _Place(Path(output), said if names.is_version(said) else "image")
    elif some:
        return None
    elif owner and owner[1].version:
        place = _Place(owner[0] / owner[1].name, owner[1].version)
    else:
        what = f"{image.title}: is not a version in a repository, so there is no place beside it for the result"
        raise Refusal(ExitCode.USAGE, what, hint="say where it goes: --output FOLDER")
    if not os.access(place.folder, os.W_OK | os.X_OK):
        what = f"{place.folder}: you may not write there, where the result would go"
        raise Refusal(ExitCode.USAGE, what, hint="say where it goes: --output FOLDER; or ask who keeps the images")
    return place


def _no_warm(image: Image) -> str:
    """Why there will be no warm session; empty when there will."""
    if image.folder is None:
        return "a bare disk has no warm state"
    try:
        state = warm.read(image.folder)
    except warm.WarmError as error:
        return f"the warm state cannot be used: {error}"
    return "" if state else f"the image has no warm state: 7lbd image warm {image.title}"


@contextmanager
def _base(session_dir: str) -> Iterator[Path]:
    """A folder for the sessions' folders, of ours alone, where sessions have theirs."""
    where = user_path(session_dir) if session_dir else bases.temporary(os.environ)
    base = Path(tempfile.mkdtemp(prefix="7lbd-accept-", dir=where))
    try:
        yield base
    finally:
        shutil.rmtree(base, ignore_errors=True)


def _course(context: CommandContext, image: Image, base: Path) -> CourseOptions:
    settings = context.settings
    words = ["--image", str(image.folder or image.layers[0].path), "--web", "off", "--state-dir", str(base / "records")]
    for name in _SETTINGS:
        value = getattr(context.options, name)
        if value is not None and name != "session_dir":
            words += [f"--{name.replace('_', '-')}", str(value)]
    return CourseOptions(
        quick=context.options.quick,
        base=base,
        run_options=tuple(words),
        ready_timeout=settings.ready_timeout,
        stop_grace=settings.stop_grace,
        exec_options=tuple(word for word in words if word not in ("--web", "off")),
    )


def _hidden(image: Image, base: Path, evidence: Evidence) -> tuple[str, ...]:
    folder = str(image.folder.parent if image.folder else image.layers[0].path.parent)
    secrets = (secret for record in (*evidence.cold, *evidence.warm) for secret in record.secrets)
    return scrubbing.words_to_hide(os.environ, str(base), folder, *secrets)


def _acceptance(
    image: Image, evidence: Evidence, chosen: tuple[Criterion, ...], began: float, *, only: tuple[str, ...]
) -> Acceptance:
    mine = tuple(criterion for criterion in chosen if evidence.description.os in criterion.systems)
    manifest = image.folder / MANIFEST if image.folder else None
    return Acceptance(
        image=_plain(image.name or image.description.name) or "unnamed",
        version=_plain(image.version or image.description.version),
        digest=digest.plain(manifest, manifest.stat().st_size).hex() if manifest and manifest.exists() else "",
        guest_os=str(evidence.description.os),
        appliance=__version__,
        when=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began)),
        quick=evidence.quick,
        only=only,
        seconds=time.time() - began,
        node=evidence.node,
        results=report.judged(mine, evidence),
    )


def _plain(name: str) -> str:
    """A name as a repository takes it; none of a folder's description that may hold anything."""
    return name if names.is_version(name) else "unnamed" if name else ""


def _keep(place: _Place, made: dict[str, object]) -> None:
    try:
        acceptances.write(place.folder, place.version, report.as_json(made), report.as_text(made))
    except OSError as error:
        terminal.say(f"7lbd: {place.folder}: the result cannot be written: {error.strerror}", error=True)


def _show(made: dict[str, object], place: _Place | None, *, as_json: bool) -> None:
    if as_json:
        terminal.say_json(made)
        return
    rows = made["checks"]
    assert isinstance(rows, list)
    width = max(len(row["name"]) for row in rows)
    for row in rows:
        beside = f"  [{row['value']}{f', limit {row["limit"]}' if row['limit'] else ''}]" if row["value"] else ""
        terminal.say(
            f"{row['outcome']:<{len(JudgementKind.CANNOT_TELL)}}  {row['name']:<{width}}  {row['says']}{beside}"
        )
    counts = made["counts"]
    assert isinstance(counts, dict)
    told = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    terminal.say(f"7lbd: {'passed' if made['passed'] else 'failed'}: {told}")
    if place:
        terminal.say(f"7lbd: the report to pass on: {acceptances.paths(place.folder, place.version)[1]}")


class _Told:
    """What happens meanwhile, on standard error: nothing of it belongs to the result."""

    def __init__(self, as_json: bool) -> None:
        self._began = time.monotonic()
        self._as_json = as_json

    def line(self, text: str) -> None:
        """A line, with the minutes since the beginning."""
        minutes, seconds = divmod(int(time.monotonic() - self._began), 60)
        terminal.say(f"7lbd: {minutes:3}:{seconds:02}  {text}", error=True)


def _options(parser: Parser) -> None:
    options(parser, "image_dirs", *_SETTINGS)
    parser.add_argument(
        "image", metavar="NAME[@VERSION]|FOLDER", help="the image; the current version when none is named"
    )
    parser.add_argument(
        "--quick", action="store_true", help="only what takes minutes: two cold starts and two warm ones"
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="GROUP",
        help="judge only these; may be given several times. The result is then not put beside the version",
    )
    parser.add_argument(
        "--output", default="", metavar="FOLDER", help="put record and report there, not beside the image"
    )
    parser.add_argument("--json", action="store_true", help="print the record, too, as JSON")


COMMANDS = {"image accept": Command(accept, _options)}
