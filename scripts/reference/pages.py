"""The made parts of docs/: tables between `<!-- made: NAME -->` and `<!-- end -->`, and the man page.

It only renders; `__main__` writes, and a unit test compares.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, get_args, get_origin

import jinja2
from sevenlbd import __version__
from sevenlbd.base.errors import MEANING
from sevenlbd.config import tables
from sevenlbd.config.settings import Settings, extra, flag_of, in_toml, variable_of
from sevenlbd.images.description import SIZES, Description, spelled
from sevenlbd.outside.acceptance.criteria.every import ALL
from sevenlbd.outside.batch import exec_verb
from sevenlbd.outside.cli import command_line, verbs
from sevenlbd.outside.site import site_tables
from sevenlbd.outside.site.network_table import ProjectTable

REPO = Path(__file__).resolve().parents[2]
DOCS = REPO / "docs"
_PROJECT = "network.project.NAME"
_TABLES: Mapping[str, type[tables.Table]] = {**site_tables.TABLES, _PROJECT: ProjectTable}
_BLOCK = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def current() -> dict[Path, str]:
    """Each file that has something made in it, with the text that it should have."""
    files = {
        path: _with_blocks(path.read_text()) for path in sorted(DOCS.glob("*.md")) if _BLOCK.search(path.read_text())
    }
    return files | {DOCS / "7lbd.1": man_page()}


def _with_blocks(text: str) -> str:
    return _BLOCK.sub(lambda found: found[1] + BLOCKS[found[2]]() + found[3], text)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def settings_table() -> str:
    """Every setting: how it is spelled, its default, its meaning."""
    rows = []
    for name, field in Settings.model_fields.items():
        option = "" if extra(name)["site"] else f"`{_option(name)}`"
        variable = f"`{variable_of(name)}`" if variable_of(name) else "(site's file only)"
        default = f"`{in_toml(name, field.default)}`"
        rows.append([f"`{name}`", option, variable, default, str(field.description)])
    return _table(["TOML key", "option of `run`", "environment", "default", "meaning"], rows)


def _option(name: str) -> str:
    annotation = Settings.model_fields[name].annotation
    if annotation is bool:
        return flag_of(name) if not Settings.model_fields[name].default else f"--no-{flag_of(name)[2:]}"
    choices = _choices(annotation)
    return f"{flag_of(name)} {'|'.join(choices) if choices else extra(name)['metavar'] or 'VALUE'}"


def _choices(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, StrEnum):
        return [str(choice) for choice in annotation]
    return []


def exit_codes_table() -> str:
    """Every exit code with its meaning."""
    return _table(["code", "meaning"], [[str(code.value), meaning] for code, meaning in MEANING.items()])


def checks_table() -> str:
    """Every check of `image accept`: what it promises, and where it is made."""
    where: dict[tuple[str, ...], str] = {("linux",): "Linux", ("windows",): "Windows"}
    rows = [[f"`{one.name}`", one.about, where.get(one.systems, ""), "yes" if one.quick else ""] for one in ALL]
    return _table(["check", "what it promises", "only of", "with `--quick`"], rows)


def image_keys_table() -> str:
    """Every key of an image.toml: type, default, meaning."""
    rows = []
    for name, field in Description.model_fields.items():
        default = spelled(name, field.default) if name in SIZES else _toml(field.default)
        rows.append([f"`{field.alias or name}`", _type(name, field.annotation), f"`{default}`", str(field.description)])
    return _table(["key", "type", "default", "meaning"], rows)


def _type(name: str, annotation: Any) -> str:
    if name in SIZES:
        return 'size, `"4G"`'
    if choices := _choices(annotation):
        return ", ".join(f'`"{choice}"`' for choice in choices)
    if get_origin(annotation) is tuple:
        return f"list of {_type('', get_args(annotation)[0])}"
    if literals := get_args(annotation):
        return ", ".join(f"`{_toml(literal)}`" for literal in literals)
    return {str: "text", int: "number", bool: "`true`, `false`"}[annotation]


def _toml(value: object) -> str:
    return in_toml("name", tuple(str(item) for item in value) if isinstance(value, tuple) else value)


def image_verbs_table() -> str:
    """Every verb of `7lbd image` with what it takes and does."""
    rows = [[f"`{_call(name, verb)}`", str(verb.description)] for name, verb in _below("image").items()]
    return _table(["verb", "what it does"], rows)


def _below(family: str) -> dict[str, argparse.ArgumentParser]:
    """Every verb below a family, by its name without that; families in it give way to their verbs."""
    found = command_line.build()
    mine = [verb.name for verb in verbs.VERBS if verb.module and verb.name.startswith(f"{family} ")]
    return {name.removeprefix(f"{family} "): found[name] for name in mine}


def _call(name: str, verb: argparse.ArgumentParser) -> str:
    """A verb with the words that it takes, without its options."""
    return " ".join([name, *(_spelling(action) for action in verb._actions if not action.option_strings)])


def site_table(name: str) -> str:
    """Every key of a table of the site's file."""
    rows = [[f"`{key}`", f"`{default}`", about] for key, default, about in _site_keys(name)]
    return _table(["key", "default", "meaning"], rows)


def _site_keys(name: str) -> Iterator[tuple[str, str, str]]:
    for key, field in _TABLES[name].model_fields.items():
        default = "required" if field.is_required() else tables.written(field.default, tables.metavar(field))
        yield key, default, str(field.description)


def render_table() -> str:
    """Everything that `7lbd render` makes."""
    rows = [[f"`render {_call(name, verb)}`", str(verb.description)] for name, verb in _below("render").items()]
    return _table(["verb", "what it does"], rows)


BLOCKS: dict[str, Callable[[], str]] = (
    {
        "checks": checks_table,
        "settings": settings_table,
        "exit-codes": exit_codes_table,
        "image-keys": image_keys_table,
        "image-verbs": image_verbs_table,
        "render-verbs": render_table,
    }
    | {name: partial(site_table, name) for name in site_tables.TABLES}
    | {"project-network": partial(site_table, _PROJECT)}
)


def man_page() -> str:
    """7lbd(1), from the command line's parsers and the settings."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["roff"] = roff
    return environment.get_template("7lbd.1.j2").render(
        version=__version__,
        verbs=_verbs(_of_the_node()),
        image_verbs=_verbs(_below("image")),
        settings=[
            {"name": name, "variable": variable_of(name), "default": in_toml(name, field.default)}
            for name, field in Settings.model_fields.items()
        ],
        tables=[
            {
                "name": name,
                "about": _sentence(" ".join(str(kind.__doc__).partition(": ")[2].split())),
                "keys": list(_site_keys(name)),
            }
            for name, kind in _TABLES.items()
        ],
        exit_codes=[(code.value, meaning) for code, meaning in MEANING.items()],
        exec_exit_codes=exec_verb.EXIT_CODES.items(),
    )


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:]


def _of_the_node() -> dict[str, argparse.ArgumentParser]:
    """All verbs but those below `image`, which have a chapter of their own."""
    found = command_line.build()
    names = (verb.name for verb in verbs.VERBS if verb.module or verb.name == "image")
    return {name: found[name] for name in names if not name.startswith("image ")}


def _verbs(parsers: Mapping[str, argparse.ArgumentParser]) -> list[dict[str, Any]]:
    return [
        {"name": name, "call": _call(name, verb), "about": verb.description, "options": _options(verb)}
        for name, verb in parsers.items()
    ]


def roff(text: object) -> str:
    """Text that roff shows as it is (groff_char(7))."""
    escaped = str(text).replace("\\", "\\e").replace("-", "\\-").replace("`", "\\(ga").replace("~", "\\(ti")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped


def _options(verb: argparse.ArgumentParser) -> list[tuple[str, str]]:
    found = []
    for action in sorted(verb._actions, key=lambda action: bool(action.option_strings)):
        if isinstance(action, argparse._HelpAction) or not (action.option_strings or action.help):
            continue
        shown = (action.help or "").replace("%%", "%")
        found.append((_spelling(action), shown))
    return found


def _spelling(action: argparse.Action) -> str:
    value = "|".join(action.choices) if action.choices else str(action.metavar or action.dest.upper())
    if not action.option_strings:
        value = f"{value} ..." if action.nargs in ("*", "+") else value
        return f"[{value}]" if action.nargs in ("?", "*") else value
    names = ", ".join(action.option_strings)
    value = f"[{value}]" if action.nargs == "?" else value
    return names if action.nargs == 0 else f"{names} {value}"
