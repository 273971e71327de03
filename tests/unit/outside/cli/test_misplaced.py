"""Apptainer's options where ours stand, and the SIF's own name as a verb."""

from __future__ import annotations

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.cli import command_line


@pytest.fixture(autouse=True)
def sif(monkeypatch: pytest.MonkeyPatch) -> None:
    """As Apptainer tells it."""
    monkeypatch.setenv("APPTAINER_CONTAINER", "/opt/my apps/7lbd.sif")


@pytest.mark.parametrize(
    ("words", "works"),
    [
        (["--bind", "/data"], "apptainer run --bind /data '/opt/my apps/7lbd.sif'"),
        (["--bind=/data"], "apptainer run --bind=/data '/opt/my apps/7lbd.sif'"),
        (
            ["run", "--memory", "4G", "-B", "/data:/d", "--image", "x y"],
            "apptainer run -B /data:/d '/opt/my apps/7lbd.sif' run --memory 4G --image 'x y'",
        ),
        (["--nv", "--cpus", "2"], "apptainer run --nv '/opt/my apps/7lbd.sif' --cpus 2"),
        (["image", "list", "--bind", "/data"], "apptainer run --bind /data '/opt/my apps/7lbd.sif' image list"),
        (["7lbd.sif", "--bind", "x"], "apptainer run --bind x '/opt/my apps/7lbd.sif'"),
        (["./7lbd.sif", "status"], "apptainer run '/opt/my apps/7lbd.sif' status"),
    ],
)
def test_apptainers_options_behind_the_sif_are_told_with_the_command_that_works(words: list[str], works: str) -> None:
    with pytest.raises(Refusal) as refused:
        command_line.parse(words)
    assert refused.value.code == ExitCode.USAGE
    assert refused.value.hint == works


def test_what_nobody_knows_is_refused_as_before() -> None:
    with pytest.raises(Refusal, match="`--blind` is not an option of 7lbd run"):
        command_line.parse(["--blind", "x"])


def test_what_apptainer_and_we_call_alike_is_ours() -> None:
    verb, options = command_line.parse(["run", "--network", "user"])
    assert (verb.name, options.network) == ("run", "user")
