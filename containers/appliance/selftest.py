"""The image's own test (%test): everything a session starts is there, starts, and is what the record says.

Must stay under 5 s, because HTCondor runs it before each job. Must not need KVM, a network or a writable folder.
"""

import hashlib
import importlib
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

HERE = Path("/usr/share/7lbd")
SITE = Path("/usr/lib/7lbd/site")
LIBRARY = Path("/usr/lib/7lbd")

# Binary and how it tells its version -> the Debian package that must have the same version.
BINARIES = {
    ("qemu-system-x86_64", "--version"): "qemu-system-x86",
    ("qemu-img", "--version"): "qemu-utils",
    ("swtpm", "--version"): "swtpm",
    ("tpm2", "--version"): "tpm2-tools",
    ("smbd", "--version"): "samba",
    ("pdbedit", "--version"): "samba-common-bin",
    ("dnsmasq", "--version"): "dnsmasq-base",
    ("stunnel", "-version"): "stunnel4",
    ("openvpn", "--version"): "openvpn",
    ("setpriv", "--version"): "util-linux",
    ("ip", "-V"): "iproute2",
    ("python3", "--version"): "python3",
}
STORE = HERE / "firmware" / "secure-boot.fd"
FIRMWARE = {
    "/usr/share/OVMF/OVMF_CODE_4M.fd": 1 << 20,
    "/usr/share/OVMF/OVMF_VARS_4M.fd": 1 << 19,
    "/usr/share/OVMF/OVMF_CODE_4M.ms.fd": 1 << 20,
    "/usr/share/7lbd/firmware/authorities.pem": 1 << 12,
    "/usr/share/seabios/bios-256k.bin": 1 << 17,
}
# Of the web pages, with the least size that makes sense.
WEB = HERE / "web"
PAGES = {
    **{f"{name}.html": 1 << 10 for name in ("login", "status", "desktop", "console", "native")},
    "assets/login-*.js": 1 << 8,
    **{f"assets/{name}-*.js": 1 << 9 for name in ("status", "desktop", "console", "native")},
    "assets/style-*.css": 1 << 10,
    **{f"assets/client-{part}-*.wasm": 1 << 20 for part in ("first", "rest")},
    **{f"{coding}/assets/client-{part}-*.wasm": 1 << 18 for coding in ("br", "gzip") for part in ("first", "rest")},
    "assets/vendor/ironrdp/iron-remote-desktop-rdp.js": 1 << 14,
    "assets/vendor/ironrdp/iron-remote-desktop-rdp.wasm": 1 << 20,
}
# What an image of Windows is made with.
WINDOWS = {
    "autounattend.xml.j2": 1 << 12,
    "first-boot.ps1.j2": 1 << 8,
    "SevenLBD.psm1": 1 << 13,
    "prepare.ps1": 1 << 9,
    "timezones.txt": 1 << 11,
    **{f"{name}.ps1": 1 << 7 for name in ("start", "drives", "session", "logon", "finish")},
}
MODULES = (
    "aiohttp",
    "cryptography",
    "prometheus_client",
    "pyasn1",
    "pycdlib",
    "pydantic",
    "pyroute2",
    "qemu.qmp",
    "jinja2",
    "rich",
    "tzlocal",
    "seccomp",
    "nftables",
    "sevenlbd",
)


def main() -> int:
    record = json.loads((HERE / "build.json").read_text())
    store = partial(store_fault, record["secure_boot"]["sha256"])
    checks = [*binary_checks(record["debian_packages"]), *file_checks(), store, machine_check, charset_check]
    with ThreadPoolExecutor(max_workers=4) as pool:
        faults = [fault for fault in pool.map(lambda check: check(), checks) if fault]
    faults += [fault for fault in map(import_fault, MODULES) if fault]
    for fault in faults:
        print(f"7lbd selftest: {fault}", file=sys.stderr)
    print(f"7lbd {record['version']}: {len(checks) + len(MODULES)} checks, {len(faults)} failed")
    return 1 if faults else 0


def binary_checks(packages: dict[str, str]) -> Iterator[Callable[[], str]]:
    for command, package in BINARIES.items():
        yield partial(version_fault, command, packages[package])


def version_fault(command: tuple[str, str], package_version: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True, timeout=4, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]} does not start: {error}"
    if result.returncode != 0:
        return f"{' '.join(command)} ended with {result.returncode}: {result.stderr.strip()[-200:]}"
    wanted = upstream(package_version)
    if wanted not in result.stdout + result.stderr:
        return f"{command[0]} says {result.stdout.strip()!r}, its package is {wanted}"
    return ""


def upstream(version: str) -> str:
    """The part of a Debian version that the program itself knows: no epoch, no repacking, no revision."""
    match = re.match(r"(?:\d+:)?(\d+(?:\.\d+)*)", version)
    return match[1] if match else version


def file_checks() -> Iterator[Callable[[], str]]:
    for path, least in FIRMWARE.items():
        yield partial(file_fault, Path(path), least)
    for path, least in PAGES.items():
        # Most of their names end in a hash.
        yield partial(file_fault, next(WEB.glob(path), WEB / path), least)
    for path, least in WINDOWS.items():
        yield partial(file_fault, HERE / "windows" / path, least)


def file_fault(path: Path, least: int) -> str:
    if not path.is_file():
        return f"{path} is missing"
    return "" if path.stat().st_size >= least else f"{path} has only {path.stat().st_size} bytes"


def store_fault(digest: str) -> str:
    """What machines with Secure Boot trust is what the record says."""
    found = hashlib.sha256(STORE.read_bytes()).hexdigest() if STORE.is_file() else "nothing"
    return "" if found == digest else f"{STORE} is not the one that was made: {found}"


def machine_check() -> str:
    """QEMU finds its modules and option ROMs: a machine with all we use is built, and never started."""
    devices = (
        "virtio-net-pci",
        "virtio-blk-pci,drive=disk",
        "virtio-vga",
        "ahci",
        "qemu-xhci",
        "virtio-rng-pci",
        "e1000e",
    )
    command = ["qemu-system-x86_64", "-M", "q35,accel=tcg", "-nodefaults", "-display", "none", "-m", "64"]
    command += ["-blockdev", "null-co,node-name=disk,read-zeroes=on"]
    command += [part for device in devices for part in ("-device", device)]
    command += ["-S", "-monitor", "stdio"]
    result = subprocess.run(command, input="quit\n", capture_output=True, text=True, timeout=4, check=False)
    return "" if result.returncode == 0 else f"QEMU cannot build our machine: {result.stderr.strip()[-300:]}"


def charset_check() -> str:
    """iconv finds the character set of file names, and a byte that is no UTF-8 comes through."""
    command = ["iconv", "--from-code=7LBD-NAMES", "--to-code=UTF-16LE"]
    environment = {"PATH": "/usr/bin", "GCONV_PATH": str(LIBRARY / "charset")}
    result = subprocess.run(command, input=b"\xe4", env=environment, capture_output=True, timeout=4, check=False)
    return "" if result.stdout == b"\xe4\xef" else f"iconv does not know the names' character set: {result.stderr!r}"


def import_fault(module: str) -> str:
    for path in (str(LIBRARY), str(SITE)):
        if path not in sys.path:
            sys.path.insert(0, path)
    try:
        importlib.import_module(module)
    except Exception as error:  # whatever it is, the image is broken
        return f"import {module}: {error!r}"
    return ""


if __name__ == "__main__":
    sys.exit(main())
