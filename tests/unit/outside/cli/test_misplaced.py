"""Apptainer's options where ours stand, the SIF's own name as a verb, and a command or an image without its sign."""

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


@pytest.mark.parametrize(
    ("words", "works"),
    [
        (["exec", "ls"], "7lbd exec [OPTION ...] -- ls"),
        (["exec", "--image", "w", "solver.exe", "my case.inp"], "7lbd exec [OPTION ...] -- solver.exe 'my case.inp'"),
        (["exec", "ls", "--", "-l"], "7lbd exec [OPTION ...] -- ls -l"),
        (["run", "win11"], "if it is the image: 7lbd run --image win11; else 7lbd run --help"),
        (["submit", "--time", "4h", "a b"], "if it is the image: 7lbd submit --image 'a b'; else 7lbd submit --help"),
    ],
)
def test_a_command_or_an_image_that_stands_alone_is_told_where_it_belongs(words: list[str], works: str) -> None:
    with pytest.raises(Refusal, match="is not an option of 7lbd (exec|run|submit)") as refused:
        command_line.parse(words)
    assert refused.value.code == ExitCode.USAGE
    assert refused.value.hint == works


@pytest.mark.parametrize("words", [["exec", "--lits", "x"], ["resume", "a", "b"], ["status", "a", "b"]])
def test_what_is_neither_is_refused_as_before(words: list[str]) -> None:
    with pytest.raises(Refusal, match="is not an option of") as refused:
        command_line.parse(words)
    assert refused.value.hint == f"7lbd {words[0]} --help"
