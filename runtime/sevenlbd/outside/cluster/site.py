"""The site file's tables: what `submit`, `render` and `doctor --site` know of the site. Each key declared once.

The settings of sessions, in the same file, are declared in `settings`. A session never reads these tables.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ...errors import ExitCode, Refusal
from ...settings import Duration, Size, Words, in_words, nearest
from .. import places

_NAME = re.compile(r"[A-Za-z0-9_.,+-]*")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError("a name has letters, digits and _ . + -; several are separated by commas")
    return value


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("it must be one line of printable characters")
    return value


def _lines(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(_one_line(value) for value in values)


def _options(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _lines(values):
        if not value.startswith("-"):
            raise ValueError("each is an option of sbatch, for instance `--gres=gpu:1`")
    return values


def _binds(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in _lines(values):
        if not value.startswith("/") or "," in value:
            raise ValueError("each is a path from the root, as `apptainer run --bind` takes it, without a comma")
    return values


Name = Annotated[str, AfterValidator(_name)]
Line = Annotated[str, AfterValidator(_one_line)]
Lines = Annotated[Words, AfterValidator(_lines)]
Options = Annotated[Words, AfterValidator(_options)]
Binds = Annotated[Words, AfterValidator(_binds)]


def key(default: Any, description: str, *, metavar: str = "", **limits: Any) -> Any:
    """A key's one declaration; `metavar` says what it takes, as with settings."""
    return Field(default=default, description=description, json_schema_extra={"metavar": metavar}, **limits)


class Table(BaseModel):
    """What all tables have in common: nothing in them is guessed."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Slurm(Table):
    """`[slurm]`: the job in which a desktop runs, and how Apptainer is called there. Empty: sbatch decides."""

    partition: Name = key("", "Partition of the job (sbatch --partition).")
    account: Name = key("", "Account that is charged (sbatch --account).")
    qos: Name = key("", "Quality of service (sbatch --qos).")
    constraint: Line = key("", "Features that the node must have (sbatch --constraint), for instance `kvm`.")
    time: Duration = key(14400, "Walltime of the job (sbatch --time).", metavar="DURATION", ge=60)
    memory: Size = key(
        0, "Memory of the job (sbatch --mem); 0 is the guest's and what its helpers need.", metavar="SIZE"
    )
    cpus: int = key(0, "CPUs of the job (sbatch --cpus-per-task); 0 is the guest's.", metavar="N", ge=0)
    job_name: Line = key("desktop", "The job's name (sbatch --job-name).", min_length=1)
    output: Line = key(
        "7lbd-%j.log", "The job's output (sbatch --output); a path that is not absolute is where submit is called."
    )
    options: Options = key((), "Further options of sbatch, each as it stands on its command line.")
    setup: Lines = key(
        (), "Lines of shell that the job runs before Apptainer is called, for instance `module load apptainer`."
    )
    apptainer: Line = key("apptainer", "The command that is Apptainer on the nodes, or its path.", min_length=1)
    binds: Binds = key(
        (), "What each session's container shows beside the home: PATH or PATH:SEEN_AS or PATH:SEEN_AS:ro."
    )


TABLES: Mapping[str, type[Table]] = {"slurm": Slurm}


@dataclass(frozen=True)
class Site:
    """The site's file (None: there is none) and its tables; one that it does not have is the defaults."""

    file: Path | None
    slurm: Slurm


def read(here: places.Places) -> Site:
    """The tables of the site's file. Raises Refusal that names the key."""
    file, found = places.site_tables(here)
    return Site(file, slurm=_checked(Slurm, "slurm", found.get("slurm", {}), file))


def _checked[T: Table](kind: type[T], name: str, values: object, file: Path | None) -> T:
    if not isinstance(values, dict):
        raise Refusal(ExitCode.USAGE, f"{file}: `{name}` is a table", hint=f"write [{name}] and its keys below it")
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise _refusal(kind, name, file, error) from None


def _refusal(kind: type[Table], name: str, file: Path | None, error: ValidationError) -> Refusal:
    first = error.errors()[0]
    word = str(first["loc"][0])
    if first["type"] == "extra_forbidden":
        what = f"{file}: [{name}] `{word}` is not a key of this table{nearest(word, kind.model_fields)}"
        return Refusal(ExitCode.USAGE, what, hint=f"its keys are {', '.join(kind.model_fields)}")
    value = json.dumps(first["input"], default=str, ensure_ascii=False)
    what = f"{file}: [{name}] `{word}` = {value}: {in_words(first['msg'])}"
    return Refusal(ExitCode.USAGE, what, hint=f"{word}: {kind.model_fields[word].description}")
