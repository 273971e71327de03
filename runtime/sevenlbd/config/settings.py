"""The settings: each declared once; command line, environment, TOML, man page and docs follow from it.

Only the declarations, and what can be said of one. Where values come from, and whose counts, is for others to know.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from .value_kinds import Duration, Size, Words, written

PREFIX = "SEVENLBD_"
TABLES = ("slurm", "condor", "ondemand", "owner", "grid", "pool")
"""Tables of the site's file that are no settings of a session: what `render` makes of the site."""
NETWORK = "network"
"""A setting; where a site has private networks, a table of its file, with the setting as `mode` in it."""


class Accel(StrEnum):
    AUTO = "auto"
    KVM = "kvm"
    TCG = "tcg"


class AtEnd(StrEnum):
    IMAGE = "image"
    SHUTDOWN = "shutdown"
    SUSPEND = "suspend"


class KeyPlace(StrEnum):
    """Where it is kept what wraps the key of encrypted images."""

    AUTO = "auto"
    FILE = "file"
    COMMAND = "command"
    TPM = "tpm"
    POOL = "pool"


class Network(StrEnum):
    AUTO = "auto"
    TAP = "tap"
    USER = "user"


def _setting(default: Any, description: str, *, metavar: str = "", flag: str = "", site: bool = False) -> Any:
    """A setting's one declaration. `flag` is its name on the command line when it is not its own.

    A `site` setting is accepted from the site's file only.
    """
    more: dict[str, Any] = {"metavar": metavar, "flag": flag, "site": site}
    return Field(default=default, description=description, json_schema_extra=more)


class Settings(BaseModel):
    """Every setting of the appliance. Sizes in bytes, durations in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)

    image: str = _setting(
        "",
        "The image to boot: NAME or NAME@VERSION from a repository, a folder with image.toml, or a bare disk file.",
        metavar="IMAGE",
    )
    image_dirs: Words = _setting(
        (), "A repository in which images are looked up by name; first match wins.", metavar="DIR", flag="image-dir"
    )
    image_cache: str = _setting(
        "", "Folder on a local disk for copies of images, looked into before every repository.", metavar="DIR"
    )
    image_cache_trusted: bool = _setting(
        False,
        "Only root, or whom the site trusts, fills image_cache: signed copies in it need not be read at a first start.",
        site=True,
    )
    image_cache_quota: Size = _setting(0, "Most that the image cache may hold; 0 is no limit.", metavar="SIZE")
    image_cache_rate: Size = _setting(0, "Most bytes a second that fetching may take; 0 is no limit.", metavar="SIZE")
    require_signed: bool = _setting(False, "Refuse images that no key of trusted_keys has signed.", site=True)
    trusted_keys: Words = _setting((), "Public keys (ed25519) whose signed images are trusted.", site=True)
    signed_by: Words = _setting(
        (),
        "Refuse images that no such key (ed25519) has signed, whatever else is trusted; may be given several times.",
        metavar="KEY",
    )
    encrypt: bool = _setting(
        False,
        "Let nothing of the guest's disk and memory come to the node's disks in the clear: the session's overlay is "
        "encrypted with a key of its own that is only in memory, and so is what a suspended desktop goes through.",
    )
    image_key: str = _setting(
        "",
        "File with the key of images that lie encrypted here, in place of one's own; /dev/fd/N is best.",
        metavar="FILE",
    )
    image_key_source: KeyPlace = _setting(
        KeyPlace.AUTO,
        "Where it is kept what wraps the key of images that lie encrypted here: `file` beside it, `command` of the "
        "site's (image_key_command), `tpm` of this machine, or the grid's `pool`, which gives it at each start; `auto` "
        "leaves it where it is, and begins with the command if there is one, else with a file.",
        metavar="WHERE",
    )
    image_key_tpm: str = _setting(
        "device:/dev/tpmrm0",
        "The TPM that image_key_source means, as tpm2-tools call it (a TCTI).",
        metavar="TCTI",
        site=True,
    )
    image_key_command: Words = _setting(
        (),
        "Program that keeps what wraps the key of encrypted images: with `get` it prints that, with `put` it reads a "
        "new one from its standard input.",
        site=True,
    )
    warm: bool = _setting(True, "Start from the image's warm state when it has one that fits.")
    warm_cpu_model: str = _setting(
        "auto",
        "CPU model that warm states are made for; auto is a common one with KVM and `max` without.",
        metavar="MODEL",
    )
    movable: bool = _setting(
        False,
        "Give the guest a CPU model that other nodes have, too (that of warm states), instead of the node's own: a "
        "suspended desktop can then go on there.",
    )
    resume: str = _setting("", "Go on from this saved desktop, which is as it was.", metavar="NAME|FILE")
    resume_if_there: str = _setting(
        "",
        "Go on from this saved desktop if the file is there, else begin; and suspend into it. For jobs that are "
        "started again.",
        metavar="FILE",
    )
    passphrase_file: str = _setting(
        "",
        "File whose first line is the passphrase that closes saved desktops instead of your key; - is standard input.",
        metavar="FILE",
    )
    memory: Size = _setting(
        0, "Memory of the guest; 0 takes what the image asks for. Less than it boots with is refused.", metavar="SIZE"
    )
    cpus: int = _setting(0, "Virtual CPUs of the guest; 0 takes what the image asks for.", metavar="N")
    cpu_model: str = _setting("auto", "QEMU's CPU model; auto is `host` with KVM and `max` without.", metavar="MODEL")
    shares: Words = _setting(
        (), "A folder for the guest beside `home`; may be given several times.", metavar="NAME=PATH[:ro]", flag="share"
    )
    home_share: bool = _setting(True, "Serve the user's home folder as the share `home`.")
    cached_shares: Words = _setting(
        (),
        "A share in which nothing but the guest works: it may keep what it has read and written, which is quicker.",
        metavar="NAME",
        flag="cached-share",
    )
    protect_dot_files: bool = _setting(
        False,
        "Keep names that begin with a dot from the guest, in all shares: it neither sees them nor makes any.",
    )
    wide_links: bool = _setting(False, "Let symbolic links lead out of a share.", site=True)
    accel: Accel = _setting(
        Accel.AUTO, "auto uses KVM when it really works and says so when it does not; kvm refuses instead."
    )
    network: Network = _setting(
        Network.AUTO, "tap needs /dev/net/tun; user is QEMU's slower network; auto takes tap when it can."
    )
    timezone: str = _setting(
        "auto",
        "The guest's time zone, set by its agent: auto is yours on this node, `image` the image's own; or a name such "
        "as Europe/Berlin.",
        metavar="NAME|auto|image",
    )
    name: str = _setting("", "The session's id; a short random one when empty.", metavar="NAME")
    web: str = _setting(
        "127.0.0.1:0",
        "Where the desktop's page listens beside the session's own web.sock: ADDRESS:PORT, a range of ports, or off.",
        metavar="ADDRESS:PORT[-LAST]|off",
    )
    web_tls: bool = _setting(False, "Serve the page by HTTPS on loopback, too; elsewhere it always is.")
    web_certificate: str = _setting(
        "", "Certificate chain of the page (PEM); empty makes one for each session.", metavar="FILE"
    )
    web_key: str = _setting("", "Private key of web_certificate (PEM).", metavar="FILE")
    web_plain_http: bool = _setting(
        False, "Serve the page by plain HTTP beyond loopback, as Open OnDemand's proxy wants it.", site=True
    )
    portals: Words = _setting(
        (),
        "An origin under which a portal shows the page, for instance https://ondemand.example.edu.",
        metavar="ORIGIN",
        flag="portal",
    )
    web_names: Words = _setting(
        (),
        "A further name of this node by which the page is called, where portals are set: they bar names unheard of.",
        metavar="NAME",
        flag="web-name",
    )
    console: bool = _setting(True, "Offer the machine's own screen beside the desktop.")
    rdp_tls: str = _setting(
        "", "Where native RDP over mutual TLS listens; empty is nowhere.", metavar="ADDRESS:PORT[-LAST]"
    )
    egress: bool = _setting(True, "Give the guest the ways out that the site allows (egress_allow).")
    egress_allow: Words = _setting(
        (),
        "A way out: tcp://HOST:PORT[-LAST], udp://HOST:PORT[-LAST], or http(s)://PATTERN[:PORT] by the proxy.",
        metavar="URL",
        site=True,
    )
    egress_hosts: Words = _setting(
        (),
        "Where a host of egress_allow is, instead of what DNS says: NAME=ADDRESS.",
        metavar="NAME=ADDRESS",
        site=True,
    )
    egress_connections: int = _setting(
        256,
        "Most connections out that a session has at a time; as many UDP correspondents beside them.",
        metavar="N",
        site=True,
    )
    egress_rate: Size = _setting(
        0, "Most bytes a second, each way, of all of a session's ways out; 0 is no limit.", metavar="SIZE", site=True
    )
    egress_idle: Duration = _setting(
        7200, "A connection out that carries nothing for so long is closed.", metavar="DURATION", site=True
    )
    egress_log: str = _setting(
        "", "Folder in which each session leaves its list of connections out (JSON lines).", metavar="DIR", site=True
    )
    network_rate: int = _setting(
        0, "Most Mbit/s that the guest's network carries, each way; 0 is no limit.", metavar="MBIT"
    )
    project: str = _setting(
        "",
        "The project's private network that the guest joins, of those that the site has; empty: none.",
        metavar="NAME",
    )
    background: bool = _setting(
        False,
        "Give way to everything else on the node: least priority for CPU and disk, nothing of the guest's disk in the "
        "node's cache, and an end when memory gets short (background_memory). For machines that are others'.",
    )
    background_memory: Size = _setting(
        1 << 30,
        "Memory that a session in the background leaves to others: without it there it does not begin, and with less "
        "it is suspended or shut down, as at_end says.",
        metavar="SIZE",
    )
    time_limit: Duration = _setting(
        0, "Stop the session in order after this time; 0 is no limit.", metavar="DURATION", flag="for"
    )
    exit_when_ready: bool = _setting(False, "Stop as soon as the desktop is ready (for tests and measurements).")
    json_events: bool = _setting(False, "Print events as JSON lines (for programs).", flag="json")
    session_dir: str = _setting(
        "", "Where session folders are made, on a local disk; by default 7lbd-UID in TMPDIR or /tmp.", metavar="DIR"
    )
    min_space: Size = _setting(2 << 30, "Refuse to start with less free space for the overlay.", metavar="SIZE")
    state_dir: str = _setting(
        "",
        "Folder, seen from all nodes, in which your sessions leave word of themselves: by default 7lbd in "
        "XDG_STATE_HOME or ~/.local/state; `off` for none.",
        metavar="DIR|off",
    )
    share_access: bool = _setting(
        True, "Leave the page's key there, too, for `connect` on other nodes; its file is readable for you only."
    )
    report_dir: str = _setting(
        "",
        "Folder in which this session leaves word of itself beside that, for the portal that started it.",
        metavar="DIR",
    )
    ready_timeout: Duration = _setting(
        600, "Fail the session when the desktop is not ready by then.", metavar="DURATION"
    )
    stop_grace: Duration = _setting(
        25, "Time that the guest gets to shut down before it is switched off.", metavar="DURATION"
    )
    end_notice: Duration = _setting(
        300,
        "How long before a known end the desktop's user is told of it in the guest, and again at a minute; 0: never.",
        metavar="DURATION",
    )
    signal_lead: Duration = _setting(
        120,
        "How long before the job's end the scheduler sends SIGUSR1, where it does not say when the end is.",
        metavar="DURATION",
    )
    at_end: AtEnd = _setting(
        AtEnd.IMAGE,
        "What becomes of the desktop when its time is up or its scheduler wants its end: `suspend` writes it to its "
        "file, as far as the time suffices, and a requeued job goes on from there; `image` is as its image.toml says.",
    )
    checkpoint_every: Duration = _setting(
        0,
        "Save the running desktop into its file this often, so that it goes on from there after a crash; 0 is never.",
        metavar="DURATION",
    )
    suspended_exit_code: int = _setting(
        85, "Exit code of a desktop that was suspended for that reason; 85 is HTCondor's.", metavar="N"
    )
    locked: Words = _setting((), "Settings that only the site's file may change.", site=True)


def flag_of(name: str) -> str:
    """The command-line option of a setting, for instance `--exit-when-ready`."""
    return "--" + (extra(name)["flag"] or name.replace("_", "-"))


def variable_of(name: str) -> str:
    """The environment variable of a setting; empty for one that only the site's file may set."""
    return "" if extra(name)["site"] else PREFIX + name.upper()


def in_toml(name: str, value: object) -> str:
    """A setting's value as it stands in a TOML file, in the units that people use: `"2G"`, `"10m"`."""
    return written(value, extra(name)["metavar"])


def extra(name: str) -> dict[str, Any]:
    """What the declaration says beside type, default and description."""
    declared = Settings.model_fields[name].json_schema_extra
    assert isinstance(declared, dict)
    return dict(declared)


def nearest(typed: str, known: Iterable[str]) -> str:
    """`; did you mean X?` for a mistyped word, or nothing."""
    close = difflib.get_close_matches(typed, list(known), n=1, cutoff=0.5)
    return f"; did you mean `{close[0]}`?" if close else ""


def in_words(message: str) -> str:
    """What pydantic says of a wrong value, for the person who wrote it."""
    plain = message.removeprefix("Value error, ").partition(", unable to")[0]
    plain = plain.replace("Input should", "it must").replace("String should", "it must")
    return plain.replace("a valid integer", "a whole number").replace("a valid string", "text")


def tables_of(content: Mapping[str, object]) -> dict[str, object]:
    """The tables among what a file says. `network` is one where it is written as one, and else the setting."""
    names = [*TABLES, *([NETWORK] if isinstance(content.get(NETWORK), dict) else [])]
    return {name: content[name] for name in names if name in content}


def without_tables(content: Mapping[str, object]) -> dict[str, object]:
    """The settings among what the site's file says; `mode` of the table `network` is the setting of that name."""
    said_tables = tables_of(content)
    said = {name: value for name, value in content.items() if name not in said_tables}
    network = said_tables.get(NETWORK)
    return said | ({NETWORK: network["mode"]} if isinstance(network, dict) and "mode" in network else {})
