"""Ways in that cannot be: refused by a real `run` before anything is started, in words that help."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import harness
import pytest
from conftest import Refuse
from strange import RESOURCES, USAGE


@pytest.fixture
def image(blank_image: Path) -> tuple[str, str]:
    return ("--image", str(blank_image))


# With the appliance's own library: openssl's command line makes none that has run out.
_MAKE = """
import sys
from datetime import datetime, timedelta
from pathlib import Path
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
certificate, key, days = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
private, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([])
ends = datetime.now() + timedelta(days=days)
made = x509.CertificateBuilder(name, name, private.public_key(), 7, ends - timedelta(days=9), ends).sign(
    private, hashes.SHA256())
certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
key.write_bytes(private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
    serialization.NoEncryption()))
"""


def made(folder: Path, name: str, days: int) -> tuple[Path, Path]:
    """A certificate that runs out in so many days, and its key."""
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    harness.tool("python3", "-I", "-c", _MAKE, str(certificate), str(key), str(days))
    return certificate, key


@pytest.mark.parametrize("option", ["--web", "--rdp-tls"])
def test_a_port_in_use_and_a_range_that_is_full(refuse: Refuse, image: tuple[str, str], option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        setting = option.removeprefix("--").replace("-", "_")
        says = [f"`{setting}`", str(port), "in use"]
        refuse(*image, option, f"127.0.0.1:{port}", code=RESOURCES, says=says)
        refuse(*image, option, f"127.0.0.1:{port}-{port}", code=RESOURCES, says=says)


@pytest.mark.parametrize("option", ["--web", "--rdp-tls"])
def test_a_port_that_a_neighbour_holds_in_one_family_is_in_use(
    refuse: Refuse, image: tuple[str, str], option: str
) -> None:
    """The node's name may lead to either: whoever held the port in the other one would be given the key."""
    with socket.socket(socket.AF_INET6) as taken:
        taken.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        taken.bind(("::", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refuse(*image, option, f"0.0.0.0:{port}", code=RESOURCES, says=[str(port), "in use"])


def test_an_address_that_the_node_lacks(refuse: Refuse, image: tuple[str, str]) -> None:
    refuse(*image, "--web", "192.0.2.7:0", code=USAGE, says=["`web`", "192.0.2.7", "no such address", "0.0.0.0"])


def test_a_port_that_is_not_for_users(refuse: Refuse, image: tuple[str, str]) -> None:
    if int(Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").read_text()) <= 443:
        pytest.fail("this machine lets users listen on port 443: the test needs one that does not")
    refuse(*image, "--web", "127.0.0.1:443", code=USAGE, says=["443", "1024"])


def test_what_is_no_address_and_no_origin(refuse: Refuse, image: tuple[str, str]) -> None:
    refuse(*image, "--web", "8080", code=USAGE, says=["`web`", "8080", "127.0.0.1:0"])
    refuse(*image, "--portal", "portal.example.edu", code=USAGE, says=["`portals`", "https://"])


def test_plain_http_beyond_loopback_is_the_sites_word(refuse: Refuse, image: tuple[str, str]) -> None:
    env = {"SEVENLBD_WEB_PLAIN_HTTP": "true"}
    refuse(*image, code=USAGE, says=["`SEVENLBD_WEB_PLAIN_HTTP`", "site"], env=env)


def test_a_certificate_that_cannot_be_used(refuse: Refuse, image: tuple[str, str], tmp_path: Path) -> None:
    # A fixture's folder lies in /tmp, which the container shows.
    certificate, key = made(tmp_path, "one", 2)
    _, other = made(tmp_path, "two", 2)
    expired, expired_key = made(tmp_path, "old", -1)

    def pair(chain: Path, private: Path, says: list[str]) -> None:
        refuse(*image, "--web-certificate", str(chain), "--web-key", str(private), code=USAGE, says=says)

    pair(certificate, other, [str(certificate), str(other)])
    pair(expired, expired_key, [str(expired), "ran out"])
    pair(tmp_path / "none.pem", key, ["none.pem"])
    pair(key, certificate, [str(key)])
    certificate.chmod(0)
    if os.access(certificate, os.R_OK):
        pytest.fail("this user reads everything")
    pair(certificate, key, [str(certificate)])
    refuse(*image, "--web-certificate", str(certificate), code=USAGE, says=["web_certificate", "web_key"])
