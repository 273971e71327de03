"""OpenVPN in a session: what it is told, and what of its words counts."""

from __future__ import annotations

import asyncio
import os
import socket
from pathlib import Path

import pytest
from sevenlbd.inside.services import openvpn, project_service
from sevenlbd.wire.private_network import Project

PROJECT = Project("p", "198.51.100.1", 1194, "10.77.0.0/16", "<key>\nSECRET\n</key>\n", "vpn.example.edu")


class Told:
    """A tunnel whose words and addresses are written down."""

    def __init__(self) -> None:
        self.words: list[str] = []
        self.addresses: list[str] = []
        self.tunnel = project_service.Tunnel(
            "10.77.0.0/16",
            self.words.append,
            lambda address, _: self.addresses.append(address),
            lambda: self.addresses.append(""),
        )


def state(name: str, detail: str = "", address: str = "") -> str:
    return f">STATE:1795748957,{name},{detail},{address},127.0.0.4,1194,,"


def test_the_client_takes_an_address_and_nothing_else_that_a_server_says() -> None:
    lines = openvpn.configuration(PROJECT).splitlines()
    filters = [line for line in lines if line.startswith("pull-filter")]
    assert filters[-1] == 'pull-filter ignore ""'
    assert not [line for line in filters if any(word in line for word in ("route", "dhcp", "redirect", "setenv"))]
    assert all(line.endswith(' "') for line in filters[:-1]), "a whole word: `ping` is not `ping-exit`"
    assert {"script-security 0", "route-noexec", "ifconfig-noexec", "remote-cert-tls server", "disable-dco"} <= {*lines}
    assert {"remote 127.0.0.4 1194", "proto tcp-client", 'verify-x509-name "vpn.example.edu" name'} <= {*lines}
    assert not [line for line in lines if line.split()[0] in ("up", "down", "plugin", "user", "route-up")]


def test_the_secret_is_in_no_file_and_no_argument() -> None:
    with openvpn.told(PROJECT) as descriptor:
        command = openvpn.command(descriptor)
        assert "SECRET" not in " ".join(command)
        for _ in range(2):  # as often as it is started anew
            assert "SECRET" in Path(command[-1]).read_text()
        assert str(Path(command[-1]).readlink()).startswith("/memfd:")
        with pytest.raises(PermissionError):
            os.pwrite(descriptor, b"up /bin/sh", 0)


def test_an_address_of_the_network_is_set_and_taken_away_with_the_connection() -> None:
    told = Told()
    assert told.tunnel.hear(state("CONNECTED", "SUCCESS", "10.77.0.11"))
    assert not told.tunnel.hear(state("CONNECTED", "SUCCESS", "10.77.0.11")), "nothing new"
    told.tunnel.hear(state("RECONNECTING", "ping-restart"))
    assert told.words == ["up 10.77.0.11", "down the server does not answer any more"]
    assert told.addresses[-1] == ""


@pytest.mark.parametrize(
    "given", ["10.78.0.1", "169.254.100.2", "127.0.0.1", "10.77.0.0", "10.77.255.255", "", "fd00::5", "; reboot"]
)
def test_no_other_address_is_set_whatever_a_server_says(given: str) -> None:
    told = Told()
    told.tunnel.hear(state("CONNECTED", "SUCCESS", given))
    assert told.addresses == [""]
    assert told.words[0].startswith("down the server gives")


@pytest.mark.parametrize(
    "line", ["", ">STATE:", ">STATE:x,CONNECTED,SUCCESS,10.77.0.1", ">HOLD:1", "SUCCESS: all", "a,b"]
)
def test_what_is_no_state_is_passed_over(line: str) -> None:
    told = Told()
    assert not told.tunnel.hear(line)
    assert told.words == told.addresses == []


def test_a_client_that_a_server_makes_end_again_and_again_does_not_use_up_the_warnings() -> None:
    warned: list[str] = []
    warn = project_service.sparing(warned.append)
    for _ in range(50):
        warn("openvpn died (0) and is started again")
    assert len(warned) == 3
    assert "only the log" in warned[-1]


def test_whoever_else_calls_is_not_heard(tmp_path: Path) -> None:
    async def play() -> None:
        told, path = Told(), tmp_path / "openvpn.sock"
        with project_service.listening(path) as listener:
            hearing = asyncio.create_task(project_service.listen(listener, told.tunnel, lambda: os.getpid() + 1))
            with socket.socket(socket.AF_UNIX) as stranger:
                stranger.setblocking(False)
                await asyncio.get_running_loop().sock_connect(stranger, os.fspath(path))
                assert await asyncio.get_running_loop().sock_recv(stranger, 1) == b""
            hearing.cancel()
        assert not told.words

    asyncio.run(play())


def test_a_client_that_hangs_up_is_down(tmp_path: Path) -> None:
    async def play() -> None:
        told, path = Told(), tmp_path / "openvpn.sock"
        with project_service.listening(path) as listener:
            hearing = asyncio.create_task(project_service.listen(listener, told.tunnel, os.getpid))
            _, writer = await asyncio.open_unix_connection(path)
            writer.write(state("CONNECTED", "SUCCESS", "10.77.0.11").encode() + b"\n")
            writer.close()
            async with asyncio.timeout(5):
                while len(told.words) < 2:
                    await asyncio.sleep(0.01)
            hearing.cancel()
        assert told.words == ["up 10.77.0.11", "down OpenVPN has ended, and is started again"]

    asyncio.run(play())
