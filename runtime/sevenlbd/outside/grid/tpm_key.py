"""A wrapping key that only this machine's TPM 2.0 gives back, by the tools of tpm2-tools.

It is sealed below a primary key of the owner's hierarchy, which each TPM makes anew from a seed of its own: on another
machine, or after the TPM was cleared, nothing opens the file. No PCR is asked, so that an update of the firmware or the
kernel loses nothing: who has the whole machine has the TPM, too.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from ...base import atomic, foreign_files, heartbeat, process
from ...base.errors import ExitCode, Refusal
from ...config.settings import KeyPlace
from .image_key import LENGTH, LOST, sound

SEALED = "wrapping-key.tpm"
_NEW = f"{SEALED}.new"
_MOST = 16 << 10  # bytes; two small structures in base 64
_SECONDS = 60.0  # for one command; a guess: chips of 2014 take seconds for a primary key of an elliptic curve
# Of what is sealed: bound to this TPM and this parent, no password, and so no lock-out by wrong ones (TPM 2.0, part 1).
_ATTRIBUTES = "fixedtpm|fixedparent|userwithauth|noda"
_FLUSHED = ("--autoflush",)  # of what it makes: a TPM has room for three
_MANAGED = "tpmrm"  # the device behind which the kernel has as much room as is wanted
_ALTERED = "integrity check failed"  # TPM_RC_INTEGRITY, in the words of tpm2-tss
_DEVICE = "device:"
_WITHOUT = "--image-key-source pool, or file, does without a TPM"


@dataclass(frozen=True)
class TpmSource:
    """The TPM that `tcti` names, and what it has sealed, a file in `folder`."""

    folder: Path
    tcti: str
    name: str = KeyPlace.TPM

    def current(self) -> bytes:
        """Raises Refusal."""
        return self._unsealed(SEALED)

    def propose(self) -> bytes:
        """One that takes no name away from another."""
        key = secrets.token_bytes(LENGTH)
        with self._primary() as place:
            parts = [place / "public", place / "private"]
            words = ["--sealing-input", "-", "--attributes", _ATTRIBUTES]
            words += ["--public", str(parts[0]), "--private", str(parts[1])]
            self._call("create", "--parent-context", str(place / "primary"), *words, said=key.hex())
            kept = {part.name: base64.b64encode(part.read_bytes()).decode() for part in parts}
        atomic.replace(self.folder / _NEW, json.dumps(kept).encode() + b"\n", lasting=True)
        if self._unsealed(_NEW) != key:
            raise Refusal(ExitCode.NODE, f"{self.tcti}: gives back another key than it was given", hint=_WITHOUT)
        return key

    def accept(self) -> None:
        """By one rename."""
        (self.folder / _NEW).replace(self.folder / SEALED)
        atomic.to_disk(self.folder)

    def others(self) -> Iterator[bytes]:
        """The one that was proposed, and had not yet got the other's place."""
        if (self.folder / _NEW).exists():
            with suppress(Refusal):
                yield self._unsealed(_NEW)

    def forget(self) -> None:
        """Both."""
        for name in (SEALED, _NEW):
            (self.folder / name).unlink(missing_ok=True)

    def _unsealed(self, name: str) -> bytes:
        path = self.folder / name
        try:
            kept = json.loads(foreign_files.read(self.folder, name, _MOST))
            parts = {part: base64.b64decode(kept[part], validate=True) for part in ("public", "private")}
        except FileNotFoundError:
            raise Refusal(ExitCode.USAGE, f"{path}: what the TPM has sealed is gone", hint=LOST) from None
        except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
            raise Refusal(ExitCode.USAGE, f"{path}: cannot be used: {error}", hint=LOST) from None
        with self._primary() as place:
            for part, content in parts.items():
                (place / part).write_bytes(content)
            files = ["--public", str(place / "public"), "--private", str(place / "private")]
            try:
                self._call(
                    "load",
                    *_FLUSHED,
                    "--parent-context",
                    str(place / "primary"),
                    *files,
                    "--key-context",
                    f"{place}/key",
                )
            except _Failed as failed:
                if _ALTERED not in failed.said:
                    raise
                what = f"{path}: was sealed by another TPM than {self.tcti}, or before that was cleared: {failed.said}"
                raise Refusal(ExitCode.USAGE, what, hint=LOST) from None
            text = self._call("unseal", "--object-context", f"{place}/key")
        try:
            return sound(bytes.fromhex(text.strip()), str(path))
        except ValueError:
            raise Refusal(ExitCode.USAGE, f"{path}: has no key of ours in it", hint=LOST) from None

    @contextmanager
    def _primary(self) -> Iterator[Path]:
        """A folder for as long, with the context of the TPM's own key in it: none of what lies there is a secret."""
        self._look()
        with tempfile.TemporaryDirectory(prefix=".tpm-", dir=self.folder) as place:
            words = ["--hierarchy", "o", "--key-algorithm", "ecc", "--key-context", f"{place}/primary"]
            self._call("createprimary", *_FLUSHED, *words)
            try:
                yield Path(place)
            finally:
                # Commands leave what they have loaded in the TPM, where no resource manager of the kernel's is between.
                if _MANAGED not in self.tcti:
                    self._call("flushcontext", "--transient-object")

    def _look(self) -> None:
        """Whether we may use it. Raises Refusal."""
        device = self.tcti.removeprefix(_DEVICE).partition(",")[0]
        if device == self.tcti:
            return
        if not Path(device).exists():
            what = f"{device}: this machine shows no TPM 2.0"
            raise Refusal(ExitCode.NODE, what, hint=f"switch it on in the machine's firmware; {_WITHOUT}")
        if not os.access(device, os.R_OK | os.W_OK):
            what = f"{device}: you may not use this machine's TPM"
            hint = f"as root: usermod --append --groups tss {heartbeat.user_name()}, and log in anew; {_WITHOUT}"
            raise Refusal(ExitCode.NODE, what, hint=hint)

    def _call(self, tool: str, *words: str, said: str = "") -> str:
        """Run one of the tools; returns what it printed. Raises Refusal."""
        command = ["/usr/bin/tpm2", tool, "--quiet", "--tcti", self.tcti, *words]
        try:
            done = process.run(command, stdin=said, seconds=_SECONDS)
        except OSError as error:
            what = f"{self.tcti}: the TPM cannot be asked: {error.strerror or error}"
            raise Refusal(ExitCode.NODE, what, hint=_WITHOUT) from None
        if done.code:
            raise _Failed(self.tcti, tool, done.said)
        return done.printed


class _Failed(Refusal):
    """A tool could not do its work."""

    def __init__(self, tcti: str, tool: str, said: str) -> None:
        lines = [line for line in said.splitlines() if line.startswith("ERROR: ")] or said.splitlines()
        self.said = lines[0][:300] if lines else "without a word"
        super().__init__(ExitCode.NODE, f"{tcti}: the TPM does not do it (tpm2 {tool}): {self.said}", hint=_WITHOUT)
