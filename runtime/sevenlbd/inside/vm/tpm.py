"""The TPM 2.0 of a uefi-secure image: swtpm, with a state that lives as long as the session."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from ...wire.inner_files import PRIVATE
from ...wire.plan import Guest
from ..services import helpers
from . import qemu

_START_SECONDS = 10.0  # swtpm takes a part of one; a busy node may take longer


@asynccontextmanager
async def attached(guest: Guest, log_file: Path, warn: Callable[[str], None]) -> AsyncIterator[None]:
    """Run swtpm while this lasts, if the guest's firmware wants one. Raises TimeoutError when it does not start."""
    if guest.firmware != "uefi-secure":
        yield
        return
    state = PRIVATE / "tpm"
    state.mkdir(mode=0o700)
    command = ["/usr/bin/swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}"]
    command += ["--ctrl", f"type=unixio,path={qemu.TPM},mode=0600"]
    async with helpers.kept_running("swtpm", command, log_file, warn):
        async with asyncio.timeout(_START_SECONDS):
            while not qemu.TPM.exists():
                await asyncio.sleep(0.02)
        yield
