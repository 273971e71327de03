"""`render completion`: a script by which bash completes the `7lbd` command, made from the table of verbs.

It has all words in it: completing must not start a container. zsh takes it by bashcompinit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping

from ... import __version__
from ...base.errors import ExitCode
from ..console import terminal
from . import command_line, verbs
from .command import Command, CommandContext


def _print(_context: CommandContext) -> int:
    terminal.write(text())
    return ExitCode.OK


def text() -> str:
    parsers = command_line.build()
    families = "|".join(verb.name for verb in verbs.VERBS if not verb.module)
    return _SCRIPT.format(
        version=__version__, cases=_cases(_words(parsers)), choices=_cases(_choices(parsers)), families=families
    )


def _cases(answers: Iterable[tuple[str, str]]) -> str:
    return "\n".join(f"        {name!r}) echo {words!r} ;;" for name, words in answers)


def _words(parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[tuple[str, str]]:
    """What can follow each verb: the verbs below it, or its options. Without a verb, `run` is meant."""
    for name, parser in parsers.items():
        below = [verbs.last(child) for child in verbs.children(verbs.find(name.split()))]
        meant = set() if name else set(_options(parsers["run"]))
        yield name, " ".join([*below, *sorted({*_options(parser), *meant})])


def _choices(parsers: Mapping[str, argparse.ArgumentParser]) -> Iterator[tuple[str, str]]:
    """What can follow an option of a verb, where only a few words can."""
    for name, parser in parsers.items():
        for action in (parsers["run"] if not name else parser)._actions:
            for option in action.option_strings if action.choices else ():
                yield f"{name} {option}".strip(), " ".join(map(str, action.choices or ()))


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        yield from (option for option in action.option_strings if option.startswith("--"))


_SCRIPT = """\
# bash completion of the 7lbd command. Made by: 7lbd render completion ({version})
# For everybody: 7lbd render completion >/etc/bash_completion.d/7lbd; for yourself: into
# ~/.local/share/bash-completion/completions/7lbd
_7lbd_words() {{
    case $1 in
{cases}
    *) return 1 ;;
    esac
}}
_7lbd_choices() {{
    case $1 in
{choices}
    *) return 1 ;;
    esac
}}
_7lbd() {{
    local verb='' word words current=${{COMP_WORDS[COMP_CWORD]}}
    COMPREPLY=()
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        _7lbd_words "${{verb:+$verb }}$word" >/dev/null || break
        verb=${{verb:+$verb }}$word
    done
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        [[ $word != -- ]] || return 0    # what follows is a command of the guest's
    done
    # A file's name completes by itself (-o default).
    if ! words=$(_7lbd_choices "${{verb:+$verb }}${{COMP_WORDS[COMP_CWORD-1]}}"); then
        [[ $COMP_CWORD == 1 || $current == -* || $verb =~ ^({families})$ ]] || return 0
        words=$(_7lbd_words "$verb")
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}}
complete -o default -F _7lbd 7lbd
"""

COMMANDS = {"render completion": Command(_print, checks_settings=False)}
