"""A project's network that a session is to join, as the checks leave it: for the plan, the relay and the supervisor."""

from __future__ import annotations

from dataclasses import dataclass

from ...wire.private_network import Project
from ..egress.relay.allowed import ProjectServer
from .client_keys import KeyFiles


@dataclass(frozen=True)
class JoinedProject:
    """The network, without credentials; whom the relay may connect to for it, and where the credentials are."""

    project: Project
    server: ProjectServer
    files: KeyFiles
