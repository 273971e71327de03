"""`7lbd render site`: the site's file, made from the declarations. What the site has said already stands in it."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from pydantic.fields import FieldInfo

from ... import __version__
from ...base.errors import ExitCode
from ...config import sources
from ...config.settings import NETWORK, Settings, extra, tables_of
from ...config.tables import Table, metavar, written
from ..cli.command import Command, CommandContext
from ..console import terminal
from . import site_tables
from .network_table import ProjectTable

_WIDTH = 120  # columns
_HEAD = """\
The site's settings of 7lbd {version}. This file belongs beside 7lbd.sif, with the name 7lbd.toml: readable for all,
writable for you.

A key behind a # shows its default: take the # away to set it. A size is a number with K, M, G or T, as "8G"; a duration
one with s, m, h or d, as "90m". What is wrong in here is refused, never guessed; ask a node, as an ordinary user:
apptainer run 7lbd.sif doctor --site

Users can set the same on the command line, by SEVENLBD_* and in ~/.config/7lbd/7lbd.toml: all but what `locked` lists
and what says `Yours alone`. The tables at the end are yours alone, too. After an update, `render site > new.toml` has
the new keys, and what is set here.
"""
GROUPS = {
    "image": "Images",
    "memory": "The machine",
    "shares": "Files",
    "accel": "What the node gives",
    "web": "Ways in",
    "egress": "Ways out",
    "time_limit": "Time and place",
    "locked": "What nobody else may set",
}
"""The settings that begin a group, in the order of their declaration."""
NOT_FOR_ALL = frozenset({"name", "exit_when_ready", "json_events", "report_dir"})
"""Settings of one session: for all sessions at once they are a mistake."""


def _render(context: CommandContext) -> int:
    file, said = sources.site_file(context.here)
    terminal.say_text(text(said))
    if file and said:
        terminal.say(f"7lbd: what {file} sets is set in it, too; its comments are not in it", error=True)
    return ExitCode.OK


def text(said: Mapping[str, object]) -> str:
    """The file, with those values that a site has already."""
    lines = [*_comment(_HEAD.format(version=__version__)), ""]
    said_tables = tables_of(said)
    said = {name: value for name, value in said.items() if name not in said_tables}
    for name, field in Settings.model_fields.items():
        if name in GROUPS:
            lines += _heading(GROUPS[name])
        if name not in NOT_FOR_ALL or name in said:
            only = " Yours alone." if extra(name)["site"] else ""
            lines += _key(name, field, said, only)
    for name, kind in site_tables.TABLES.items():
        lines += _table(name, kind, said_tables.get(name))
    lines += _networks(said_tables.get(NETWORK))
    return "\n".join(lines).rstrip()


def _table(name: str, kind: type[Table], said: object) -> Iterator[str]:
    yield from _heading(f"{' '.join(str(kind.__doc__).split())} The settings above must stay above.")
    yield f"[{name}]"
    for key, field in kind.model_fields.items():
        yield from _key(key, field, said if isinstance(said, Mapping) else {})


def _networks(said: object) -> Iterator[str]:
    """A table for each private network; an example where there is none."""
    yield from _heading(
        f"{' '.join(str(ProjectTable.__doc__).split())} As many as you like. Where there is one, the setting `network` "
        "is `mode` of the table [network], and not a key above."
    )
    table = said if isinstance(said, Mapping) else {}
    named = table.get("project")
    if "mode" in table:
        yield from ("[network]", f"mode = {written(table['mode'])}", "")
    for name, project in (named if isinstance(named, Mapping) else {"NAME": None}).items():
        keys = project if isinstance(project, Mapping) else {}
        yield f"{'' if keys else '# '}[network.project.{name}]"
        for key, field in ProjectTable.model_fields.items():
            yield from _comment(f"{field.description}{_takes(field)}")
            default = "..." if field.is_required() else written(field.default, metavar(field))
            yield f"{key} = {written(keys[key])}" if key in keys else f"#   {key} = {default}"
        yield ""


def _heading(title: str) -> Iterator[str]:
    yield "# " + "=" * (_WIDTH - 2)
    yield from _comment(title)
    yield ""


def _key(name: str, field: FieldInfo, said: Mapping[str, object], more: str = "") -> Iterator[str]:
    yield from _comment(f"{field.description}{_takes(field)}{more}")
    yield f"{name} = {written(said[name])}" if name in said else f"#{name} = {written(field.default, metavar(field))}"
    yield ""


def _takes(field: FieldInfo) -> str:
    kind: Any = field.annotation
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return f" One of {', '.join(kind)}."
    return f" A list of {metavar(field)}." if isinstance(field.default, tuple) and metavar(field) else ""


def _comment(text: str) -> Iterator[str]:
    for number, paragraph in enumerate(text.split("\n\n")):
        if number:
            yield "#"
        yield from textwrap.wrap(paragraph, _WIDTH, initial_indent="# ", subsequent_indent="# ", break_on_hyphens=False)


COMMANDS = {"render site": Command(_render)}
