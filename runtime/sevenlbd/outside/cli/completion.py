"""`render completion`: a script by which bash completes the `7lbd` command, made from the table of verbs.

It has all words in it: completing must not start a container. zsh takes it by bashcompinit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

from ... import __version__
from ...base.errors import ExitCode
from ..console import terminal
from . import command_line, verbs
from .command import Command, CommandContext


def _print(_context: CommandContext) -> int:
    terminal.write(text())
    return ExitCode.OK


def text() -> str:
    cases = "\n".join(f"        {name!r}) echo {words!r} ;;" for name, words in _words())
    return _SCRIPT.format(version=__version__, cases=cases)


def _words() -> Iterator[tuple[str, str]]:
    """What can follow each verb: the verbs below it, or its options and the choices of the word that it takes."""
    for name, parser in command_line.build().items():
        verb = verbs.find(name.split())
        below = [verbs.last(child) for child in verbs.children(verb)]
        yield name, " ".join([*below, *sorted(_options(parser))])


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
_7lbd() {{
    local verb='' word current=${{COMP_WORDS[COMP_CWORD]}}
    for word in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        _7lbd_words "${{verb:+$verb }}$word" >/dev/null || break
        verb=${{verb:+$verb }}$word
    done
    COMPREPLY=()
    # A file's name completes by itself (-o default).
    [[ -z $verb || $current == -* || $verb =~ ^(image|image build|render)$ ]] || return 0
    mapfile -t COMPREPLY < <(compgen -W "$(_7lbd_words "$verb")" -- "$current")
}}
complete -o default -F _7lbd 7lbd
"""

COMMANDS = {"render completion": Command(_print, checks_settings=False)}
