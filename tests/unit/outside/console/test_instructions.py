"""The ways in as `connect` tells them: lines to paste that fit where the page listens, and keys only when wanted."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.access import credentials, tls_files
from sevenlbd.outside.access.credentials import Credentials, new_tokens
from sevenlbd.outside.cli import command_line, dispatch
from sevenlbd.outside.console import instructions
from sevenlbd.outside.folders import bases, session_folders
from sevenlbd.outside.folders.session_folders import CONTROL
from sevenlbd.outside.session import control
from sevenlbd.outside.session.guest_calls import GuestCalls
from sevenlbd.outside.session.suspending import Advance, SuspendOrder
from sevenlbd.wire.gateway import NativeTls
from sevenlbd.wire.state import Phase, SessionState

NO_GUEST = GuestCalls(SimpleNamespace(), allowed=False)  # type: ignore[arg-type]  # nothing is sent

SECRET = Credentials("user1", "a-password", "me", new_tokens())
CERTIFICATE = ":".join(["AB"] * 32)


@pytest.fixture(autouse=True)
def on_node17(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where we are: uname(2) says so."""
    monkeypatch.setattr(os, "uname", lambda: SimpleNamespace(nodename="node17"))


def state(place: Path, url: str = "", native_port: int = 0, host: str = "node17") -> SessionState:
    found = SessionState(id="a1", user="me", host=host, image="i", accel="kvm", network="tap", pid=1, folder=str(place))
    found.url, found.native_port, found.certificate = url, native_port, CERTIFICATE
    for phase in (Phase.BOOTING, Phase.GUEST_UP, Phase.READY):
        found.advance(phase)
    return found


@pytest.mark.parametrize(
    ("url", "line", "opened"),
    [
        ("http://127.0.0.1:40123/", "ssh -L 40123:/s/a1/web.sock me@node17", "http://127.0.0.1:40123/"),
        ("http://[::1]:40123/", "ssh -L 40123:/s/a1/web.sock me@node17", "http://[::1]:40123/"),
        ("https://127.0.0.1:40123/", "ssh -L 40123:127.0.0.1:40123 me@node17", "https://127.0.0.1:40123/"),
        ("https://192.0.2.7:40123/", "ssh -L 18475:/s/a1/web.sock me@node17", "http://127.0.0.1:18475/"),
        ("https://node17:40123/", "ssh -L 18475:/s/a1/web.sock me@node17", "http://127.0.0.1:18475/"),
        ("", "ssh -L 18475:/s/a1/web.sock me@node17", "http://127.0.0.1:18475/"),
    ],
)
def test_the_page_is_brought_home_from_wherever_it_listens(url: str, line: str, opened: str) -> None:
    found = state(Path("/s/a1"), url)
    text = instructions.instructions(found, "user1", "", "", "#token=K")
    assert instructions.web_line(found) == line
    assert line in text
    assert f"{opened}#token=K" in text
    assert f"{url or opened}#token={SECRET.tokens['desktop']}" == instructions.link(found, SECRET, "desktop")
    if url:
        assert f"Open {url}#token=K" in text


def test_without_a_key_it_says_how_to_get_one() -> None:
    text = instructions.instructions(state(Path("/s/a1"), "http://127.0.0.1:1/"), "user1", "", "", "")
    assert "7lbd connect a1 --session-dir /s --url" in text
    assert "#token" not in text


def test_from_a_login_node_the_lines_go_through_it_and_the_register_knows_the_folder() -> None:
    text = instructions.instructions(
        state(Path("/s/a1"), "http://127.0.0.1:1/", host="node18"), "user1", "", "/h/a.rdp", ""
    )
    assert "7lbd connect a1 --url" in text
    assert "ssh -J me@node17 -L 1:/s/a1/web.sock me@node18" in text
    assert "ssh -J me@node17 -L 13784:/s/a1/rdp.sock me@node18" in text
    assert "scp me@node17:/h/a.rdp ." in text
    assert "on node18 itself" in text


def test_the_guests_certificate_is_shown_and_pinned() -> None:
    text = instructions.instructions(state(Path("/s/a1")), "user1", "", "", "")
    assert f"/cert:deny,fingerprint:sha256:{CERTIFICATE.lower()}" in text
    assert f"(SHA-256): {CERTIFICATE}" in text
    assert "ignore" not in text


def test_ways_that_are_not_there_are_not_shown(tmp_path: Path) -> None:
    without = instructions.instructions(state(tmp_path), "user1", "", "", "")
    assert "vnc" not in without
    assert "--client" not in without
    assert "vnc" not in instructions.ready_block(state(tmp_path), "", "")
    found = state(tmp_path, native_port=4489)
    found.console = True
    with_all = instructions.instructions(found, "user1", "", "", "")
    assert "vnc.sock" in with_all
    assert "--client" in with_all
    assert "vnc.sock" in instructions.ready_block(found, "", "")


# The verb itself, on a session's folder.


@pytest.fixture
def session(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of a session that is alive, as far as files tell."""
    monkeypatch.setattr(bases, "all_bases", lambda _wanted, _environment: (tmp_path,))
    monkeypatch.setenv("SEVENLBD_STATE_DIR", "off")
    tmp_path.chmod(0o700)
    monkeypatch.chdir(tmp_path)
    with session_folders.session_folder(tmp_path, "a1") as place:
        SECRET.write(place)
        state(place, "http://127.0.0.1:40123/", 4489).write(place / session_folders.STATE)
        yield place


def called(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert dispatch.run(["connect", *words], 0o077) == ExitCode.OK
    return capsys.readouterr().out


def test_only_the_link_of_the_role_that_was_asked_for(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, role in (
        (["--url"], "desktop"),
        (["--url", "desktop"], "desktop"),
        (["a1", "--url", "status"], "status"),
    ):
        assert called(capsys, *words) == f"http://127.0.0.1:40123/#token={SECRET.tokens[role]}\n"
    found = state(session, "http://127.0.0.1:40123/")
    found.console = True
    found.write(session / session_folders.STATE)
    assert called(capsys, "--url", "console") == f"http://127.0.0.1:40123/#token={SECRET.tokens['console']}\n"


def test_a_console_that_is_off_has_no_link(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refusal, match="console of session a1 is switched off"):
        called(capsys, "--url", "console")


@pytest.mark.parametrize("words", [["--url", "root"], ["--url", "--password"], ["--renew", "--client"]])
def test_words_that_do_not_fit_are_refused(words: list[str]) -> None:
    with pytest.raises(Refusal, match="command line: argument"):
        command_line.parse(["connect", *words])


def test_the_key_is_shown_on_a_terminal_only(
    session: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    key = SECRET.tokens["desktop"]
    assert key not in called(capsys)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    text = called(capsys)
    assert f"Open http://127.0.0.1:40123/#token={key}" in text
    assert SECRET.password not in text


def test_the_bundle_is_written_once(session: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    making = tls_files.make(
        session, session="a1", account="user1", names=[], seconds=0, web=False, native=NativeTls(4489, ("node17",))
    )
    asyncio.run(making)
    (tmp_path / "there").mkdir()
    for words in (["--client", "there"], ["--client", "no/where"]):
        with pytest.raises(Refusal, match="cannot be written"):
            called(capsys, *words)
    text = called(capsys, "--client")
    target = tmp_path / "7lbd-a1-client"
    assert f"scp -r me@node17:{target} ." in text
    assert "stunnel stunnel.conf" in text
    assert "openssl s_client" in text
    assert b"PRIVATE KEY" in (target / "client.pem").read_bytes()
    with pytest.raises(Refusal, match="has been taken") as refused:
        called(capsys, "--client", "again")
    assert "connect --renew" in refused.value.hint
    assert not (tmp_path / "again").exists()


def test_without_native_tls_there_is_no_bundle(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state(session).write(session / session_folders.STATE)
    with pytest.raises(Refusal, match="offers no RDP over mutual TLS") as refused:
        called(capsys, "--client")
    assert "--rdp-tls" in refused.value.hint


async def not_now(_order: SuspendOrder, _advance: Advance) -> str:
    """Suspends nothing."""
    raise Refusal(ExitCode.USAGE, "not now", hint="later")


def obeyed(place: Path, renew: Callable[[], AsyncIterator[None]] | None, ask: Callable[[], object]) -> object:
    """What `ask` comes to, beside a supervisor that serves its control socket."""

    async def both() -> object:
        async def by_supervisor() -> None:
            if renew is None:
                raise OSError(28, "No space left on device")
            async for _ in renew():
                pass

        async with control.serve(place, lambda _why, _now: None, by_supervisor, not_now, NO_GUEST):
            return await asyncio.to_thread(ask)

    return asyncio.run(both())


def test_the_rdp_file_is_not_written_through_a_link(
    session: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    victim = tmp_path / "victim"
    victim.write_text("mine")
    for name in ("link", "7lbd-a1.rdp"):
        (tmp_path / name).symlink_to(victim)
    called(capsys)
    called(capsys, "--rdp", "link")
    assert victim.read_text() == "mine"
    for name in ("link", "7lbd-a1.rdp"):
        assert not (tmp_path / name).is_symlink()
        assert "full address" in (tmp_path / name).read_text()
        assert (tmp_path / name).stat().st_mode & 0o777 == 0o600
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


def test_renew_prints_the_new_link(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = SECRET.renewed()

    async def renew() -> AsyncIterator[None]:
        new.write(session)
        yield

    text = obeyed(session, renew, lambda: called(capsys, "--renew"))
    assert text == f"http://127.0.0.1:40123/#token={new.tokens['desktop']}\n"
    assert not set(new.tokens.values()) & set(SECRET.tokens.values())
    assert credentials.read(session).password == SECRET.password


def test_a_renewal_that_fails_is_told(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refusal, match="could not all be changed: .*No space left"):
        obeyed(session, None, lambda: called(capsys, "--renew"))


def test_a_session_that_does_not_listen_is_told(session: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refusal, match="does not listen"):
        called(capsys, "--renew")


def test_an_order_that_nobody_knows_is_answered_and_changes_nothing(session: Path) -> None:
    def ask() -> object:
        return control._send(session, control._Order("dance"))

    async def renew() -> AsyncIterator[None]:
        raise AssertionError
        yield

    assert obeyed(session, renew, ask) == control._Reply(ok=False, why="there is no order 'dance'")


@pytest.mark.parametrize("said", [b"{}", b"[]", b"not JSON", b'{"order": "stop", "now": "yes"}'])
def test_what_is_no_order_is_not_answered(session: Path, said: bytes) -> None:
    def ask() -> object:
        with socket.socket(socket.AF_UNIX) as wire:
            wire.settimeout(5)
            wire.connect(str(session / CONTROL))
            wire.sendall(said + b"\n")
            return wire.recv(4096)

    assert obeyed(session, None, ask) == b""


def test_the_order_of_an_older_sif_is_understood(session: Path) -> None:
    """A session lives longer than the SIF that a user calls `stop` with."""
    orders: list[tuple[str, bool]] = []

    async def both() -> bytes:
        async def renew() -> None:
            raise AssertionError

        async with control.serve(session, lambda why, now: orders.append((why, now)), renew, not_now, NO_GUEST):
            reader, writer = await asyncio.open_unix_connection(session / CONTROL)
            writer.write(b'{"order": "stop", "now": true}\n')
            answer = await reader.readline()
            writer.close()
            return answer

    assert json.loads(asyncio.run(both()))["ok"] is True
    assert orders == [("stopped by its user", True)]
