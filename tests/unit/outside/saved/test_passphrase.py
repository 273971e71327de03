"""A passphrase instead of a key: asked for, never told, and the only thing that opens the file."""

from __future__ import annotations

import hashlib
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pexpect
import pyrage
import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.outside.console.passphrase import PassphraseSource
from sevenlbd.outside.saved import keys, passphrases, reading, unlocking, writing
from sevenlbd.outside.saved.facts import Lock
from sevenlbd.outside.saved.writing import open_part
from test_saved_file import OPENING

WORDS = "correct hörse battery"


@dataclass(frozen=True)
class Closed:
    """A file that a passphrase closes."""

    path: Path
    lock: Lock


@pytest.fixture(scope="module")
def closed(tmp_path_factory: pytest.TempPathFactory) -> Closed:
    folder = tmp_path_factory.mktemp("closed")
    (folder / "content").write_bytes(os.urandom(1 << 16))
    lock = passphrases.lock(WORDS)
    descriptor = os.open(folder / "content", os.O_RDONLY)
    with writing.new_file(folder / "one.7lbd") as file:
        recipients = keys.recipients([lock.recipient])
        writing.write(file, OPENING, [open_part(0, descriptor)], recipients, passphrase=lock.how)
    os.close(descriptor)
    return Closed(folder / "one.7lbd", lock)


def opener(path: Path, words: str, folder: Path | None = None, *, says: bool = True) -> unlocking.Opener:
    return unlocking.opener(path, reading.header(path), folder, lambda: words, closed=says)


@pytest.mark.parametrize("says", [True, False])
def test_it_opens_what_it_closed_whether_it_is_named_or_asked_for(closed: Closed, says: bool) -> None:
    found = opener(closed.path, WORDS, says=says)
    assert found.lock == closed.lock, "what is saved later is closed with the same one"
    reading.read(closed.path, found.identity, reading.Check())


def test_it_is_the_same_one_however_its_letters_are_composed(closed: Closed) -> None:
    reading.opening(closed.path, opener(closed.path, "correct ho\u0308rse battery").identity)


def test_a_wrong_one_is_one_clear_message(closed: Closed) -> None:
    with pytest.raises(Refusal, match="does not open: the passphrase is another") as refused:
        reading.opening(closed.path, opener(closed.path, "another").identity)
    assert "suspended with" in refused.value.hint


def test_the_users_own_key_does_not_open_it(closed: Closed, tmp_path: Path) -> None:
    keys.own(tmp_path)
    with pytest.raises(Refusal, match="does not open"):
        reading.opening(closed.path, keys.identity(tmp_path))


def test_its_header_tells_nothing_by_which_another_file_could_be_made(closed: Closed) -> None:
    """Who knew the public half could put a desktop of his there that this passphrase opens."""
    assert closed.lock.recipient.encode() not in closed.path.read_bytes()


def test_a_file_that_no_passphrase_closes_is_not_opened_in_place_of_one(tmp_path: Path) -> None:
    """Anybody who knows the public key can make it."""
    recipients = keys.recipients([keys.own(tmp_path)])
    with writing.new_file(tmp_path / "one.7lbd") as file:
        writing.write(file, OPENING, [], recipients)
    with pytest.raises(Refusal, match="no passphrase closes it, so whoever knows your public key"):
        opener(tmp_path / "one.7lbd", WORDS, tmp_path)
    assert opener(tmp_path / "one.7lbd", WORDS, tmp_path, says=False).lock is None


SALT = "ab" * 16
HOSTILE = [f"scrypt {work} {SALT}" for work in ("14", "19", "30", "99", "017", "-1")]


@pytest.mark.parametrize("how", [*HOSTILE, "scrypt 17 abcd", "argon2 17 " + SALT, "scrypt 17 " + SALT * 2])
def test_a_file_does_not_say_how_much_work_a_passphrase_is(how: str) -> None:
    took = []
    for _ in range(5):  # the work would be done each time; a busy machine is slow now and then
        began = time.monotonic()
        with pytest.raises(Refusal, match="in a way that this 7lbd does not know"):
            passphrases.identity(WORDS, how)
        took.append(time.monotonic() - began)
    assert min(took) < 0.1


def test_every_key_that_comes_of_one_is_one_of_ages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashlib, "scrypt", lambda *_, **__: os.urandom(32))
    for _ in range(200):
        key = passphrases.identity(WORDS, f"scrypt 17 {SALT}")
        assert pyrage.decrypt(pyrage.encrypt(b"x", [key.to_public()]), [key]) == b"x"


def test_it_is_one_that_age_itself_writes_so() -> None:
    """BIP 173: by a key that the library has made, taken apart and put together again."""
    for _ in range(50):
        text = str(pyrage.x25519.Identity.generate())
        letters = text.lower().rpartition("1")[2][:-6]
        bits = "".join(f"{passphrases._LETTERS.index(letter):05b}" for letter in letters)[:256]
        assert passphrases._bech32(int(bits, 2).to_bytes(32, "big")).upper() == text


def test_it_is_read_from_a_file_that_only_its_user_can_read_or_from_a_descriptor(tmp_path: Path) -> None:
    path = tmp_path / "words"
    path.write_text(f"{WORDS}\nmore\n")
    path.chmod(0o644)
    with pytest.raises(Refusal, match="others can read") as refused:
        PassphraseSource(str(path), False).known()
    assert "chmod 600" in refused.value.hint
    path.chmod(0o600)
    assert PassphraseSource(str(path), False).new() == WORDS
    reads, writes = os.pipe()
    os.write(writes, WORDS.encode())
    os.close(writes)
    assert PassphraseSource(f"/dev/fd/{reads}", False).known() == WORDS
    os.close(reads)


@pytest.mark.parametrize("content", [b"", b"\n", b"a\0b\n", b"x" * 2000, b"\xff\xfe\xfd"])
def test_what_is_no_passphrase_says_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "words"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Refusal, match="passphrase"):
        PassphraseSource(str(path), False).known()


def test_without_a_terminal_nobody_waits_for_one() -> None:
    with pytest.raises(Refusal, match="no terminal to ask") as refused:
        PassphraseSource("", True).known()
    assert "--passphrase-file" in refused.value.hint


def asking(call: str) -> pexpect.spawn[str]:
    """A process on a terminal that asks."""
    script = (
        "from sevenlbd.outside.console.passphrase import PassphraseSource as S\n"
        "from sevenlbd.base.errors import Refusal\n"
        f"try: print('got', len(S('', True).{call}()))\n"
        "except Refusal as refusal: print('refused', refusal.what)\n"
    )
    return pexpect.spawn(sys.executable, ["-c", script], encoding="utf-8", timeout=30)


def test_on_a_terminal_it_is_asked_and_not_shown() -> None:
    process = asking("new")
    process.expect("passphrase of the saved desktop: ")
    process.sendline("a secret")
    process.expect("the same again: ")
    process.sendline("a secret")
    process.expect("got 8")
    assert "a secret" not in str(process.before)
    process.close()


@pytest.mark.parametrize(("typed", "says"), [("b", "are not the same"), ("\x03", "no passphrase was given")])
def test_who_mistypes_or_gives_up_is_told(typed: str, says: str) -> None:
    process = asking("new")
    process.expect("passphrase of the saved desktop: ")
    process.sendline("a")
    process.expect("the same again: ")
    process.sendline(typed)
    process.expect(says)
    process.close()
