"""The table of verbs: each entry leads to something, and what is made from it fits it."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sevenlbd.outside.cli import command_line, completion, verbs
from sevenlbd.outside.cli.verbs import VERBS, Verb

CALLED = [verb for verb in VERBS if verb.module]


def named(verb: Verb) -> str:
    return verb.name


@pytest.mark.parametrize("verb", CALLED, ids=named)
def test_each_verb_leads_to_a_command_with_a_page_of_help(verb: Verb) -> None:
    command = command_line.command(verb)
    assert (command.call is None) == (verb.name in ("run", "resume"))
    page = command_line.build([verb])[verb.name].format_help()
    assert f"usage: 7lbd {verb.name}" in page
    assert verb.about[1:].split(":")[0].split(" ")[0] in page


@pytest.mark.parametrize("verb", CALLED, ids=named)
def test_alone_a_verb_is_as_among_all_and_no_other_is_made(verb: Verb) -> None:
    """A start makes no sixty parsers."""
    alone = command_line.build([verb], alone=verb)
    assert alone[verb.name].format_help() == command_line.build([verb])[verb.name].format_help()
    assert all(f"{verb.name} ".startswith(f"{name} ") for name in alone if name)


def test_modules_have_no_command_that_the_table_does_not_know() -> None:
    for module in {verb.module for verb in CALLED}:
        found = sys.modules[f"sevenlbd.outside.{module}"].COMMANDS
        assert set(found) == {verb.name for verb in CALLED if verb.module == module}


def test_a_verb_loads_its_own_module_only() -> None:
    program = (
        "import sys; from sevenlbd.outside.cli import command_line as cli; cli.parse(['image', 'list']);"
        "print(*(name for name in sys.modules if name.startswith('sevenlbd.outside.imaging.')))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sevenlbd.outside.imaging.listing"]


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["image"], "image"),
        (["image", "build", "--help"], "image build"),
        (["image", "build", "windows", "--iso", "x"], "image build windows"),
        (["render", "ood", "/x"], "render ondemand"),
        (["status", "stop"], "status"),
    ],
)
def test_the_longest_verb_is_meant(words: list[str], name: str) -> None:
    found = verbs.find(words)
    assert found is not None
    assert found.name == name


def test_the_help_of_all_shows_each_verb_once_under_a_heading() -> None:
    page = command_line.build([])[""].format_help()
    for verb in verbs.children(None):
        assert page.count(f"\n  {verb.name} ") == 1, verb.name
    for group in verbs.Group:
        assert f"\n{group}:\n" in page


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        (["im"], {"image"}),
        (["image", "ro"], {"rollback"}),
        (["image", "build", ""], {"windows", "debian"}),
        (["status", "--js"], {"--json"}),
        (["render", "slurm", "--sba"], {"--sbatch"}),
        (["image", "add", "disk"], set()),
        (["saved", ""], {"list", "show", "check", "key", "rm"}),
        (["grid", "pool", "re"], {"revoke"}),
        (["--cached-sh"], {"--cached-share"}),
        (["--image", "x", "--cached-sh"], {"--cached-share"}),
        (["--image", "x"], set()),
        (["run", "--accel", ""], {"auto", "kvm", "tcg"}),
        (["--accel", "k"], {"kvm"}),
        (["connect", "--url", "s"], {"status"}),
        (["exec", "--image", "x", "--", "ls", "--im"], set()),
    ],
)
def test_bash_completes_what_is_typed(typed: list[str], offered: set[str]) -> None:
    asks = f'{completion.text()}\nCOMP_WORDS=(7lbd "$@"); COMP_CWORD=$#; _7lbd; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", asks, "bash", *typed], capture_output=True, text=True, check=True)
    assert offered == {word for word in done.stdout.split() if word not in ("--help", "-h")}
    assert done.stderr == ""
