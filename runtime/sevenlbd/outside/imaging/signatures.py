"""Keys, signatures and what they prove."""

from __future__ import annotations

import os
from pathlib import Path

from ...base import text_files
from ...base.errors import ExitCode, Refusal
from ...base.paths import user_path
from ...images import layout, names
from ...images.lookup import repositories
from ...images.repository import sign_version
from ...images.repository.versions import Repository
from ...images.signing import manifest, signature, verified
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, option
from ..console import progress_bar, terminal

_SHOWN = "NAME@VERSION"


def _keygen(context: CommandContext) -> int:
    prefix = user_path(context.options.prefix)
    private, public = prefix.with_name(f"{prefix.name}.key"), prefix.with_name(f"{prefix.name}.pub")
    for path in (private, public):
        if os.path.lexists(path):
            what = f"{path}: exists already, and a key is never overwritten"
            raise Refusal(ExitCode.USAGE, what, hint="choose another PREFIX")
    secret, text = signature.generate()
    _write_new(private, secret, 0o600)
    try:
        _write_new(public, f"{text}\n".encode(), 0o644 & ~context.umask)
    except Refusal:
        private.unlink()
        raise
    terminal.say(f"{private}: the private key. Whoever has it can sign images: keep it off the nodes")
    terminal.say(f"{public}: the public one. For the site's settings file:")
    terminal.say(f'trusted_keys = ["{text}"]', "require_signed = true")
    return ExitCode.OK


def _write_new(path: Path, content: bytes, mode: int) -> None:
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        what = f"{path}: cannot be written: {error.strerror}"
        raise Refusal(ExitCode.USAGE, what, hint="choose a folder that is yours") from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
    except OSError as error:
        path.unlink()
        what = f"{path}: cannot be written: {error.strerror}"
        raise Refusal(ExitCode.RESOURCES, what, hint="make room there") from None


def _sign(context: CommandContext) -> int:
    ref = names.parse(context.options.reference, exact=True)
    key = signature.private_key(user_path(context.options.key))
    folder = repositories.find(ref, context.folders)
    made = sign_version.sign(Repository(folder.parents[1]), ref.name, ref.version, key, progress_bar.shown)
    terminal.say(f"{ref} is signed: {len(made.parts)} parts, {made.size} bytes, with {signature.public_text(key)}")
    return ExitCode.OK


def _verify(context: CommandContext) -> int:
    folder = repositories.find(names.parse(context.options.reference), context.folders)
    keys = signature.trusted([*context.settings.trusted_keys, *map(_key_text, context.options.trust)])
    if not keys:
        what = "no public key is trusted, so no signature proves anything"
        raise Refusal(ExitCode.USAGE, what, hint="list it in trusted_keys of the site's settings file, or --trust KEY")
    signed = signature.check(folder, keys)
    known = manifest.parse(signed.manifest, folder / layout.MANIFEST)
    with progress_bar.shown(f"verifying {folder}", known.size) as report:
        manifest.check(folder, known, report)
    verified.check_place(folder, known.name, known.version)
    terminal.say(
        f"{known.name}@{known.version}: {len(known.parts)} parts, {known.size} bytes, as signed with {signed.key}"
    )
    return ExitCode.OK


def _key_text(text: str) -> str:
    """A key as it was given: itself, or in a file."""
    if text.startswith(signature.PREFIX):
        return text
    try:
        with user_path(text).open("rb") as file:
            return text_files.decoded(file.read(1024)).strip()
    except (OSError, ValueError) as error:
        what = f"--trust {text}: is neither a public key nor a file with one: {error}"
        raise Refusal(ExitCode.USAGE, what, hint=f"a key is {signature.PREFIX}...; keygen wrote it to a .pub") from None


def _keygen_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("prefix", metavar="PREFIX", help="writes PREFIX.key (private, keep it safe) and PREFIX.pub")


def _sign_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("reference", metavar=_SHOWN)
    parser.add_argument("--key", metavar="FILE", required=True, help="the private key that keygen made")


def _verify_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("reference", metavar="NAME[@VERSION]", help="without @VERSION the current one")
    parser.add_argument(
        "--trust", metavar="KEY", action="append", default=[],
        help="a public key, or a file with one, to trust beside those of trusted_keys",
    )  # fmt: skip


COMMANDS = {
    "image keygen": Command(_keygen, _keygen_options),
    "image sign": Command(_sign, _sign_options),
    "image verify": Command(_verify, _verify_options),
}
