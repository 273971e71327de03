"""The secrets of a session: what Windows and SMB take, and nothing that can be guessed."""

from __future__ import annotations

import string

import pytest
from sevenlbd.outside.access.credentials import account_name, new_password


def test_a_password_is_what_windows_takes_and_never_the_same() -> None:
    made = {new_password() for _ in range(200)}
    assert len(made) == 200
    for word in made:
        assert len(word) == 24
        assert word.isascii()
        assert word.isalnum()
        assert all(set(word) & set(kind) for kind in (string.ascii_lowercase, string.ascii_uppercase, string.digits))


@pytest.mark.parametrize(
    ("user", "name"),
    [
        ("jo", "jo"),
        ("DOM\\jo.smith@example.org", "jo.smith"),
        ("jo smith", "jo_smith"),
        (".-", "user"),
        ("x" * 30, "x" * 20),
    ],
)
def test_a_users_name_becomes_one_that_smb_and_windows_take(user: str, name: str) -> None:
    assert account_name(user) == name
