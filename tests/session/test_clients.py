"""The session's Unix sockets, and a real client of the console under a real X server. Native RDP has its own tests."""

from __future__ import annotations

import time

from harness import Session
from screens import Screen


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
