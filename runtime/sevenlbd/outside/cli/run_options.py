"""What `run` takes: every setting of a session. What it does is `launch`, which begins before all this is loaded."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from .command import Command
from .parser import Parser, options

# What a session's settings are about, in the order in which people come upon it.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "what runs": (
        *("image", "image_dirs", "image_cache", "image_cache_quota", "image_cache_rate", "signed_by"),
        *("warm", "warm_cpu_model"),
        *("memory", "cpus", "cpu_model", "accel", "timezone"),
    ),
    "what lies on the node's disk": ("encrypt", "image_key", "image_key_source"),
    "suspended desktops": (
        *("movable", "resume", "resume_if_there", "passphrase_file"),
        *("at_end", "checkpoint_every", "suspended_exit_code"),
    ),
    "your files": ("shares", "home_share", "cached_shares", "protect_dot_files"),
    "ways in": (
        *("web", "web_tls", "web_certificate", "web_key", "portals", "web_names", "console", "rdp_tls", "share_access"),
    ),
    "beside others' work": ("background", "background_memory"),
    "network of the guest": ("network", "network_rate", "egress", "project"),
    "how long": ("time_limit", "ready_timeout", "stop_grace", "end_notice", "signal_lead", "exit_when_ready"),
    "the session itself": ("name", "session_dir", "min_space", "state_dir", "report_dir", "json_events"),
}


def _options(parser: Parser) -> None:
    _groups(parser, ())
    form = "what a portal's form asks for, checked against the site's table [ondemand]"
    parser.add_argument("--form", metavar="FILE", default="", help=form)
    parser.set_defaults(goes_on=False)
    _of_both(parser)
    accept = "for `image accept`: the session's owner may have the agent run programs in the guest"
    parser.add_argument("--acceptance", action="store_true", help=accept)


def _resume_options(parser: Parser) -> None:
    _groups(parser, ("resume", "resume_if_there"))
    parser.set_defaults(form="", goes_on=True, acceptance=False)
    _of_both(parser)
    saved = "its name, or its file; not needed when you have only one"
    parser.add_argument("resume", nargs="?", metavar="NAME|FILE", default="", help=saved)


def _groups(parser: Parser, left_out: Collection[str]) -> None:
    """The settings as options, under the headings of what they are about."""
    for title, names in GROUPS.items():
        group = parser.add_argument_group(title)
        options(group, *(name for name in names if name not in left_out))


def _of_both(parser: Parser) -> None:
    joins = "have the guest join a pool as a worker, by the record in FILE (JSON; /dev/fd/N, or - for standard input)"
    parser.add_argument("--join", metavar="FILE", default="", help=joins)
    copied = "go on from a saved desktop even if another session does: both then hold the same licences and files"
    parser.add_argument("--copy", action="store_true", help=copied)
    closed = "ask for the passphrase of the saved desktop, or for the one that this desktop shall be saved with"
    parser.add_argument("--passphrase", action="store_true", help=closed)


COMMANDS = {"run": Command(None, _options), "resume": Command(None, _resume_options)}
