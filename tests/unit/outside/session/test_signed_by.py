"""Whose signature an image needs: `signed_by` narrows what the site trusts, and never widens it."""

from __future__ import annotations

from pathlib import Path

import pytest
import signed_image
from sevenlbd.base.errors import Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.images import layout
from sevenlbd.images.lookup import image as images
from sevenlbd.images.lookup.image import Image
from sevenlbd.images.signing import signature
from sevenlbd.outside.session.preflight import prepare, trust

_OTHER = signature.generate()[1]


@pytest.fixture
def signed(tmp_path: Path) -> tuple[Image, str]:
    """An image, and the key that has signed it."""
    folder = tmp_path / "lab" / "1"
    folder.mkdir(parents=True)
    (folder / layout.DESCRIPTION).write_text('format = "raw"\ndisk = "disk.raw"\n')
    (folder / "disk.raw").write_bytes(bytes(1 << 20))
    public = signed_image.new_key(tmp_path / "key")
    signed_image.sign(folder, tmp_path / "key")
    return images.from_folder(folder), public


def test_an_image_that_the_named_key_has_signed_is_taken(signed: tuple[Image, str], tmp_path: Path) -> None:
    image, key = signed
    settings = Settings(signed_by=(_OTHER, key))
    _, identities = trust.checked(settings, image, {"HOME": str(tmp_path)})
    assert any(name.endswith("disk.raw") for name in identities)


@pytest.mark.parametrize("trusted", [False, True])
def test_one_that_another_has_signed_is_refused_though_the_site_trusts_that(
    signed: tuple[Image, str], tmp_path: Path, trusted: bool
) -> None:
    image, key = signed
    settings = Settings(signed_by=(_OTHER,), trusted_keys=(key, _OTHER), require_signed=trusted)
    with pytest.raises(Refusal, match="is not a trusted key"):
        trust.checked(settings, image, {"HOME": str(tmp_path)})


def test_a_key_of_the_users_is_not_one_of_the_sites(signed: tuple[Image, str], tmp_path: Path) -> None:
    image, key = signed
    settings = Settings(signed_by=(key,), trusted_keys=(_OTHER,), require_signed=True)
    with pytest.raises(Refusal, match="none of the keys of signed_by is trusted by this site"):
        trust.checked(settings, image, {"HOME": str(tmp_path)})


def test_it_is_looked_at_though_the_site_requires_nothing(signed: tuple[Image, str], tmp_path: Path) -> None:
    image, _ = signed
    assert image.folder
    settings = Settings(signed_by=(_OTHER,), image=str(image.folder))
    with pytest.raises(Refusal, match="is not a trusted key"):
        prepare._image(settings, {"HOME": str(tmp_path)}, [])
    prepare._image(Settings(image=str(image.folder)), {"HOME": str(tmp_path)}, [])
