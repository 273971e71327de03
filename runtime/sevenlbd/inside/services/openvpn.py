"""OpenVPN's client as a session runs it: its command, and a configuration that only it is told.

It has no right over the network: the device is there, and whose (`net/project_link`); addresses and routes are not its
affair. Of what a server pushes it takes the address and how often to look whether the other still lives, nothing else:
no route, no name server, no proxy, no compression, no variable, no order to end. It runs no program.
Source: openvpn(8).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ...wire.inner_files import PRIVATE
from ...wire.private_network import Project
from ..net.project_link import TUN
from ..net.ways_out import PROJECT_CLIENT

MANAGEMENT = PRIVATE / "openvpn.sock"
"""Where the keeper hears it. It calls us, so nobody else can be taken for it."""
# The first that a pushed option begins with decides; a blank ends a whole word.
_TAKEN = (
    *("ifconfig ", "ping ", "ping-restart ", "push-continuation "),
    *("peer-id ", "cipher ", "protocol-flags ", "key-derivation "),
)
_OPTIONS = """\
client
proto tcp-client
remote {address} {port}
nobind
dev {tun}
dev-type tun
topology subnet
ifconfig-noexec
route-noexec
disable-dco
script-security 0
{filters}
remote-cert-tls server
tls-version-min 1.2
data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305
allow-compression no
auth-nocache
auth-retry nointeract
persist-key
persist-tun
ping 10
ping-restart 60
connect-timeout 30
connect-retry 1 30
management {management} unix
management-client
verb 3
mute 10
"""
"""Seconds as openvpn(8) advises them for keepalive; who cannot connect tries ever later, every 30 s at the latest."""


def configuration(project: Project, management: Path = MANAGEMENT, address: str = PROJECT_CLIENT) -> str:
    """The whole configuration, its secrets included."""
    filters = [f'pull-filter accept "{word}"' for word in _TAKEN] + ['pull-filter ignore ""']
    options = _OPTIONS.format(
        address=address, port=project.port, tun=TUN, filters="\n".join(filters), management=management
    )
    if project.server_name:
        options += f'verify-x509-name "{project.server_name}" name\n'
    return options + project.credentials


@contextmanager
def told(project: Project) -> Iterator[int]:
    """A descriptor that the configuration is read from, as often as it is started anew. No file has a name to it."""
    secret = os.memfd_create("project", os.MFD_ALLOW_SEALING)
    try:
        with os.fdopen(os.dup(secret), "wb") as file:
            file.write(configuration(project).encode())
        fcntl.fcntl(secret, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
        yield secret
    finally:
        os.close(secret)


def command(descriptor: int) -> list[str]:
    """The client, with its configuration in a descriptor that it inherits."""
    return ["/usr/sbin/openvpn", "--config", f"/proc/self/fd/{descriptor}"]
