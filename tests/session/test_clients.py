"""Real clients under a real X server: xfreerdp logs in through rdp.sock, TigerVNC shows the console."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import KEPT
from harness import Console, Session
from pictures import MARK, is_a_desktop, pixels_like
from PIL import Image


class Screen:
    """An Xvfb and what is shown on it."""

    def __init__(self, display: str, home: Path) -> None:
        self._environment = {"DISPLAY": display, "HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    @contextmanager
    def client(self, command: Sequence[str], stdin: str = "") -> Iterator[subprocess.Popen[str]]:
        """Run a client on this screen."""
        process = subprocess.Popen(
            command,
            env=self._environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        assert process.stdin
        process.stdin.write(stdin)
        process.stdin.flush()
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def shot(self, name: str) -> Image.Image:
        """What is on the screen, also kept in build/test-failures for people to look at."""
        KEPT.mkdir(parents=True, exist_ok=True)
        path = KEPT / name
        subprocess.run(["import", "-window", "root", str(path)], env=self._environment, check=True, timeout=30)
        return Image.open(path).convert("RGB")


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1280x800x24", "-nolisten", "tcp"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as pipe:
        display = f":{pipe.readline().strip()}"
    yield Screen(display, tmp_path)
    server.terminate()
    server.wait()


def xfreerdp(session: Session, *options: str) -> list[str]:
    """Through the Unix socket, with network-level authentication, the password on standard input."""
    target = f"/v:{session.folder}/rdp.sock"
    return ["xfreerdp", target, "/u:user1", "/from-stdin:force", "/sec:nla", "/cert:tofu", "/size:1280x800", *options]


def until_shown(screen: Screen, name: str, colour: tuple[int, int, int], at_least: int, seconds: float) -> Image.Image:
    """The screenshot, as soon as it shows enough of a colour, or the last one."""
    deadline = time.monotonic() + seconds
    while True:
        image = screen.shot(name)
        if pixels_like(image, colour) >= at_least or time.monotonic() > deadline:
            return image
        time.sleep(1)


def test_xfreerdp_logs_in_and_shows_the_desktop(demo: Session, guest: Console, screen: Screen) -> None:
    window = "xfce4-terminal --disable-server --color-bg='#12ab34' --geometry=60x15+200+200"
    guest.run(f"(DISPLAY=:0 setsid {window} >/dev/null 2>&1 &)")
    try:
        with screen.client(xfreerdp(demo), stdin=f"{demo.password()}\n") as client:
            image = until_shown(screen, "rdp.png", MARK, 20_000, 90)
            assert client.poll() is None, client.communicate()[0]
        assert pixels_like(image, MARK) >= 20_000, "the window that was opened in the guest is not there"
        assert is_a_desktop(image)
    finally:
        guest.attempt("pkill -f color-bg")


def test_a_wrong_password_opens_no_desktop(demo: Session, screen: Screen) -> None:
    with screen.client(xfreerdp(demo), stdin=f"{demo.password()}x\n") as client:
        output = client.communicate(timeout=60)[0]
    assert client.returncode != 0
    assert "LOGON_FAILURE" in output or "AUTHENTICATION" in output, output


def test_the_console_shows_on_a_vnc_client(demo: Session, screen: Screen) -> None:
    with screen.client(["xtigervncviewer", "-ReconnectOnError=0", str(demo.folder / "vnc.sock")]) as client:
        time.sleep(6)
        image = screen.shot("vnc.png")
        assert client.poll() is None, client.communicate()[0]
    colours = image.getcolors(1 << 24) or []
    assert len(colours) > 2, "an empty screen"


def test_many_clients_at_once_do_not_block_each_other(demo: Session) -> None:
    import socket

    held = []
    for _ in range(20):
        client = socket.socket(socket.AF_UNIX)
        client.connect(str(demo.folder / "vnc.sock"))
        held.append(client)
    for client in held:
        client.settimeout(20)
        assert client.recv(12) == b"RFB 003.008\n"
        client.close()


def test_the_sockets_are_the_users_alone(demo: Session) -> None:
    for name in ("rdp.sock", "vnc.sock", "serial.sock", "control.sock"):
        assert (demo.folder / name).stat().st_mode & 0o777 in (0o600, 0o700), name
