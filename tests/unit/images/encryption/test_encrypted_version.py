"""The record of a version that lies here encrypted: believed as it was written, or refused in words."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.images.encryption import encrypted_version
from sevenlbd.images.encryption.encrypted_version import EncryptedLayer, EncryptedPart

KEY = b"k" * 32


def test_a_record_is_read_as_it_was_written_and_by_its_key_alone(tmp_path: Path) -> None:
    record = encrypted_version.new(b"{}", {"d": EncryptedPart(1, 2, "0" * 64)}, (EncryptedLayer("d", "raw"),), 1)
    encrypted_version.write(tmp_path, record, KEY)
    assert encrypted_version.read(tmp_path, KEY) == encrypted_version.read(tmp_path, None) == record
    with pytest.raises(Refusal, match="was not written with the key"):
        encrypted_version.read(tmp_path, b"x" * 32)


@pytest.mark.parametrize("size", ["1e999", "Infinity", "NaN", "[]", '"x"', "9" * 5000, "[" * 100_000])
def test_a_record_that_makes_no_sense_is_refused_in_words(tmp_path: Path, size: str) -> None:
    """Whoever looks at it without a key is told of it; the same of a version that somebody has altered."""
    layers = [{"name": "d", "format": "raw"}]
    table = {"schema": 1, "manifest": "", "files": {"d": {"plain": 1, "size": 1, "root": ""}}, "layers": layers}
    content = json.dumps(table)[:-1] + f', "size": {size}}}'
    whole = {"record": content, "mac": encrypted_version._mac(KEY, content.encode())}
    (tmp_path / encrypted_version.RECORD).write_text(json.dumps(whole))
    for key in (KEY, None):
        with pytest.raises(Refusal, match="cannot be read"):
            encrypted_version.read(tmp_path, key)
