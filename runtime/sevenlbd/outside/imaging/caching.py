"""The verb `cache`: a node's own copies of images."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path

from ...base import units
from ...base.errors import ExitCode, Refusal
from ...config import sources
from ...images import names
from ...images.cache import fetch
from ...images.cache.fetch import Tally, VersionSource
from ...images.cache.node_cache import Cache, Take
from ...images.lookup import repositories
from ...images.names import Reference
from ...images.signing import signature
from ..cli.command import Command, CommandContext, say
from ..cli.parser import Parser, options
from ..console import progress_bar, terminal

_SETTINGS = ("state_dir", "image_key_source", "image_cache", "image_cache_quota", "image_cache_rate")


def _cache(context: CommandContext) -> int:
    path = sources.image_cache(context.settings)
    if not path:
        hint = "name a folder on a local disk: --image-cache DIR, or image_cache in a settings file"
        raise Refusal(ExitCode.USAGE, "there is no image cache: image_cache is not set", hint=hint)
    cache = Cache(path, context.settings.image_cache_quota, _encrypting(context) if context.options.encrypted else None)
    if context.options.drop:
        _drop(cache, names.parse(context.options.drop, exact=True))
    elif context.options.image:
        _fetch(context, cache, names.parse(context.options.image))
    else:
        _list(cache)
    return ExitCode.OK


def _encrypting(context: CommandContext) -> Take:
    """With the user's own key on this machine, made at the first time. Raises Refusal."""
    from ...images.arrival import copying  # a library that is large, so only where it is needed
    from ..grid import key_sources

    key = key_sources.own(context.settings, context.here.environment).make()
    return lambda source, target, rate, report: copying.take(source, target, key, rate, report)


def _fetch(context: CommandContext, cache: Cache, reference: Reference) -> None:
    ref, folder = repositories.locate(reference, context.folders)
    if not ref.version:
        what = f"{folder}: this image has no versions, and so a copy could not be told from an older one"
        raise Refusal(ExitCode.IMAGE, what, hint=f"7lbd image add {folder}/DISK --name {ref.name} --version VERSION")
    if folder.is_relative_to(cache.path.resolve()):
        what = f"{folder}: is in the cache itself, which is named as a repository, too"
        raise Refusal(ExitCode.USAGE, what, hint="let image_dirs name the repository only that it is to be copied from")
    if cache.holds(ref, _looked_at(context, folder)):
        terminal.say(f"{ref} is in {cache.path} already")
        return

    def told_to_wait() -> None:
        say(f"{cache.path} is being filled; waiting", error=True)

    with cache.locked(None if context.options.no_wait else told_to_wait) as ours:
        source = _looked_at(context, folder)
        if not ours:
            terminal.say(f"{cache.path} is being filled by somebody else; not waiting")
        elif cache.holds(ref, source):
            terminal.say(f"{ref} has been fetched meanwhile")
        else:
            _fetch_now(context, cache, ref, source)


def _looked_at(context: CommandContext, folder: Path) -> VersionSource:
    if context.settings.require_signed:
        signature.check(folder, signature.trusted(context.settings.trusted_keys))
    return fetch.look(folder)


def _fetch_now(context: CommandContext, cache: Cache, ref: Reference, source: VersionSource) -> None:
    total = sum(status.st_size for status in source.files.values())
    done = 0
    try:
        with progress_bar.shown(f"fetching {ref}", total) as report:

            def advance(tally: Tally) -> None:
                nonlocal done
                report(tally.done - done)
                done = tally.done

            tally = cache.fetch(ref, source, context.settings.image_cache_rate, advance)
    except (KeyboardInterrupt, SystemExit):
        say(f"what has arrived of {ref} is kept; the next call goes on from there", error=True)
        raise
    proved = "every chunk as the manifest says" if source.manifest else "there is no manifest to prove it by"
    came, spared = units.size(tally.fetched), units.size(tally.kept)
    terminal.say(f"{ref} is in {cache.path}: {came} fetched, {spared} empty or here; {proved}")


def _drop(cache: Cache, ref: Reference) -> None:
    cache.check_has(ref)
    with cache.locked(None) as ours:
        if not ours and not cache.is_whole(ref):
            what = f"{cache.path}: somebody is fetching, perhaps {ref}"
            raise Refusal(ExitCode.IMAGE, what, hint="wait for it, or interrupt it first")
        cache.drop(ref)
    terminal.say(f"{ref} is no longer in {cache.path}")


def _list(cache: Cache) -> None:
    entries = cache.entries()
    for entry in entries:
        state = "whole" if entry.whole else "not whole"
        if entry.whole:
            with suppress(Refusal):
                state = f"in use: {users[0]}" if (users := cache.users(entry.ref)) else state
        used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used))
        terminal.say(f"{entry.ref}  {units.size(entry.size)}  used {used}  {state}")
    of = f" of {units.size(cache.quota)}" if cache.quota else ""
    terminal.say(f"{units.size(sum(entry.size for entry in entries))}{of} in {cache.path}")


def _options(parser: Parser) -> None:
    options(parser, "image_dirs", *_SETTINGS)
    only = parser.add_mutually_exclusive_group()
    only.add_argument(
        "image",
        nargs="?",
        default="",
        metavar="NAME[@VERSION]",
        help="fetch it; what has arrived before is not fetched again",
    )
    only.add_argument("--list", action="store_true", help="show what there is, least recently used first (the default)")
    only.add_argument("--drop", metavar="NAME@VERSION", default="", help="remove a copy, or what has arrived of it")
    parser.add_argument(
        "--encrypted", action="store_true", help="what is fetched lies there encrypted, with a key of yours"
    )
    parser.add_argument("--no-wait", action="store_true", help="do nothing when somebody else is fetching already")


COMMANDS = {"image cache": Command(_cache, _options)}
