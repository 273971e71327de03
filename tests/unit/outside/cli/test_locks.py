"""What a site locks stays locked: every setting is tried by each way in which a user could set it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config import sources
from sevenlbd.config.settings import PREFIX, Settings, extra, flag_of
from sevenlbd.config.value_kinds import written
from sevenlbd.outside.cli import command_line
from sevenlbd.outside.cli.parser import source
from sevenlbd.outside.site import site_file

SITES = {name for name in Settings.model_fields if extra(name)["site"]}
"""The settings that are the site's alone, without being locked."""


def value(name: str) -> str:
    """One that the setting could have, as TOML: what it is must not matter, so it is often the default."""
    return written(Settings.model_fields[name].default, extra(name)["metavar"])


class User:
    """A user with a home, at a site with this file."""

    def __init__(self, folder: Path, site: str) -> None:
        (folder / "7lbd.toml").write_text(site)
        self.own = folder / "config" / "7lbd"
        self.own.mkdir(parents=True)
        self.variables = {
            "APPTAINER_CONTAINER": str(folder / "7lbd.sif"),
            "XDG_CONFIG_HOME": str(folder / "config"),
            "HOME": str(folder),
        }

    def settings(self, *words: str, **variables: str) -> Settings:
        """What would hold for a session."""
        here = sources.look_around(self.variables | variables)
        return sources.settings(here, source(command_line.parse(["run", *words])[1])).settings

    def tries(self, name: str) -> list[str]:
        """What each way says when the user sets a setting to a value that it may have."""
        text = value(name)
        plain = text.strip('"[]')
        told = []
        if name not in SITES:
            flag = flag_of(name)
            words = [flag] if text in ("true", "false") else [f"{flag}={plain or 'x'}"]
            told.append(self.refused(*words))
        told.append(self.refused(**{PREFIX + name.upper(): plain}))
        (self.own / "7lbd.toml").write_text(f"{name} = {text}\n")
        told.append(self.refused())
        return told

    def refused(self, *words: str, **variables: str) -> str:
        with pytest.raises(Refusal) as caught:
            self.settings(*words, **variables)
        assert caught.value.code is ExitCode.USAGE
        return caught.value.what


@pytest.mark.parametrize("name", Settings.model_fields)
def test_a_locked_setting_cannot_be_set_by_anybody_else(name: str, tmp_path: Path) -> None:
    user = User(
        tmp_path, f'{name} = {value(name)}\nlocked = ["{name}"]\n' if name != "locked" else 'locked = ["accel"]'
    )
    before = user.settings()
    told = user.tries(name)
    assert all(text.endswith("is for the site's settings file only") for text in told)
    ways = ["command line: ", "environment: ", str(user.own / "7lbd.toml")]
    assert all(text.startswith(way) for text, way in zip(told, ways[-len(told) :], strict=True))
    (user.own / "7lbd.toml").unlink()
    assert user.settings() == before, "what the site says holds"


@pytest.mark.parametrize("name", sorted(SITES))
def test_what_is_the_sites_alone_needs_no_lock(name: str, tmp_path: Path) -> None:
    user = User(tmp_path, "")
    assert all(text.endswith("is for the site's settings file only") for text in user.tries(name))
    with pytest.raises(Refusal, match="is not an option of"):
        user.settings(f"{flag_of(name)}=x")


def test_a_user_can_set_all_the_rest(tmp_path: Path) -> None:
    user = User(tmp_path, 'locked = ["accel"]\nmemory = "8G"')
    assert user.settings("--memory", "4G").memory == 4 << 30
    assert user.settings(SEVENLBD_MEMORY="4G").memory == 4 << 30
    (user.own / "7lbd.toml").write_text('memory = "4G"')
    assert user.settings().memory == 4 << 30


def test_what_says_yours_alone_in_the_rendered_file_is(tmp_path: Path) -> None:
    paragraphs = site_file.text({}).split("\n\n")
    marked = {
        text.splitlines()[-1].strip("#").partition(" ")[0]
        for text in paragraphs
        if "Yours alone." in " ".join(text.split("\n# "))
    }
    assert marked == SITES
