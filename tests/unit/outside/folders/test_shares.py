"""The folders for the guest: which get a mount of their own inside, and what smbd is told of each."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config.settings import Settings
from sevenlbd.inside.init.root import shares_to_bind
from sevenlbd.inside.services import umask
from sevenlbd.inside.setup import render_smb_conf
from sevenlbd.outside.folders import shares
from sevenlbd.wire.plan import Share
from test_qemu import PLAN


def bound(*given: tuple[str, bool]) -> list[tuple[str, bool]]:
    """Path and whether read-only, of the mounts that such shares get."""
    found = shares_to_bind(Share(f"s{number}", path, read_only) for number, (path, read_only) in enumerate(given))
    return [(share.path, share.read_only) for share in found]


def test_a_folder_that_is_shared_read_only_too_stays_writable() -> None:
    for order in ((("/d", False), ("/d", True)), (("/d", True), ("/d", False))):
        assert bound(*order) == [("/d", False)]


def test_a_read_only_share_within_a_writable_one_changes_nothing_for_that() -> None:
    assert bound(("/home/ann", False), ("/home/ann/sub", True)) == [("/home/ann", False)]
    assert bound(("/home/ann", True), ("/home/ann/sub", False)) == [("/home/ann", True), ("/home/ann/sub", False)]
    assert bound(("/a", True), ("/a/b", False), ("/a/b/c", True)) == [("/a", True), ("/a/b", False)]
    assert bound(("/data", False), ("/data2", True)) == [("/data", False), ("/data2", True)]


def told(*given: Share) -> dict[str, dict[str, str]]:
    """smb.conf for these shares, by section."""
    sections: dict[str, dict[str, str]] = {}
    for line in render_smb_conf(replace(PLAN, shares=given)).splitlines():
        if line.startswith("["):
            here = sections.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            name, _, value = line.partition(" = ")
            here[name] = value
    return sections


def test_the_guest_keeps_nothing_of_what_others_may_write() -> None:
    found = told(Share("home", "/home/ann", read_only=False), Share("data", "/data", read_only=True))
    assert found["global"]["oplocks"] == found["global"]["smb2 leases"] == "no"
    assert found["global"]["smb3 directory leases"] == "no"
    assert all("oplocks" not in found[name] for name in ("home", "data"))


def test_the_guest_keeps_what_is_its_own_alone() -> None:
    home, data = Share("home", "/home/ann", read_only=False), Share("data", "/data", read_only=True, cached=True)
    found = told(home, data)
    assert found["data"]["oplocks"] == found["global"]["smb2 leases"] == "yes"
    assert "oplocks" not in found["home"]
    assert found["global"]["smb3 directory leases"] == "no", "they are for all shares, and would be home's as well"
    assert told(data)["global"]["smb3 directory leases"] == "yes"


def test_a_share_to_keep_is_named_by_its_name(tmp_path: Path) -> None:
    settings = Settings(shares=(f"data={tmp_path}",), cached_shares=("Data",))
    found = shares.all_of(settings, {"HOME": str(tmp_path)})
    assert [(share.name, share.cached) for share in found] == [("home", False), ("data", True)]
    with pytest.raises(Refusal, match="no share `dato`; did you mean `data`") as refused:
        shares.all_of(settings.model_copy(update={"cached_shares": ("dato",)}), {"HOME": str(tmp_path)})
    assert refused.value.code is ExitCode.SHARE


def test_a_program_under_a_umask_cannot_change_it(tmp_path: Path) -> None:
    script = f"umask 0; touch {tmp_path}/file; mkdir {tmp_path}/folder; sh -c 'umask 0; touch {tmp_path}/by-a-child'"
    subprocess.run(umask.under(0o027, ["/bin/sh", "-c", script]), check=True, env=os.environ)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    assert modes == {"file": 0o640, "folder": 0o750, "by-a-child": 0o640}


@pytest.mark.parametrize("name", ['a"', "a%u", "a ", "a\\", "a\tb", "a\nb"])
def test_a_folder_that_smbd_would_take_for_another_is_refused(name: str, tmp_path: Path) -> None:
    """A quote at the end it takes off: the guest would have the folder beside it."""
    for one in (name, "a"):
        (tmp_path / one).mkdir(exist_ok=True)
    with pytest.raises(Refusal, match="cannot hold"):
        shares.parse(f"data={tmp_path / name}")
    (tmp_path / "link").symlink_to(tmp_path / name)
    with pytest.raises(Refusal, match="cannot hold"):
        shares.parse(f"data={tmp_path / 'link'}")


@pytest.mark.parametrize("name", ['"a', 'a"b', "a'", "a;b", "#a", "[a]", "a,b", "a=b", "a:ro b", "$HOME"])
def test_a_folder_whose_name_is_only_odd_is_shared(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    assert shares.parse(f"data={tmp_path / name}").path == str(tmp_path / name)
