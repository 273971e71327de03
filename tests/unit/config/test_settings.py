"""Settings: one declaration each, five sources in order, locks, and refusals that name the offender."""

from __future__ import annotations

import re

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config.merging import Source, from_environment, from_table, load
from sevenlbd.config.settings import Settings, flag_of, variable_of
from sevenlbd.config.value_kinds import parse_duration, parse_size
from sevenlbd.outside.cli import command_line
from sevenlbd.outside.cli.parser import source


@pytest.mark.parametrize(
    ("text", "size"), [("4G", 4 << 30), ("512M", 512 << 20), ("4GiB", 4 << 30), ("1.5g", 3 << 29), ("4096", 4096)]
)
def test_a_size_is_read(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "4X", "-1G", "G", "4 G G", "1e9"])
def test_a_wrong_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a size is"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("10m", 600), ("2h", 7200), ("1d", 86400), ("01:30:05", 5405)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "1:2", "-5m"])
def test_a_wrong_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a duration is"):
        parse_duration(text)


def test_the_stronger_source_wins_and_is_named() -> None:
    loaded = load([Source("command line", {"memory": "1G"}), Source("environment", {"memory": "2G", "cpus": "3"})])
    assert (loaded.settings.memory, loaded.settings.cpus) == (1 << 30, 3)
    assert (loaded.origin["memory"], loaded.origin["cpus"], loaded.origin["accel"]) == (
        "command line",
        "environment",
        "default",
    )


def test_a_locked_setting_is_locked() -> None:
    site = from_table({"accel": "kvm", "locked": ["accel"]}, "site", trusted=True)
    with pytest.raises(Refusal, match="command line: `--accel` is for the site") as caught:
        load([Source("command line", {"accel": "tcg"}), site])
    assert caught.value.code is ExitCode.USAGE
    assert load([site]).settings.accel == "kvm"


@pytest.mark.parametrize("name", ["wide_links", "locked"])
def test_what_only_the_site_may_say_is_refused_from_others(name: str) -> None:
    with pytest.raises(Refusal, match="for the site"):
        load([from_environment({f"SEVENLBD_{name.upper()}": "yes"})])


def test_an_unknown_key_is_refused_with_the_nearest() -> None:
    with pytest.raises(Refusal, match=r"7lbd.toml: `memroy` is not a setting; did you mean `memory`"):
        from_table({"memroy": "4G"}, "7lbd.toml", trusted=True)
    with pytest.raises(Refusal, match=r"`SEVENLBD_ACELL` is not a setting; did you mean `accel`"):
        from_environment({"SEVENLBD_ACELL": "kvm", "PATH": "/bin"})


@pytest.mark.parametrize(("name", "value"), [("memory", "lots"), ("cpus", "two"), ("accel", "xen"), ("home_share", 7)])
def test_a_wrong_value_names_source_and_setting(name: str, value: object) -> None:
    with pytest.raises(Refusal, match=f"a.toml: `{name}` = ") as caught:
        load([from_table({name: value}, "a.toml", trusted=False)])
    assert caught.value.code is ExitCode.USAGE
    assert name in caught.value.hint


def test_every_setting_that_a_user_has_is_an_option_of_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.parse(["run", "--help"])
    shown = capsys.readouterr().out
    for name in Settings.model_fields:
        assert (flag_of(name) in shown) is bool(variable_of(name))


def test_no_verb_means_run() -> None:
    verb, options = command_line.parse(["--image", "x", "--share", "a=/a", "--share", "b=/b:ro", "--no-home-share"])
    assert verb.name == "run"
    chosen = load([source(options)]).settings
    assert (chosen.image, chosen.shares, chosen.home_share) == ("x", ("a=/a", "b=/b:ro"), False)


@pytest.mark.parametrize("value", ["accel", ["accel"], "memory,accel"])
def test_a_lock_holds_however_it_is_written(value: object) -> None:
    site = from_table({"locked": value}, "site", trusted=True)
    with pytest.raises(Refusal, match="SEVENLBD_ACCEL"):
        load([from_environment({"SEVENLBD_ACCEL": "tcg"}), site])


def test_a_lock_of_nothing_is_refused() -> None:
    with pytest.raises(Refusal, match="`locked` names `acell`, which is not a setting; did you mean `accel`"):
        load([from_table({"locked": ["acell"]}, "site", trusted=True)])


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("run --memroy 4G", "`--memroy` is not an option of 7lbd run; did you mean `--memory`"),
        ("rnu", "`rnu` is not a verb; did you mean `run`"),
        ("status a b", "`b` is not an option of 7lbd status"),
        ("run --accel xen", "invalid choice: 'xen'"),
        ("run --memory", "expected one argument"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(line: str, why: str) -> None:
    with pytest.raises(Refusal, match=re.escape(why)) as caught:
        command_line.parse(line.split())
    assert caught.value.code is ExitCode.USAGE
    assert "--help" in caught.value.hint


def test_a_size_without_end_is_refused() -> None:
    with pytest.raises(Refusal, match="a size has an end"):
        load([Source("command line", {"memory": "9" * 400 + "G"})])


def test_a_wrong_value_is_told_in_plain_words() -> None:
    with pytest.raises(Refusal, match=r"`cpus` = \"x\": it must be a whole number\n"):
        load([from_table({"cpus": "x"}, "a.toml", trusted=False)])
