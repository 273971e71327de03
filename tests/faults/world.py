"""What all rounds of a run share: images that boot to nothing, what can be gone on from, a certificate, a site."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import harness

from . import frozen

# Without channels nobody waits for a word of the guest's: ready.py.
_DESCRIBED = 'os = "linux"\nfirmware = "{}"\nmemory = "128M"\ncpus = 1\nname = "blank"\nchannels = []\n'
_SOMEWHERE = "192.0.2.1:27000"  # RFC 5737: an address of nobody's; nothing ever connects


class World:
    """A folder with it. Warm states and saved desktops are made where rounds begin so."""

    def __init__(self, folder: Path, starts: Collection[str]) -> None:
        self.folder = folder
        self.pem = folder / "guest.pem"
        call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=guest", "-days", "2"]
        subprocess.run([*call, "-keyout", str(self.pem), "-out", str(self.pem)], check=True, capture_output=True)
        self._image = folder / "image"
        self._image.mkdir()
        harness.tool("qemu-img", "create", "-q", "-f", "qcow2", str(self._image / "disk.qcow2"), "64M")
        self._site = folder / "site.toml"
        self._site.write_text(f'egress_allow = ["tcp://{_SOMEWHERE}"]\n')
        self._warm = folder / "warm-image"
        self.saved: frozen.Saved | None = None
        makers = {"warm": self._make_warm, "saved": self._make_saved}
        with ThreadPoolExecutor() as beside:
            for made in [beside.submit(makers[start]) for start in starts if start in makers]:
                made.result()

    def _make_warm(self) -> None:
        self.copy_image(self._warm, "cold", tpm=False)
        frozen.make_warm(self._warm, self.folder, self.pem)

    def _make_saved(self) -> None:
        image = self.folder / "saved-image"
        self.copy_image(image, "cold", tpm=False)
        self.saved = frozen.Saved(image, self.folder, self.pem)

    def copy_image(self, image: Path, start: str, *, tpm: bool) -> None:
        """An image that one session may lose; for a warm start with the state for it, which takes no room."""
        if start == "warm":
            frozen.copy_image(self._warm, image)
            return
        shutil.copytree(self._image, image)
        (image / "image.toml").write_text(_DESCRIBED.format("uefi-secure" if tpm else "bios"))

    def site_with_ways_out(self) -> list[str]:
        """Options of Apptainer: with them there are a relay and its broker."""
        return ["--bind", f"{self._site}:/etc/7lbd/7lbd.toml"]
