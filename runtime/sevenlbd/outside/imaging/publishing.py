"""What a repository shows to new sessions: publish, rollback, rm."""

from __future__ import annotations

from ...base import units
from ...base.errors import ExitCode, Refusal
from ...images import names
from ...images.lookup import image, repositories
from ...images.names import Reference
from ...images.repository import acceptances, inventory
from ...images.signing import signature
from ..cli.command import Command, CommandContext
from ..cli.parser import Parser, option
from ..console import terminal


def _publish(context: CommandContext) -> int:
    ref = names.parse(context.options.image, exact=True)
    owner = repositories.repository_of(ref, context.folders)
    folder = owner.folder(ref)
    # What no session could start from is not let out.
    image.from_folder(folder)
    if context.settings.require_signed:
        signature.check(folder, signature.trusted(context.settings.trusted_keys))
    record = acceptances.read(owner.path / ref.name, ref.version)
    if record and not record.passed and not context.options.force:
        what = f"{ref}: its acceptance {record}"
        report = acceptances.paths(owner.path / ref.name, ref.version)[1]
        raise Refusal(ExitCode.IMAGE, what, hint=f"{report} says more; --force publishes it all the same")
    owner.publish(ref.name, ref.version)
    terminal.say(f"{ref} is current in {owner.path}: new sessions get it")
    return ExitCode.OK


def _rollback(context: CommandContext) -> int:
    ref = plain_name(context.options.image)
    owner = repositories.repository_of(ref, context.folders)
    version = owner.rollback(ref.name)
    terminal.say(f"{ref}@{version} is current again in {owner.path}: new sessions get it")
    return ExitCode.OK


def plain_name(text: str) -> Reference:
    """An image's name without a version. Raises Refusal."""
    ref = names.parse(text)
    if ref.version:
        what = f"`{text}`: a version is not wanted here, only the image's name"
        raise Refusal(ExitCode.USAGE, what, hint=f"{ref.name}; or: 7lbd image publish {ref}")
    return ref


def _remove(context: CommandContext) -> int:
    ref = names.parse(context.options.image, exact=True)
    owner = repositories.repository_of(ref, context.folders)
    freed = sum(part.allocated for part in inventory.parts(owner.folder(ref)))
    owner.remove(ref.name, ref.version, even_current=context.options.force)
    terminal.say(f"{ref} is removed from {owner.path}: {units.size(freed)} freed")
    return ExitCode.OK


def _publish_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("image", metavar="NAME@VERSION")
    parser.add_argument("--force", action="store_true", help="even though its acceptance failed")


def _rollback_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("image", metavar="NAME")


def _remove_options(parser: Parser) -> None:
    option(parser, "image_dirs")
    parser.add_argument("image", metavar="NAME@VERSION")
    parser.add_argument(
        "--force", action="store_true", help="even the current one, so that new sessions get none; never one in use"
    )


COMMANDS = {
    "image publish": Command(_publish, _publish_options),
    "image rollback": Command(_rollback, _rollback_options),
    "image rm": Command(_remove, _remove_options),
}
