"""The verbs, one table: how each is called, what it means, and where it is.

Parser, dispatch, shell completion, man page and docs are made from it.

Loads nothing of what a verb does: `run` begins its work before the rest is loaded, and each other loads its own module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Group(StrEnum):
    """Under which heading a verb stands in the help."""

    DESKTOPS = "desktops"
    IMAGES = "images"
    SITE = "sites and nodes"


@dataclass(frozen=True)
class Verb:
    """One verb. Its module, below `sevenlbd.outside`, has the rest in COMMANDS; a family of verbs has none."""

    name: str
    """As it is typed, for instance `image add`."""
    about: str
    group: Group
    module: str = ""
    aliases: tuple[str, ...] = ()
    takes_command: bool = False
    """Whether what stands behind `--` is a command, and none of its words an option."""


_D, _I, _S = Group.DESKTOPS, Group.IMAGES, Group.SITE

VERBS = (
    Verb("run", "start a desktop and stay with it until it ends", _D, "cli.run_options"),
    Verb(
        "submit",
        "have the scheduler start a desktop, follow it until it is ready, show how to connect",
        _D,
        "job.submission",
    ),
    Verb("status", "show your sessions, on this node and on others", _D, "commands.session_verbs"),
    Verb(
        "suspend",
        "write a desktop to an encrypted file, and end it; it goes on from there later",
        _D,
        "commands.suspend_verb",
    ),
    Verb("resume", "go on from a suspended desktop, and stay with it until it ends", _D, "cli.run_options"),
    Verb(
        "exec",
        "run one command in a machine of its own, as a job: its output, its exit code, its files",
        _D,
        "batch.exec_verb",
        takes_command=True,
    ),
    Verb("saved", "keep saved desktops: list, show, check, remove; your public key", _D),
    Verb("saved list", "show your saved desktops", _D, "commands.saved_verbs"),
    Verb("saved show", "show one: whose it is, what it needs, its parts", _D, "commands.saved_verbs"),
    Verb("saved check", "read all of one, and say whether it is whole", _D, "commands.saved_verbs"),
    Verb(
        "saved key", "print your public key, made if there is none: for suspend --recipient", _D, "commands.saved_verbs"
    ),
    Verb("saved rm", "remove one from which no session goes on", _D, "commands.saved_verbs"),
    Verb("stop", "shut a desktop down in order", _D, "commands.session_verbs"),
    Verb("connect", "show how to reach a desktop, and write its .rdp file", _D, "commands.connecting"),
    Verb("image", "keep golden images: add, sign, publish, warm, maintain ...", _I),
    Verb("image list", "show every image and version there is", _I, "imaging.listing"),
    Verb("image show", "show one version: what it is, its parts, who signed and who uses it", _I, "imaging.listing"),
    Verb("image publish", "let new sessions get this version; running ones keep theirs", _I, "imaging.publishing"),
    Verb("image rollback", "let new sessions get the version that was current before", _I, "imaging.publishing"),
    Verb("image rm", "remove a version that is neither current nor in use anywhere", _I, "imaging.publishing"),
    Verb("image gc", "remove old versions that nobody uses, and what interrupted work left", _I, "imaging.collecting"),
    Verb("image add", "make a new version from a disk: raw, qcow2, vmdk, vhdx, vhd, vdi or ova", _I, "imaging.adding"),
    Verb("image check", "examine a version: description, disk, warm state, digests, signature", _I, "imaging.adding"),
    Verb("image keygen", "make a key pair for signing images", _I, "imaging.signatures"),
    Verb("image sign", "sign a version, so that any change of it is noticed", _I, "imaging.signatures"),
    Verb("image verify", "read all of a version and compare it with what was signed", _I, "imaging.signatures"),
    Verb(
        "image warm",
        "boot an image once and keep the machine as it is when it is ready: sessions start from there in seconds",
        _I,
        "imaging.warming",
    ),
    Verb(
        "image accept",
        "start real sessions of a version and examine them: a line each for what holds, fails or cannot be told",
        _I,
        "acceptance.accept",
    ),
    Verb(
        "image maintain",
        "work on a writable child of a version, then commit it as a new version or discard it",
        _I,
        "imaging.maintain",
    ),
    Verb("image build", "install a system from its media, unattended", _I),
    Verb("image build windows", "install Windows unattended", _I, "imaging.build_windows"),
    Verb(
        "image build debian",
        "install the stand-in, a Debian that honours the guest contract",
        _I,
        "imaging.build_debian",
    ),
    Verb(
        "image cache",
        "copy an image to this node's own disk, where sessions find it from then on; or show and remove copies",
        _I,
        "imaging.caching",
    ),
    Verb("render", "write a job script, an Open OnDemand app, a site's settings file, or the `7lbd` command", _S),
    Verb(
        "render slurm",
        "print a job script that starts a desktop: 7lbd render slurm --image win11 | sbatch",
        _S,
        "job.rendering",
    ),
    Verb(
        "render condor",
        "print a submit description that starts a desktop: 7lbd render condor --image win11 | condor_submit -",
        _S,
        "job.rendering",
    ),
    Verb(
        "render command",
        "print the `7lbd` command for the nodes: a script that calls Apptainer with all that the site needs",
        _S,
        "job.rendering",
    ),
    Verb(
        "render site",
        "print a 7lbd.toml with every key, its meaning, and what you have set already",
        _S,
        "site.site_file",
    ),
    Verb(
        "render ondemand",
        "write the Open OnDemand app, of the site's table [ondemand]; again after each upgrade",
        _S,
        "ondemand.render_app",
        aliases=("ood",),
    ),
    Verb(
        "render condor-node",
        "print the configuration of an HTCondor node: what it offers, and its owner's policy",
        _S,
        "job.condor_node",
    ),
    Verb(
        "render grid-unit",
        "print the grid coordinator's unit for its user's systemd",
        _S,
        "grid.coordinator.unit_file",
    ),
    Verb(
        "render grid-pool-unit",
        "print a systemd unit of the service that borrowed machines ask",
        _S,
        "grid.pool.pool_unit",
    ),
    Verb(
        "render completion",
        "print what lets bash complete the `7lbd` command, its verbs and options",
        _S,
        "cli.completion",
    ),
    Verb("doctor", "check whether this node can run a desktop, and what would mend it", _S, "commands.node_verbs"),
    Verb(
        "advertise",
        "print what this node offers as a ClassAd, for HTCondor's STARTD_CRON",
        _S,
        "commands.advertising",
    ),
    Verb("grid", "lend this machine to a pool, and keep the pool's service", _S),
    Verb("grid enrol", "make this machine belong to a pool, by a code of its administrator's", _S, "grid.enrolment"),
    Verb(
        "grid coordinator",
        "lend this machine to its pool while its owner does not need it: fetch, verify and run the VMs that jobs name",
        _S,
        "grid.coordinator.coordinator_verb",
    ),
    Verb(
        "grid show",
        "show what may run on this lent machine and signed by whom, when, how much, and what runs now",
        _S,
        "grid.coordinator.owner_verbs",
    ),
    Verb(
        "grid pause",
        "have a lent machine for yourself: all that others run on it ends at once",
        _S,
        "grid.coordinator.owner_verbs",
    ),
    Verb("grid resume", "lend a machine again after `grid pause`", _S, "grid.coordinator.owner_verbs"),
    Verb("grid pool", "keep the service that borrowed machines ask; without a word more: serve", _S),
    Verb("grid pool serve", "tell borrowed machines what is wanted, and give them images", _S, "grid.pool.pool_verbs"),
    Verb("grid pool code", "make a code by which one machine enrols", _S, "grid.pool.pool_verbs"),
    Verb("grid pool list", "show the machines that are enrolled", _S, "grid.pool.pool_verbs"),
    Verb("grid pool revoke", "send a machine away: its token opens nothing from now on", _S, "grid.pool.pool_verbs"),
    Verb("grid rekey", "change what wraps the key of the encrypted images on this machine", _S, "grid.rekeying"),
    Verb("config", "show the settings in force", _S, "commands.node_verbs"),
    Verb("gc", "remove what dead sessions left on this node", _S, "commands.node_verbs"),
    Verb("version", "print the version of the appliance", _S, "commands.node_verbs"),
)


_POOL = ["grid", "pool"]
_HELP = (["-h"], ["--help"])


def complete(arguments: Sequence[str]) -> list[str]:
    """The arguments with their verb: without one, `run` is meant, and `serve` behind `grid pool`."""
    words = list(arguments)
    if not words or (words[0].startswith("-") and words[0] not in ("-h", "--help", "--version")):
        words.insert(0, "run")
    if words[:2] == _POOL and (len(words) == len(_POOL) or words[2].startswith("-")) and words[2:3] not in _HELP:
        words.insert(2, "serve")
    return words


def find(words: Sequence[str]) -> Verb | None:
    """The verb that arguments begin with, or the family as far as they name one; None when they name neither."""
    found = None
    for word in words:
        below = {known: verb for verb in children(found) for known in (last(verb), *verb.aliases)}
        if word not in below:
            break
        found = below[word]
    return found


def children(family: Verb | None) -> Iterator[Verb]:
    """The verbs right below a family, or with None those at the top."""
    above = family.name if family else ""
    return (verb for verb in VERBS if verb.name.rpartition(" ")[0] == above)


def last(verb: Verb) -> str:
    """A verb's own word, without those of its family."""
    return verb.name.rpartition(" ")[2]
