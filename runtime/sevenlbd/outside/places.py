"""Where this copy of the appliance finds things: the SIF, the settings files, the images beside it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import ExitCode, Refusal
from ..paths import user_path
from ..settings import TABLES, Loaded, Settings, Source, from_environment, from_table, load
from .cluster import stale

SITE_FILE = "7lbd.toml"
ETC = Path("/etc/7lbd")


@dataclass(frozen=True)
class Places:
    """What the environment says about where we are; read once, before it is cleared."""

    sif: str
    site_files: tuple[Path, ...]
    user_file: Path | None
    environment: Mapping[str, str]
    """Without what is left over from a job that is not ours."""
    told: tuple[str, ...] = ()
    """What was left out of it, in sentences."""

    @property
    def image_folder(self) -> Path | None:
        """`images` beside the SIF."""
        return Path(self.sif).parent / "images" if self.sif else None


def look_around(environment: Mapping[str, str]) -> Places:
    """Find our places. Apptainer sets APPTAINER_CONTAINER to the SIF's path on the node."""
    environment, told = stale.heeded(environment)
    sif = environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER") or ""
    beside = (Path(sif).parent / SITE_FILE,) if sif else ()
    home = environment.get("XDG_CONFIG_HOME") or (f"{environment['HOME']}/.config" if environment.get("HOME") else "")
    return Places(
        sif=sif,
        site_files=(*beside, ETC / SITE_FILE),
        user_file=Path(home) / "7lbd" / SITE_FILE if home else None,
        environment=environment,
        told=told,
    )


def settings(places: Places, *first: Source) -> Loaded:
    """The settings in force; `first` comes before the environment. Raises Refusal for what is wrong in any source."""
    sources = [*first, from_environment(places.environment)]
    if places.user_file:
        sources += _table(places.user_file, trusted=False)
    for file in places.site_files:
        found = _table(file, trusted=True)
        if found:
            sources += found
            break
    return load(sources)


def image_folders(places: Places, chosen: Settings) -> list[Path]:
    """Where images are looked up by name."""
    folders = [user_path(folder) for folder in chosen.image_dirs]
    return folders + ([places.image_folder] if places.image_folder else [])


def image_cache(chosen: Settings) -> Path | None:
    """Where this node's copies of images are."""
    return user_path(chosen.image_cache).absolute() if chosen.image_cache else None


def site_file(places: Places) -> tuple[Path | None, dict[str, object]]:
    """The site's file and all that is in it, unchecked. Raises Refusal when it cannot be read."""
    for file in places.site_files:
        if (found := _read(file)) is not None:
            return file, found
    return None, {}


def site_tables(places: Places) -> tuple[Path | None, dict[str, object]]:
    """The site's file and the tables in it that are no settings. Raises Refusal when it cannot be read."""
    file, found = site_file(places)
    return file, {name: found[name] for name in TABLES if name in found}


def _table(path: Path, *, trusted: bool) -> list[Source]:
    found = _read(path)
    if found is None:
        return []
    if trusted:
        found = {name: value for name, value in found.items() if name not in TABLES}
    return [from_table(found, str(path), trusted=trusted)]


def _read(path: Path) -> dict[str, object] | None:
    """What is in a TOML file; None when there is none. Raises Refusal."""
    if not os.access(path, os.F_OK):
        return None  # or hidden behind a folder that the user may not enter, which is the same
    try:
        return tomllib.loads(path.read_text())
    except OSError as error:
        # Not to be passed over: what the site locks there would not hold.
        hint = f"its owner can: chmod a+r {path}"
        raise Refusal(ExitCode.USAGE, f"{path}: cannot be read: {error.strerror}", hint=hint) from None
    except (ValueError, RecursionError) as error:
        raise Refusal(
            ExitCode.USAGE, f"{path}: is not TOML: {error}", hint="7lbd config --explain shows the keys"
        ) from None
