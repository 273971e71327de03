"""What the container shows of the node, and the command that shows more."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from sevenlbd.base import container
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.images.lookup import image


def test_a_folder_of_the_node_hides_nothing_and_the_containers_own_root_does(tmp_path: Path) -> None:
    assert not container.hides(tmp_path / "not-there.qcow2")
    assert not container.hides(tmp_path / "neither" / "not-there.qcow2")
    assert container.hides(Path("/no-such-folder-of-the-node/images/win11.qcow2"))


def test_an_image_that_the_container_does_not_show_is_told_with_the_command_that_works(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("APPTAINER_CONTAINER", "/apps/7lbd.sif")
    own = ["exec", "--image", "/no such folder/win11.qcow2", "--", "solver.exe", "a b"]
    monkeypatch.setattr("sys.argv", ["/usr/bin/7lbd", *own])
    with pytest.raises(Refusal, match="or is in a folder of the node that the container does not show") as refused:
        image.resolve("/no such folder/win11.qcow2", [])
    assert refused.value.code == ExitCode.IMAGE
    assert refused.value.hint == f"apptainer run --bind '/no such folder' /apps/7lbd.sif {shlex.join(own)}"


def test_a_link_to_where_the_container_does_not_show_names_that_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("APPTAINER_CONTAINER", "/apps/7lbd.sif")
    link = tmp_path / "win11.qcow2"
    link.symlink_to("/no-such-folder/win11.qcow2")
    monkeypatch.setattr("sys.argv", ["/usr/bin/7lbd", "--image", str(link)])
    with pytest.raises(Refusal) as refused:
        image.resolve(str(link), [])
    assert refused.value.hint == f"apptainer run --bind /no-such-folder /apps/7lbd.sif --image {link}"


def test_an_image_that_is_not_in_a_folder_of_the_node_is_just_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"the image does not exist\n") as refused:
        image.resolve(str(tmp_path / "win11.qcow2"), [])
    assert "--bind" not in refused.value.hint
