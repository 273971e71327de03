"""Writes down, inside the image, what it was made from. Runs in %post; must not look anything up outside.

The result, /usr/share/7lbd/build.json, is what `7lbd version --all` shows and what selftest.py holds the image to.
"""

import json
import sys
from importlib.metadata import distributions
from pathlib import Path

HERE = Path("/usr/share/7lbd")
SITE = Path("/usr/lib/7lbd/site")


def main() -> None:
    inputs = json.loads((HERE / "inputs.json").read_text())
    record = inputs | {
        "python": ".".join(map(str, sys.version_info[:3])),
        "debian_packages": debian_packages(HERE / "debian-packages.tsv"),
        "python_packages": python_packages(SITE),
        "secure_boot": json.loads((HERE / "firmware" / "secure-boot.json").read_text()),
        "web_packages": json.loads((HERE / "web" / "packages.json").read_text()),
    }
    (HERE / "build.json").write_text(json.dumps(record, indent=2) + "\n")


def debian_packages(table: Path) -> dict[str, str]:
    return dict(sorted(line.split("\t") for line in table.read_text().splitlines()))


def python_packages(site: Path) -> dict[str, str]:
    return dict(sorted((d.name.lower(), d.version) for d in distributions(path=[str(site)])))


if __name__ == "__main__":
    main()
