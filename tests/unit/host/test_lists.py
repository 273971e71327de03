"""The lists that the build reads are well formed, and pins are pins."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from sifbuild import paths
from sifbuild.stages import lines

LISTS = [paths.APPLIANCE / "packages.txt", paths.APPLIANCE / "prune.txt", *(paths.REPO / "scripts/packages").iterdir()]
LOCKS = [*paths.REPO.glob("requirements/*.txt"), paths.RUNTIME / "requirements.txt"]


@pytest.mark.parametrize("path", LISTS, ids=lambda path: path.name)
def test_a_list_names_each_thing_once(path: Path) -> None:
    entries = lines(path)
    assert entries
    assert len(entries) == len(set(entries))
    assert all(" " not in entry for entry in entries)


def test_pruning_stays_inside_a_few_folders() -> None:
    for entry in lines(paths.APPLIANCE / "prune.txt"):
        assert re.match(r"/(usr/(bin|sbin|lib|share)/|var/(lib|cache|log)/)\S", entry), entry


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: path.name)
def test_every_package_is_pinned_with_hashes_and_no_address(path: Path) -> None:
    text = path.read_text()
    assert "://" not in text
    pins = re.split(r"\n(?=[a-z0-9])", re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).strip())
    for pin in pins:
        assert re.match(r"[a-z0-9._-]+(\[[a-z,]+\])?==\S+", pin), pin
        assert "--hash=sha256:" in pin, pin


def test_every_node_package_is_pinned_with_its_hash_and_no_address() -> None:
    text = (paths.WEB / "package-lock.json").read_text()
    assert "://" not in text
    packages = json.loads(text)["packages"]
    wanted = json.loads((paths.WEB / "package.json").read_text())
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert packages[f"node_modules/{name}"]["version"] == version
    for name, package in packages.items():
        assert not name or package["integrity"].startswith("sha512-"), name


def test_the_two_lists_of_machine_packages_do_not_overlap() -> None:
    run, test = (set(lines(paths.REPO / "scripts/packages" / name)) for name in ("run", "test"))
    assert not run & test
