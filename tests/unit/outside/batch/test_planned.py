"""What is asked of `exec`, checked before a machine starts."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.outside.batch import command_list, planned
from sevenlbd.outside.batch.request import JobRequest
from sevenlbd.outside.cli import command_line
from sevenlbd.outside.session.preflight import checker
from sevenlbd.wire.job_files import WORK

Ask = Callable[..., JobRequest]


@pytest.fixture
def ask(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ask:
    monkeypatch.chdir(tmp_path)

    def asked(*words: str) -> JobRequest:
        _, options = command_line.parse(["exec", *words])
        return planned.request(options, 0o022, as_json=False)

    return asked


def test_what_stands_behind_the_dashes_is_the_commands_and_no_option_of_ours(ask: Ask) -> None:
    words = ("prog", "--image", "-x", "--", "", "a b", "--json")
    order = ask("--image", "demo", "--", *words).order
    assert order is not None
    assert order.command == words


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--image", "demo"), "no command"),
        (("--", ""), "no command"),
        (("--timeout", "soon", "--", "x"), "--timeout soon"),
        (("--timeout", "0", "--", "x"), "leaves no time"),
        (("--env", "1X=2", "--", "x"), "not NAME=VALUE"),
        (("--output", "../x", "--", "x"), "leads out"),
        (("--output", "/etc/*", "--", "x"), "leads out"),
        (("--input", "none", "--", "x"), "no such file"),
        (("--input", "/", "--", "x"), "no name to be copied by"),
        (("--input", "..", "--", "x"), "no name to be copied by"),
        (("--", "prog", "a\N{REPLACEMENT CHARACTER}b"), "is not UTF-8"),
        (("--env", "A=\N{REPLACEMENT CHARACTER}", "--", "x"), "is not UTF-8"),
        (("--shell", "zsh", "x", "--"), "is none of"),
        (("--shell", "powershell", "x.sh", "--"), "is not a file in .ps1"),
        (("--session", "box", "--keep", "other"), "--session and --keep"),
        (("--session", "box", "--parallel", "2", "--", "x"), "--session and --parallel"),
        (("--keep", "box", "--parallel", "2", "--", "x"), "--keep and --parallel"),
        (("--fresh", "--", "x"), "--fresh: is for a list"),
        (("--retries", "2", "--", "x"), "--retries: is for a list"),
        (("--list", "cases", "--", "x"), "--list: is for a list"),
        (("--results", "here", "--", "x"), "--results: is for a list"),
    ],
)
def test_what_cannot_be_meant_is_refused(words: tuple[str, ...], said: str, ask: Ask) -> None:
    with pytest.raises(Refusal, match=said):
        ask(*words)


def test_a_shell_script_of_a_list_gets_each_lines_words_as_its_arguments(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "run.ps1").touch()
    (tmp_path / "list").write_text("-Case 7 -Name 'a b'\n")
    order = ask("--parallel", "2", "--list", "list", "--shell", "powershell", "run.ps1", "--", "-Quiet").order
    assert order is not None
    (command,) = command_list.read("list", order.command)
    assert command[-6:] == ("run.ps1", "-Quiet", "-Case", "7", "-Name", "a b")


def test_a_visible_desktop_is_asked_for_only_of_an_image_that_gives_one(ask: Ask) -> None:
    """A guest passes over what it does not know: its command would have run without."""
    wanted = ask("--desktop", "--", "x")
    planned.check_desktop(wanted, "win11", can=True)
    planned.check_desktop(ask("--", "x"), "old", can=False)
    with pytest.raises(Refusal, match="--desktop: old gives commands no visible desktop"):
        planned.check_desktop(wanted, "old", can=False)
    assert wanted.order is not None
    assert json.loads(wanted.order.text(windows=True))["desktop"] is True


def test_two_inputs_of_one_name_are_refused(ask: Ask, tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "X.inp").touch()
    with pytest.raises(Refusal, match="another one has this name"):
        ask("--input", "a/X.inp", "--input", "b/X.inp", "--", "x")


def test_a_script_comes_along_where_the_command_works_on_copies(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "run.ps1").touch()
    wanted = ask("--shell", "powershell", "run.ps1", "--output", "*.csv", "--", "-Case", "7")
    assert wanted.inputs == ("run.ps1",)
    assert wanted.order is not None
    assert wanted.order.command[-4:] == ("-File", "run.ps1", "-Case", "7")


def test_a_current_folder_that_is_gone_is_refused(ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(Refusal, match="current folder is gone"):
        ask("--", "x")


def test_a_command_does_not_get_the_home_because_apptainer_went_there(
    ask: Ask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where it cannot show the current folder it takes the home instead, or the root: nobody has asked for that."""
    home = tmp_path / "home" / "jo"
    (home / "case").mkdir(parents=True)
    (tmp_path / "link").symlink_to(home)
    monkeypatch.setenv("HOME", str(tmp_path / "link"))
    for folder in (home, home.parent, Path("/")):
        monkeypatch.chdir(folder)
        with pytest.raises(Refusal, match="all of your home"):
            ask("--", "x")
        assert ask("--home-share", "--", "x").folder == str(folder)
        assert ask("--output", "*.csv", "--", "x").folder == str(folder), "on copies it has nothing of it"
    monkeypatch.chdir(home / "case")
    assert ask("--", "x").folder == str(home / "case")


def settings(ask: Ask, chosen: Settings, *words: str) -> Settings:
    _, options = command_line.parse(["exec", *words])
    return planned._settings(chosen, options, ask(*words))


def test_a_command_has_its_folder_and_no_home_and_there_is_no_way_in(ask: Ask, tmp_path: Path) -> None:
    made = settings(ask, Settings(web="0.0.0.0:8000", rdp_tls="0.0.0.0:0"), "--", "x")
    assert made.shares == (f"{WORK}={tmp_path}:rw",)
    assert (made.home_share, made.web, made.rdp_tls, made.console) == (False, "off", "", False)
    assert settings(ask, Settings(), "--home-share", "--", "x").home_share
    assert settings(ask, Settings(), "--output", "*", "--", "x").shares == ()


@pytest.mark.parametrize("name", ["job", "Work"])
def test_a_share_of_our_own_name_is_refused(name: str, ask: Ask) -> None:
    with pytest.raises(Refusal, match="is exec's own"):
        settings(ask, Settings(shares=(f"{name}=/tmp",)), "--", "x")


def test_an_image_without_a_hook_is_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    class Session:
        exec_hook = ()
        exec_desktop = False
        image_title = "old@1"

    monkeypatch.setattr(checker, "prepared", lambda *_words: Session())
    _, options = command_line.parse(["exec", "--", "x"])
    with pytest.raises(Refusal, match="old@1: cannot run commands"):
        planned.planned(options, Settings(), None, 0o022, None)  # type: ignore[arg-type]  # where we are does not matter


def test_whoever_prepares_a_session_finds_every_option_of_run_in_exec_too() -> None:
    """Beside the settings, which are asked of another place: an option that `run` gains would end every `exec`."""
    _, run = command_line.parse(["run"])
    _, command = command_line.parse(["exec", "--", "x"])
    assert set(vars(run)) - set(Settings.model_fields) <= set(vars(command))
