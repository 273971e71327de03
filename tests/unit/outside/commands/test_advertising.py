"""What a node tells a pool: what could be started from it now, in ClassAds that no name breaks out of."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest
from sevenlbd.base.errors import ExitCode
from sevenlbd.config import sources
from sevenlbd.outside.cli import dispatch
from sevenlbd.outside.node import abilities
from sevenlbd.outside.node.abilities import Ability
from sevenlbd.outside.schedulers import classad


@pytest.fixture
def images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository: two versions of win11, the older one current, and an image without versions."""
    for name in [name for name in os.environ if name.startswith(("SEVENLBD_", "APPTAINER_", "SINGULARITY_", "SLURM"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sources, "ETC", tmp_path / "etc")
    folder = tmp_path / "images"
    for place in ("win11/2026.10", "win11/2026.11", "bare"):
        made(folder / place)
    (folder / "win11" / "current").symlink_to("2026.10")
    return folder


def made(folder: Path) -> None:
    folder.mkdir(parents=True)
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(folder / "disk.qcow2"), "1M"], check=True)
    (folder / "image.toml").write_text('os = "linux"\n')


def told(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, classad.Value]:
    assert dispatch.run(["advertise", *words], 0o077) == ExitCode.OK
    out = capsys.readouterr().out
    assert out.endswith("\n-\n"), "a dash ends an ad (STARTD_CRON)"
    return classad.parse(out)


def test_what_could_be_started_is_told(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ad = told(capsys, "--image-dir", str(images))
    assert str(ad["sevenlbdimages"]).split(",") == ["bare", "win11", "win11@2026.10", "win11@2026.11"]
    assert (ad["sevenlbdimageversions"], ad["sevenlbdwarmimages"]) == ("win11@2026.10", "")
    assert abs(int(ad["sevenlbdadvertised"]) - time.time()) < 10
    assert isinstance(ad["sevenlbdkvm"], bool)
    assert int(ad["sevenlbdfreespace"]) > 0
    assert ad["sevenlbdversion"]


def test_what_was_lost_is_not_told(images: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (images / "win11" / "2026.11" / "disk.qcow2").unlink()
    (images / "bare" / "image.toml").write_text("os = 7\n")
    disk = images / "win11" / "2026.10" / "disk.qcow2"
    assert told(capsys, "--image-dir", str(images))["sevenlbdimages"] == "win11,win11@2026.10"
    disk.write_bytes(disk.read_bytes()[:100])
    assert told(capsys, "--image-dir", str(images))["sevenlbdimages"] == ""
    assert told(capsys, "--image-dir", str(images / "gone"))["sevenlbdimages"] == ""


@pytest.mark.parametrize("name", ['x"y', "a,b", "x\ny", "$(id)", "A", "é", "x y", '" || true || "'])
def test_a_folder_whose_name_is_hostile_is_no_image(
    images: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    made(images / name)
    if not name.isalnum():
        made(images / "win11" / name)
    ad = told(capsys, "--image-dir", str(images))
    assert str(ad["sevenlbdimages"]).split(",")[:2] == ["bare", "win11"]
    assert name not in str(ad["sevenlbdimages"]).split(",")


def test_a_node_without_kvm_says_so_and_has_nothing_where_a_site_wants_kvm(
    images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(abilities, "kvm", lambda: Ability(False, "none here"))
    ad = told(capsys, "--image-dir", str(images))
    assert ad["sevenlbdkvm"] is False
    assert ad["sevenlbdimages"]
    assert told(capsys, "--image-dir", str(images), "--accel", "kvm")["sevenlbdimages"] == ""
