"""A key that one TPM gives back: with swtpm, which is a TPM 2.0 in software, and the tools as machines have them."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.config.settings import KeyPlace, Settings
from sevenlbd.outside.grid import image_key, key_sources, tpm_key
from sevenlbd.outside.grid.image_key import FileSource, ImageKey
from sevenlbd.outside.grid.tpm_key import TpmSource


@contextmanager
def running(folder: Path) -> Iterator[str]:
    """A TPM whose state is in `folder`; how it is called."""
    folder.mkdir(exist_ok=True)
    state, place = folder / "state", folder / "tpm"
    state.mkdir(exist_ok=True)
    command = ["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={state}", "--flags", "not-need-init,startup-clear"]
    command += ["--server", f"type=unixio,path={place}", "--ctrl", f"type=unixio,path={place}.ctrl"]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as chip:
        try:
            deadline = time.monotonic() + 60
            while not place.exists():
                assert chip.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.02)
            yield f"swtpm:path={place}"
        finally:
            chip.terminate()


@pytest.fixture(scope="module")
def chip(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running(tmp_path_factory.mktemp("chip") / "a") as tcti:
        yield tcti


def test_a_key_that_the_tpm_wraps_is_opened_by_that_tpm_alone(chip: str, tmp_path: Path) -> None:
    place = tmp_path / "keys"
    key = ImageKey(place, TpmSource(place, chip)).make()
    assert ImageKey(place, TpmSource(place, chip)).load() == key
    assert sorted(path.name for path in place.iterdir()) == [image_key.KEY, tpm_key.SEALED]
    for path in place.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600
        assert key.hex() not in path.read_text()
    with running(tmp_path / "other") as other, pytest.raises(Refusal, match="was sealed by another TPM") as told:
        ImageKey(place, TpmSource(place, other)).load()
    assert "fetched anew" in (told.value.hint or "")


def test_a_key_moves_into_the_tpm_and_out_of_it_and_leaves_nothing_behind(chip: str, tmp_path: Path) -> None:
    here = {"HOME": str(tmp_path)}
    settings = Settings(state_dir=str(tmp_path / "state"), image_key_tpm=chip)
    own = key_sources.own(settings, here)
    key = own.make()
    into = settings.model_copy(update={"image_key_source": KeyPlace.TPM})
    assert key_sources.of_coordinator(into, here) == key
    assert sorted(path.name for path in own.place.iterdir()) == [image_key.KEY, tpm_key.SEALED]
    assert key_sources.given(settings, here) == key, "its file says that the TPM opens it"
    ImageKey(own.place, TpmSource(own.place, chip)).change(FileSource(own.place))
    assert sorted(path.name for path in own.place.iterdir()) == [image_key.KEY, image_key.WRAPPING]
    assert key_sources.given(settings, here) == key


def test_a_tpm_that_was_cleared_opens_nothing_and_a_new_key_is_made_by_it(tmp_path: Path) -> None:
    place = tmp_path / "keys"
    with running(tmp_path / "chip") as chip:
        ImageKey(place, TpmSource(place, chip)).make()
        subprocess.run(["tpm2", "clear", "--tcti", chip, "-c", "p"], check=True)
        with pytest.raises(Refusal, match="or before that was cleared"):
            ImageKey(place, TpmSource(place, chip)).load()
        ImageKey(place, TpmSource(place, chip)).forget()
        assert list(place.iterdir()) == []
        key = ImageKey(place, TpmSource(place, chip)).make()
        for _ in range(5):
            assert ImageKey(place, TpmSource(place, chip)).load() == key, "nothing of a call fills the TPM"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"public": "AA==", "private": "?"}', b'{"public": 5}'])
def test_a_sealed_file_that_makes_no_sense_is_one_message(chip: str, tmp_path: Path, content: bytes) -> None:
    ImageKey(tmp_path, TpmSource(tmp_path, chip)).make()
    (tmp_path / tpm_key.SEALED).write_bytes(content)
    with pytest.raises(Refusal, match="cannot be used") as told:
        ImageKey(tmp_path, TpmSource(tmp_path, chip)).load()
    assert "fetched anew" in (told.value.hint or "")


def test_a_sealed_file_that_was_altered_is_not_opened(chip: str, tmp_path: Path) -> None:
    ImageKey(tmp_path, TpmSource(tmp_path, chip)).make()
    sealed = tmp_path / tpm_key.SEALED
    other = tmp_path / "other"
    other.mkdir()
    ImageKey(other, TpmSource(other, chip)).make()
    sealed.write_bytes((other / tpm_key.SEALED).read_bytes())
    with pytest.raises(Refusal, match="is not opened by the wrapping key that `tpm` has"):
        ImageKey(tmp_path, TpmSource(tmp_path, chip)).load()
    sealed.unlink()
    with pytest.raises(Refusal, match="what the TPM has sealed is gone"):
        ImageKey(tmp_path, TpmSource(tmp_path, chip)).load()


@pytest.mark.parametrize(
    ("tcti", "words"),
    [
        ("device:/no/such/device", "/no/such/device: this machine shows no TPM 2.0"),
        ("device:/dev/null", "the TPM does not do it"),
        ("swtpm:path=/no/such/socket", "the TPM does not do it"),
        ("nonsense", "the TPM does not do it"),
    ],
)
def test_a_tpm_that_is_none_is_one_clear_refusal_and_leaves_nothing(tmp_path: Path, tcti: str, words: str) -> None:
    with pytest.raises(Refusal, match=words) as told:
        ImageKey(tmp_path, TpmSource(tmp_path, tcti)).make()
    assert "--image-key-source" in (told.value.hint or "")
    assert list(tmp_path.iterdir()) == []


def test_a_tpm_that_its_user_may_not_use_is_told_with_the_group_that_may(tmp_path: Path) -> None:
    device = tmp_path / "tpmrm0"
    device.touch(mode=0)
    if os.access(device, os.R_OK):
        pytest.fail("these tests run as an ordinary user")
    with pytest.raises(Refusal, match="you may not use this machine's TPM") as told:
        TpmSource(tmp_path, f"device:{device}").propose()
    assert "usermod --append --groups tss" in (told.value.hint or "")
