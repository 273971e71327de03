"""Where this copy of the appliance finds things: the SIF, the settings files, the images beside it."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..base import belongings, text_files
from ..base.belongings import Owners, Strangers
from ..base.errors import ExitCode, Refusal
from ..base.paths import user_path
from . import stale_variables
from .merging import Loaded, Source, from_environment, from_table, load
from .settings import Settings, tables_of, without_tables

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
        """`images` beside the SIF, unless it may be a stranger's."""
        return None if not self.sif or _why_strangers(self._images_beside, self) else self._images_beside

    @property
    def _images_beside(self) -> Path:
        return Path(self.sif).parent / "images"

    def passed_over(self) -> list[str]:
        """Warnings: what is there and does not count, because it may be a stranger's."""
        paths = [*self.site_files, *([self.user_file] if self.user_file else [])]
        paths += [self._images_beside] if self.sif else []
        return [f"{path} is passed over: it {why}" for path in paths if (why := _why_strangers(path, self))]


def look_around(environment: Mapping[str, str]) -> Places:
    """Find our places. Apptainer sets APPTAINER_CONTAINER to the SIF's path on the node."""
    environment, notes = stale_variables.heeded(environment)
    sif = environment.get("APPTAINER_CONTAINER") or environment.get("SINGULARITY_CONTAINER") or ""
    beside = (Path(sif).parent / SITE_FILE,) if sif else ()
    ours = user_folder(environment)
    return Places(
        sif=sif,
        site_files=(*beside, ETC / SITE_FILE),
        user_file=ours / SITE_FILE if ours else None,
        environment=environment,
        told=notes,
    )


def user_folder(environment: Mapping[str, str]) -> Path | None:
    """Where the user's own settings are."""
    home = environment.get("XDG_CONFIG_HOME") or (f"{environment['HOME']}/.config" if environment.get("HOME") else "")
    return Path(home) / "7lbd" if home else None


def settings(places: Places, *first: Source) -> Loaded:
    """The settings in force; `first` comes before the environment. Raises Refusal for what is wrong in any source."""
    sources = [*first, from_environment(places.environment)]
    if places.user_file:
        sources += _table(places.user_file, places, trusted=False)
    for file in places.site_files:
        site_sources = _table(file, places, trusted=True)
        if site_sources:
            sources += site_sources
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
        if (content := _read(file, places)) is not None:
            return file, content
    return None, {}


def site_tables(places: Places) -> tuple[Path | None, dict[str, object]]:
    """The site's file and the tables in it that are no settings. Raises Refusal when it cannot be read."""
    file, content = site_file(places)
    return file, tables_of(content)


def _table(path: Path, places: Places, *, trusted: bool) -> list[Source]:
    content = _read(path, places)
    if content is None:
        return []
    if trusted:
        content = without_tables(content)
    return [from_table(content, str(path), trusted=trusted)]


def _why_strangers(path: Path, places: Places) -> str:
    """Why what is there does not count; empty when it does, or when there is nothing."""
    try:
        if path == places._images_beside:
            belongings.check_folder(path, belongings.of_sif(places.sif))
        else:
            belongings.read(path, _owners(path, places))
    except Strangers as strangers:
        return str(strangers)
    except (OSError, Refusal):
        return ""
    return ""


def _owners(path: Path, places: Places) -> Owners:
    return belongings.of_user() if path == places.user_file else belongings.of_sif(places.sif)


def _read(path: Path, places: Places) -> dict[str, object] | None:
    """What is in a TOML file; None when there is none that counts. Raises Refusal."""
    if not os.access(path, os.F_OK):
        return None  # or hidden behind a folder that the user may not enter, which is the same
    try:
        return tomllib.loads(text_files.decoded(belongings.read(path, _owners(path, places))))
    except Strangers:
        return None  # of which `passed_over` tells
    except OSError as error:
        # Not to be passed over: what the site locks there would not hold.
        hint = f"its owner can: chmod a+r {path}"
        raise Refusal(ExitCode.USAGE, f"{path}: cannot be read: {error.strerror}", hint=hint) from None
    except (ValueError, RecursionError) as error:
        # No command helps who has such a file: each would read it.
        hint = "mend it or move it away; docs/settings.md has the keys"
        raise Refusal(ExitCode.USAGE, f"{path}: is not TOML: {error}", hint=hint) from None
