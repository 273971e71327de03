"""Who joins which project's network, with which key: decided from the site's file, in words."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from sevenlbd.base.errors import Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.outside.project import client_keys, joining
from sevenlbd.outside.project.joined import JoinedProject
from sevenlbd.outside.site import site_file
from sevenlbd.wire.plan import Share
from sevenlbd.wire.private_network import Inbound

KEYS = ("ca.pem", "one.pem", "two.pem")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Certificates with their keys, each in one file."""
    folder = tmp_path_factory.mktemp("keys")
    for name in KEYS:
        subject = [
            "-subj",
            f"/CN={name}",
            "-days",
            "2",
            "-nodes",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
        ]
        path = folder / name
        command = ["openssl", "req", "-x509", *subject, "-keyout", f"{path}.key", "-out", f"{path}.crt"]
        subprocess.run(command, check=True, capture_output=True)
        path.write_bytes(Path(f"{path}.crt").read_bytes() + Path(f"{path}.key").read_bytes())
        path.chmod(0o600)
    return folder


def site(tmp_path: Path, made: Path, *lines: str, head: str = "", server: str = "198.51.100.1:1194") -> dict[str, str]:
    """The environment of a session whose site has one such network."""
    keys_here = "" if any(line.startswith("keys") for line in lines) else f'keys = ["{made}/one.pem"]'
    table = [f'server = "{server}"', 'prefix = "10.77.0.0/16"', f'ca = "{made}/ca.pem"', keys_here, *lines]
    (tmp_path / "7lbd.toml").write_text("\n".join([head, "[network.project.genomics]", *table]))
    return {"APPTAINER_CONTAINER": str(tmp_path / "7lbd.sif"), "HOME": str(tmp_path)}


def join(
    environment: dict[str, str], shares: tuple[Share, ...] = (), network: str = "tap", **more: object
) -> JoinedProject:
    return joining.decide(Settings(project="genomics", **more), environment, network, shares)  # type: ignore[arg-type]


def test_a_site_with_a_network_says_who_is_let_in_and_where_to(tmp_path: Path, made: Path) -> None:
    more = ('inbound = ["tcp:9618-9620", "udp:53", "icmp"]', 'hosts = ["Submit.example.edu=10.77.0.1"]')
    joined = join(site(tmp_path, made, *more))
    assert (joined.server.host, joined.server.address, joined.server.port) == ("198.51.100.1", "198.51.100.1", 1194)
    assert joined.project.inbound == (Inbound("tcp", 9618, 9620), Inbound("udp", 53, 53), Inbound("icmp"))
    assert joined.project.hosts == (("submit.example.edu", ("10.77.0.1",)),)
    assert joined.project.credentials == "", "which are taken when the session begins"


def test_a_name_that_the_site_does_not_have_is_refused_with_those_that_it_has(tmp_path: Path, made: Path) -> None:
    with pytest.raises(Refusal, match="no private network of that name; did you mean `genomics`"):
        joining.decide(Settings(project="genomic"), site(tmp_path, made), "tap", ())


def test_with_user_mode_networking_it_is_refused_and_said_why(tmp_path: Path, made: Path) -> None:
    with pytest.raises(Refusal, match="with user-mode networking a project's network cannot be held apart") as caught:
        join(site(tmp_path, made), network="user")
    assert "/dev/net/tun" in str(caught.value.hint)


def test_who_is_in_none_of_its_groups_is_refused(tmp_path: Path, made: Path) -> None:
    with pytest.raises(Refusal, match="is for members of nobody-has-this, and you are in none of them"):
        join(site(tmp_path, made, 'groups = ["nobody-has-this"]'))


def test_a_key_that_a_share_would_show_the_guest_is_refused(tmp_path: Path, made: Path) -> None:
    with pytest.raises(Refusal, match="the guest could read this private key: it lies in the shared folder"):
        join(site(tmp_path, made), (Share("home", str(made), read_only=True),))
    link = tmp_path / "link.pem"
    link.symlink_to(made / "one.pem")
    with pytest.raises(Refusal, match="the guest could read this private key"):
        join(site(tmp_path, made, f'keys = ["{link}"]'), (Share("home", str(made), read_only=True),))
    with pytest.raises(Refusal, match="`wide_links` lets the guest follow links"):
        join(site(tmp_path, made), wide_links=True)


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path, made: Path) -> None:
    loose = tmp_path / "loose.pem"
    loose.write_bytes((made / "one.pem").read_bytes())
    loose.chmod(0o644)
    with pytest.raises(Refusal, match="everybody can read this private key"):
        join(site(tmp_path, made, f'keys = ["{loose}"]'))


def test_keys_are_the_machines_or_the_users(tmp_path: Path, made: Path) -> None:
    node = os.uname().nodename.partition(".")[0]
    ours = tmp_path / f"{node}.pem"
    ours.write_bytes((made / "one.pem").read_bytes())
    ours.chmod(0o600)
    assert join(site(tmp_path, made, f'keys = ["{tmp_path}/{{node}}.pem", "/none/{{user}}.pem"]')).files.keys == (
        str(ours),
    )
    with pytest.raises(Refusal, match=r"no key of its network that you can read here: /none/x\.pem"):
        join(site(tmp_path, made, 'keys = ["/none/x.pem"]'))


def test_a_key_is_one_sessions_at_a_time(made: Path) -> None:
    files = client_keys.KeyFiles((str(made / "one.pem"), str(made / "two.pem")), str(made / "ca.pem"), "")
    with client_keys.held(files) as first, client_keys.held(files) as second:
        assert first != second
        with (
            pytest.raises(Refusal, match="each key of the project's network is in use by another session"),
            client_keys.held(files),
        ):
            pass
    with client_keys.held(files) as again:
        assert again == first


def test_what_else_stands_in_a_file_of_keys_is_no_option(tmp_path: Path, made: Path) -> None:
    odd = tmp_path / "odd.pem"
    odd.write_text("up /bin/sh\n</key>\n" + (made / "one.pem").read_text() + "</cert>\nscript-security 2\n")
    text = client_keys.credentials(str(odd), client_keys.KeyFiles((), str(made / "ca.pem"), ""))
    assert "/bin/sh" not in text
    assert "script-security" not in text
    assert [line for line in text.splitlines() if line.startswith("<")] == [
        "<ca>",
        "</ca>",
        "<cert>",
        "</cert>",
        "<key>",
        "</key>",
    ]


@pytest.mark.parametrize(
    "content", ["", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n", "x" * 100_000]
)
def test_a_file_without_certificate_and_key_is_refused(content: str, tmp_path: Path, made: Path) -> None:
    path = tmp_path / "bad.pem"
    path.write_text(content)
    with pytest.raises(Refusal, match="is not a client's certificate with its one private key"):
        client_keys.credentials(str(path), client_keys.KeyFiles((), str(made / "ca.pem"), ""))
    with pytest.raises(Refusal, match="is not OpenVPN's static key"):
        client_keys.credentials(str(made / "one.pem"), client_keys.KeyFiles((), str(made / "ca.pem"), str(path)))


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('prefix = "0.0.0.0/0"', "a project's network is private"),
        ('prefix = "10.77.0.0"', "between /8 and /30"),
        ('prefix = "10.77.1.2/16"', "it must be an IPv4 network"),
        ('prefix = "8.8.8.0/24"', "a project's network is private"),
        ('server = "vpn.example.edu"', "HOST:PORT"),
        ('inbound = ["tcp:0"]', "each is tcp:PORT"),
        ('inbound = ["tcp:9-5"]', "each is tcp:PORT"),
        ('inbound = ["all; accept"]', "each is tcp:PORT"),
        ('hosts = ["x=vpn"]', "each is NAME=ADDRESS"),
        ('server_name = "x\\"\\nup y"', "common name of a certificate"),
        ('keys = ["one.pem"]', "path from the root"),
        ("keys = []", "one file at least"),
        ('key = "x"', "is not a key of this table"),
    ],
)
def test_what_is_wrong_in_the_table_is_refused_by_its_name(line: str, says: str, tmp_path: Path, made: Path) -> None:
    name = line.partition(" ")[0]
    environment = site(tmp_path, made)
    text = (tmp_path / "7lbd.toml").read_text().splitlines()
    (tmp_path / "7lbd.toml").write_text("\n".join([*(one for one in text if not one.startswith(f"{name} ")), line]))
    with pytest.raises(Refusal, match=says):
        join(environment)


def test_the_setting_of_that_name_stands_in_the_table_then(tmp_path: Path, made: Path) -> None:
    import tomllib

    from sevenlbd.config import sources

    environment = site(tmp_path, made, head='[network]\nmode = "user"')
    here = sources.look_around(environment)
    assert sources.settings(here).settings.network == "user"
    _, said = sources.site_file(here)
    assert tomllib.loads(site_file.text(said))["network"] == said["network"], "and is in the site's new file"
