"""The guest's time zone: by the user's own names, in each system's."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.base import mount_table
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.images.description import Description
from sevenlbd.outside.session.preflight import timezones
from sevenlbd.outside.session.preflight.remarks import Remarks
from tzlocal.windows_tz import tz_win

WINDOWS = Description.model_validate({"channels": ["smbios", "agent"]})
LINUX = Description.model_validate({"os": "linux", "channels": ["agent"]})
WINDOWS_NAMES = Path("containers/windows/timezones.txt")


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets what the node has as its /etc/localtime: from where it is mounted, and its bytes."""

    def have(source: str = "", rules: str = "") -> None:
        localtime = tmp_path / "localtime"
        mounts = "22 1 0:21 / / ro shared:1 - overlay overlay rw\n"
        if source:
            mounts += f"334 328 254:0 /usr/share/zoneinfo/UTC {localtime} rw,nosuid master:70 - ext4 /dev/vda rw\n"
            mounts += f"335 328 254:0 {source} {localtime} rw,nosuid master:70 - ext4 /dev/vda rw\n"
        (tmp_path / "mountinfo").write_text(mounts)
        if rules:
            shutil.copy(f"/usr/share/zoneinfo/{rules}", localtime)
        monkeypatch.setattr(timezones, "_LOCALTIME", localtime)
        monkeypatch.setattr(mount_table, "OWN", tmp_path / "mountinfo")

    have()
    return have


def command(chosen: str, described: Description, **environment: str) -> tuple[tuple[str, ...], list[str], list[str]]:
    """The command, the warnings, the notes."""
    remarks = Remarks()
    words = timezones.command(Settings.model_validate({"timezone": chosen}), environment, described, remarks)
    return words, remarks.warnings, remarks.notes


def test_windows_is_told_in_its_own_words_and_linux_in_the_worlds() -> None:
    assert command("Asia/Kathmandu", WINDOWS) == (("tzutil.exe", "/s", "Nepal Standard Time"), [], [])
    assert command("Asia/Kathmandu", LINUX) == (("timedatectl", "set-timezone", "Asia/Kathmandu"), [], [])
    own = LINUX.model_copy(update={"timezone_hook": ("/usr/lib/zone",)})
    assert command("Asia/Kathmandu", own)[0] == ("/usr/lib/zone", "Asia/Kathmandu")


@pytest.mark.parametrize(
    ("variable", "zone"),
    [
        ("America/St_Johns", "America/St_Johns"),
        (":Australia/Lord_Howe", "Australia/Lord_Howe"),
        ("/usr/share/zoneinfo/Pacific/Chatham", "Pacific/Chatham"),
        ("US/Eastern", "US/Eastern"),
        ("UTC", "UTC"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", ""),
        ("../../../etc/passwd", ""),
        ("/usr/share/zoneinfo/../../../etc/passwd", ""),
        ("tzdata.zi", ""),
        ("Europe", ""),
        ("Europe/Berlin\nX", ""),
        ("posix/Europe/Berlin", ""),
        ("Mars/Olympus", ""),
        ("é", ""),
    ],
)
def test_auto_is_the_users_tz_where_that_is_a_name(variable: str, zone: str) -> None:
    words, warnings, notes = command("auto", LINUX, TZ=variable)
    assert words == (("timedatectl", "set-timezone", zone) if zone else ())
    assert (warnings, len(notes)) == ([], 0 if zone else 1)


@pytest.mark.parametrize(
    ("source", "rules", "zone"),
    [
        ("/usr/share/zoneinfo/Europe/Vienna", "", "Europe/Vienna"),
        ("/@/usr/share/zoneinfo/posix/Europe/Vienna", "", "Europe/Vienna"),
        ("/usr/share/zoneinfo/America/Argentina/Ushuaia", "", "America/Argentina/Ushuaia"),
        ("/etc/localtime", "Asia/Kathmandu", "Asia/Kathmandu"),
        ("/etc/localtime//deleted", "Europe/Dublin", "Europe/Dublin"),
        ("/etc/localtime", "", ""),
        ("", "", ""),
    ],
)
def test_auto_is_the_nodes_zone_where_the_user_has_none(node: Any, source: str, rules: str, zone: str) -> None:
    node(source, rules)
    assert timezones.of_user({}) == zone
    assert timezones.of_user({"TZ": ""}) == zone


def test_the_appliances_own_clock_file_is_not_taken_for_the_nodes(node: Any) -> None:
    node(source="", rules="Europe/Berlin")
    assert timezones.of_user({}) == ""


def test_image_leaves_all_as_it_is() -> None:
    assert command("image", WINDOWS, TZ="Europe/Berlin") == ((), [], [])


def test_an_image_without_an_agent_is_told_of_only_where_a_zone_was_asked_for() -> None:
    assert command("auto", Description(), TZ="Europe/Berlin") == ((), [], [])
    words, warnings, _ = command("Europe/Berlin", Description())
    assert words == ()
    assert "no guest agent" in warnings[0]


def test_a_zone_that_windows_does_not_know_is_told_and_fails_nothing() -> None:
    words, warnings, _ = command("Antarctica/Troll", WINDOWS)
    assert words == ()
    assert "no time zone for Antarctica/Troll" in warnings[0]
    assert command("Antarctica/Troll", LINUX)[0][-1] == "Antarctica/Troll"


def test_what_is_the_same_by_two_names_is_the_same_in_windows() -> None:
    assert command("GMT", WINDOWS)[0][-1] == command("Etc/GMT", WINDOWS)[0][-1] == "UTC"
    assert command("Asia/Calcutta", WINDOWS)[0] == command("Asia/Kolkata", WINDOWS)[0]


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Europe/Belin", "Europe/Berlin"),
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("new york", "America/New_York"),
        ("Kathmandou", "Asia/Kathmandu"),
    ],
)
def test_a_name_that_is_none_is_refused_with_what_may_be_meant(typed: str, meant: str) -> None:
    with pytest.raises(Refusal) as refused:
        command(typed, WINDOWS)
    assert refused.value.code is ExitCode.USAGE
    assert meant in refused.value.hint


@pytest.mark.parametrize("typed", ["", " ", "zone.tab", "../UTC", "/etc/localtime", "Factory", "\x1b[2J", "x" * 10_000])
def test_nothing_else_is_taken_for_a_zone(typed: str) -> None:
    with pytest.raises(Refusal):
        command(typed, LINUX)


def test_every_name_that_windows_is_told_is_one_of_its_own() -> None:
    assert set(tz_win.values()) <= set(WINDOWS_NAMES.read_text().splitlines())
