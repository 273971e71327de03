"""What is wanted of one command: what runs, how long, with which files, and how it is told. Loads no settings."""

from __future__ import annotations

from dataclasses import dataclass, field

from .order import Order


@dataclass(frozen=True)
class JobRequest:
    """One command, checked as far as that goes without a guest."""

    order: Order | None
    """None for a machine that is only kept."""
    timeout: float | None = None
    """Seconds; None when there is no limit."""
    inputs: tuple[str, ...] = ()
    """Files of the node's that are copied into the command's folder."""
    outputs: tuple[str, ...] = ()
    """Patterns of what is copied back from there."""
    folder: str = ""
    """The user's current folder on the node: to which outputs come back, unless there is `results`."""
    results: int | None = None
    """A descriptor of a folder that is this command's alone, and outputs come back to: of a list, one like another."""
    umask: int = 0o077
    """The user's own, for what comes back."""
    as_json: bool = False
    stdin: bool = True
    """Whether our standard input is the command's."""
    keep: bool = False
    """Whether the machine stays when the command has ended."""
    notes: tuple[str, ...] = field(default=())

    @property
    def apart(self) -> bool:
        """Whether it works in a folder of the session's, on copies, and not in the user's own."""
        return bool(self.inputs or self.outputs)
