"""What all rounds share: an image that boots to nothing, a certificate, a site's file, and a folder to be in."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import harness

# Without channels nobody waits for a word of the guest's: ready.py.
_DESCRIBED = 'os = "linux"\nfirmware = "{}"\nmemory = "128M"\ncpus = 1\nname = "blank"\nchannels = []\n'
_SOMEWHERE = "192.0.2.1:27000"  # RFC 5737: an address of nobody's; nothing ever connects


class World:
    """A folder with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._image = folder / "image"
        self._image.mkdir()
        harness.tool("qemu-img", "create", "-q", "-f", "qcow2", str(self._image / "disk.qcow2"), "64M")
        self.pem = folder / "guest.pem"
        call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=guest", "-days", "2"]
        subprocess.run([*call, "-keyout", str(self.pem), "-out", str(self.pem)], check=True, capture_output=True)
        self._site = folder / "site.toml"
        self._site.write_text(f'egress_allow = ["tcp://{_SOMEWHERE}"]\n')

    def copy_image(self, image: Path, *, tpm: bool) -> None:
        """An image that one session may lose."""
        shutil.copytree(self._image, image)
        (image / "image.toml").write_text(_DESCRIBED.format("uefi-secure" if tpm else "bios"))

    def site_with_ways_out(self) -> list[str]:
        """Options of Apptainer: with them there are a relay and its broker."""
        return ["--bind", f"{self._site}:/etc/7lbd/7lbd.toml"]
