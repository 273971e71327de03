"""The doctor's word on a warm state, and what it asks of the real QEMU."""

from __future__ import annotations

import resource
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeQcow2
from sevenlbd.config import sources
from sevenlbd.config.settings import Settings
from sevenlbd.images import layout, warm
from sevenlbd.images.lookup import image as images
from sevenlbd.outside.checks import doctor
from sevenlbd.outside.node import cpu_models, rlimits
from sevenlbd.outside.session.preflight import prepare, warmth


class Node:
    """A machine that every node can hold, with an image and, when it is frozen, a warm state."""

    def __init__(self, folder: Path, make_qcow2: MakeQcow2) -> None:
        self.image = folder / "image"
        self.image.mkdir()
        make_qcow2(self.image / "disk.qcow2")
        (self.image / "image.toml").write_text('schema = 1\nmemory = "64M"\ncpus = 1\n')
        self.here = sources.look_around({"HOME": str(folder), "TMPDIR": str(folder)})
        self.settings = Settings.model_validate(
            {"image": str(self.image), "accel": "tcg", "network": "user", "min_space": 0}
        )
        self._make_qcow2 = make_qcow2

    def freeze(self, **changes: Any) -> None:
        """A warm state that fits here, but for `changes`."""
        guest = prepare.prepare(self.settings, self.here.environment, 0o077, []).plan.guest
        needs = warmth.needs(images.from_folder(self.image), guest, "tcg", "user", "max")
        folder = self.image / layout.WARM
        folder.mkdir()
        state = warm.WarmState(folder, replace(needs, **changes), "AA:BB")
        for path in filter(None, (state.state, state.variables)):
            path.write_bytes(b"frozen")
        with state.memory.open("wb") as memory:
            memory.truncate(state.needs.memory)
        self._make_qcow2(state.disk)
        warm.write(state)

    def finding(self) -> doctor.Finding | None:
        """What the doctor says of the warm state."""
        told = [finding for finding in doctor.examine(self.settings, self.here) if finding.check == "warm state"]
        assert len(told) <= 1
        return told[0] if told else None


@pytest.fixture
def node(tmp_path: Path, make_qcow2: MakeQcow2) -> Node:
    return Node(tmp_path, make_qcow2)


def test_of_an_image_without_a_warm_state_nothing_is_said(node: Node) -> None:
    assert node.finding() is None


def test_a_warm_state_that_fits_is_told_with_its_cpu_model(node: Node) -> None:
    node.freeze()
    assert node.finding() == doctor.Finding("warm state", "ok", "fits this node; CPU model max")


def test_a_warm_state_of_another_machine_is_told_with_the_difference(node: Node) -> None:
    node.freeze(cpus=7)
    found = node.finding()
    assert found is not None
    assert (found.level, found.mend.partition(",")[0]) == ("warning", "7lbd image warm --again")
    assert "CPUs 7 when frozen, 1 here" in found.text


def test_a_warm_state_that_is_broken_is_told(node: Node) -> None:
    node.freeze()
    (node.image / layout.WARM / layout.WARM_STATE).unlink()
    found = node.finding()
    assert found is not None
    assert (found.level, "No such file" in found.text) == ("warning", True)


def test_a_warm_state_whose_cpu_this_qemu_does_not_have_is_told(node: Node) -> None:
    node.freeze(cpu="Z80")
    found = node.finding()
    assert found is not None
    assert found.level == "warning"
    assert "CPU model Z80 needs what this node lacks: the model itself" in found.text
    assert "warm_cpu_model" in found.mend


def test_qemu_tells_what_a_model_would_lack() -> None:
    assert cpu_models.missing("max", "tcg") == []
    assert "avx512f" in (cpu_models.missing("Skylake-Server", "tcg") or []), "TCG emulates no AVX-512"
    assert cpu_models.missing("Z80", "tcg") is None


def test_limits_of_the_shell_are_told_with_the_arithmetic(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    low = {resource.RLIMIT_FSIZE: 1024, resource.RLIMIT_AS: 1 << 30}
    monkeypatch.setattr(rlimits, "hard", low.get)
    found = {finding.check: finding for finding in doctor.examine(node.settings, node.here)}
    assert (found["memory"].level, found["limits"].level) == ("error", "warning")
    assert "1.0 GiB allowed to one process (ulimit -v); 0.1 GiB for a guest and 1.8 GiB for QEMU's own addresses" in (
        found["memory"].text
    )
    assert "ulimit -v" in found["memory"].mend
    assert "(ulimit -f)" in found["limits"].text
    assert "ulimit -f" in found["limits"].mend


def test_variables_of_another_job_are_told(node: Node) -> None:
    stale = {**node.here.environment, "SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": "1000"}
    [found] = [one for one in doctor.examine(node.settings, sources.look_around(stale)) if one.check == "job"]
    assert found.level == "warning"
    assert "job 7" in found.text
