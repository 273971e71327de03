"""Makes the variable store that machines with Secure Boot start from. Runs in %post; must not look anything up outside.

Debian's own store knows Microsoft's certificates of 2011 only, which expire in 2026: media that are signed by those of
2023 alone would not start. virt-fw-vars enrols both generations in Debian's empty template, and Microsoft's platform
key. What came out is read back and written down: for `7lbd version --all`, and for who looks at a disc's boot loader.
"""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from virt.firmware.varstore import autodetect

OVMF = Path("/usr/share/OVMF")
TEMPLATE = OVMF / "OVMF_VARS_4M.fd"
REPLACED = OVMF / "OVMF_VARS_4M.ms.fd"
HERE = Path("/usr/share/7lbd/firmware")
STORE = HERE / "secure-boot.fd"
NEEDED = {
    "KEK": {"Microsoft Corporation KEK CA 2011", "Microsoft Corporation KEK 2K CA 2023"},
    "db": {
        "Microsoft Windows Production PCA 2011",
        "Microsoft Corporation UEFI CA 2011",
        "Windows UEFI CA 2023",
        "Microsoft UEFI CA 2023",
        "Microsoft Option ROM UEFI CA 2023",
    },
}
Variables = dict[str, list[x509.Certificate]]


def main() -> None:
    HERE.mkdir()
    enrol()
    variables = autodetect.open_varstore(str(STORE)).get_varlist()
    held = {name: [entry.x509 for entry in variables[name].sigdb if entry.x509] for name in ("PK", "KEK", "db")}
    check(held)
    authorities = b"".join(certificate.public_bytes(Encoding.PEM) for certificate in held["db"])
    (HERE / "authorities.pem").write_bytes(authorities)
    record = {
        "sha256": hashlib.sha256(STORE.read_bytes()).hexdigest(),
        **{name: [common_name(certificate) for certificate in held[name]] for name in held},
        "dbx": sum(len(entry) for entry in variables["dbx"].sigdb),
    }
    (HERE / "secure-boot.json").write_text(json.dumps(record) + "\n")
    # Nobody is to start from the older one by mistake.
    REPLACED.unlink()


def enrol() -> None:
    """Fill the store by the tool's own command line."""
    options = ("--microsoft-kek", "all", "--microsoft-db", "all", "--enroll-microsoft", "--secure-boot")
    files = ("--input", str(TEMPLATE), "--output", str(STORE))
    subprocess.run([sys.executable, "-m", "virt.firmware.vars", *files, *options], check=True)


def check(held: Variables) -> None:
    """The build ends here when a newer tool enrols less."""
    for variable, names in NEEDED.items():
        if lacking := names - {common_name(certificate) for certificate in held[variable]}:
            raise SystemExit(f"{STORE}: {variable} lacks {', '.join(sorted(lacking))}")
    if not held["PK"]:
        raise SystemExit(f"{STORE}: there is no platform key, so Secure Boot would be off")


def common_name(certificate: x509.Certificate) -> str:
    [name] = certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    return str(name.value)


if __name__ == "__main__":
    main()
