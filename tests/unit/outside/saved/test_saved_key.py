"""`saved key`: what is given to another site so that its desktops can go on here."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.cli import verbs
from sevenlbd.outside.saved import keys


def test_what_a_wrong_recipient_is_told_to_run_is_a_verb() -> None:
    with pytest.raises(Refusal) as refused:
        keys.recipients(["age1nonsense"])
    named = refused.value.hint.removeprefix("7lbd ").partition(" prints")[0]
    assert named in {verb.name for verb in verbs.VERBS}


def test_a_secret_key_in_a_recipients_place_is_repeated_to_nobody(tmp_path: Path) -> None:
    keys.own(tmp_path)
    secret = (tmp_path / "key").read_text().split()[-1]
    with pytest.raises(Refusal, match="that is a secret key") as refused:
        keys.recipients([secret])
    assert secret not in str(refused.value)


def test_the_public_key_that_is_printed_is_one_that_is_taken(tmp_path: Path) -> None:
    printed = keys.own(tmp_path)
    assert [str(one) for one in keys.recipients([printed])] == [printed]
