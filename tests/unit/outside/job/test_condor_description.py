"""A submit description says what the job needs, names its image, and carries its script whole."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.cli import dispatch
from sevenlbd.outside.saved import saved_format
from sevenlbd.outside.saved.facts import Facts, MachineFacts, SavedHeader

# The site's folder, and an Apptainer that prints its words, are those of the jobs of Slurm's.
from test_jobs import apptainer, mounted, site  # noqa: F401


def described(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, str]:
    """The commands of a rendered description, by name."""
    assert dispatch.run(["render", "condor", *words], 0o077) == ExitCode.OK
    text = capsys.readouterr().out
    assert text.endswith("\nqueue\n")
    joined = re.sub(r" \\\n *", " ", text)
    lines = [line for line in joined.splitlines() if "=" in line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, _, value in (line.partition("=") for line in lines)}


def arguments(written: str) -> list[str]:
    """As condor_submit(1) takes arguments apart: words in single quotes, `$(DOLLAR)` is a dollar."""
    inner = written.removeprefix('"').removesuffix('"').replace('""', '"')
    inner = inner.replace("$$(DOLLARDOLLAR)", "$$").replace("$(DOLLAR)", "$")
    assert "$(" not in written.replace("$(DOLLAR)", "").replace("$$(DOLLARDOLLAR)", ""), "condor_submit would expand it"
    return [word.replace("''", "'") for word in re.findall(r"'((?:[^']|'')*)'(?: |$)", inner)]


IMAGE = ("--image", "win11", "--memory", "4G", "--cpus", "3")


@pytest.mark.usefixtures("site")
def test_one_in_the_background_waits_on_where_others_need_the_memory(capsys: pytest.CaptureFixture[str]) -> None:
    told = described(capsys, *IMAGE, "--background")
    elsewhere = '!stringListMember(TARGET.Machine, LastRemoteHost, "@")'
    assert f"(ExitCode =!= 75 || time() > EnteredCurrentStatus + 600 || {elsewhere})" in told["requirements"]
    assert told["on_exit_remove"] == "(ExitCode =!= 3 || NumJobStarts > 5) && ExitCode =!= 75"


@pytest.mark.usefixtures("site")
def test_a_job_asks_for_its_size_and_for_a_node_with_its_image(capsys: pytest.CaptureFixture[str]) -> None:
    told = described(capsys, *IMAGE)
    assert (told["request_memory"], told["request_cpus"], told["request_disk"]) == ("4608M", "3", "4096M")
    assert told["+vm_name"] == '"win11"'
    has, spoke = told["requirements"].split(" && ")
    assert has == "stringListMember(MY.vm_name, TARGET.SevenLbdImages)"
    assert spoke == "(ExitCode =!= 3 || TARGET.SevenLbdAdvertised > EnteredCurrentStatus)"
    assert told["on_exit_remove"] == "(ExitCode =!= 3 || NumJobStarts > 5)"
    assert (told["kill_sig"], told["transfer_output_files"]) == ("SIGTERM", '""')
    assert "remove_kill_sig" not in told, "a starter would send it at evictions, too, and suspend nothing"
    assert "when_to_transfer_output" not in told
    assert "allowed_execute_duration" not in told


def test_the_site_and_the_command_line_say_more(site: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    (site / "7lbd.toml").write_text(
        '[condor]\nrequirements = "SevenLbdKvm"\ncommands = ["request_gpus = 1"]\naccount = "group_a"\n'
        'time = "4h"\nmatch_images = false\n'
    )
    told = described(capsys, *IMAGE, "--time", "30m", "--condor", '+Project = "x"', "--job-name", "mine")
    assert told["requirements"] == "(SevenLbdKvm)"
    assert (told["request_gpus"], told["+Project"], told["accounting_group"]) == ("1", '"x"', "group_a")
    assert told["allowed_execute_duration"] == "1800"
    assert told["periodic_remove"] == "JobStatus == 5 && HoldReasonCode == 47"
    assert (told["batch_name"], "+vm_name" in told) == ("mine", False)


def test_an_image_that_is_a_path_is_the_jobs_own_affair(site: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    told = described(capsys, "--image", f"{site}/images/win 11")
    assert "+vm_name" not in told
    assert "requirements" not in told


def test_a_suspended_desktop_goes_from_node_to_node(site: Path, capsys: pytest.CaptureFixture[str]) -> None:  # noqa: F811
    saved = site / "state dir" / "saved"
    saved.mkdir(parents=True, mode=0o700)
    machine = MachineFacts(
        *("1:10.0", "pc-q35-10.0", "tcg", "max", 3, 4 << 30, "tap", "52:54:00:07:1b:d0"),
        *("uefi", False, "virtio", "virtio", "virtio", "linux", "utc", 1 << 30),
    )
    facts = Facts("one", "win11", "2", "win11@2", "user1", "ann", machine, ())
    (saved / "my desk.7lbd").write_bytes(saved_format.pack_header(SavedHeader(facts, ())))
    told = described(
        capsys, "--at-end", "suspend", "--suspended-exit-code", "77", "--resume", str(saved / "my desk.7lbd")
    )
    assert told["+vm_name"] == '"win11@2"', "it goes where its image is"
    assert (told["request_memory"], told["request_cpus"]) == ("4608M", "3"), "and has the room that it had"
    assert told["when_to_transfer_output"] == "ON_EXIT_OR_EVICT"
    assert (told["checkpoint_exit_code"], told["transfer_output_files"]) == ("77", "7lbd-saved")
    assert told["transfer_input_files"] == str(saved / "my desk.7lbd")
    script = "\n".join(arguments(told["arguments"])[3:])
    assert "[ -e 7lbd-saved/desktop.7lbd ] || mv -- 'my desk.7lbd' 7lbd-saved/desktop.7lbd" in script
    assert script.endswith('--resume-if-there="$PWD/7lbd-saved/desktop.7lbd"')
    assert "--resume=" not in script
    assert int(told["job_max_vacate_time"]) > 35, "an eviction leaves the time to write it"
    assert told["request_disk"] == "13312M", "its memory is beside its disk, and once more while it is written anew"
    for option in ("--time", "--for"):
        with pytest.raises(Refusal, match="so its job has no time"):
            described(capsys, *IMAGE, "--at-end", "suspend", option, "1h")


def test_the_script_comes_to_bash_as_it_is(
    site: Path,  # noqa: F811
    apptainer: Path,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Through both kinds of quotes and past both kinds of macros."""
    hostile = f'{site}/it\'s "so" $(id) $$(Owner) $ENV(HOME) ${{x}} \\'
    Path(hostile).mkdir()
    setup = "echo 'two  \"words\"' $((1+1)) # said"
    (site / "7lbd.toml").write_text(f"[condor]\nsetup = ['''{setup}''']\n")
    told = described(capsys, *IMAGE, f"--share=d={hostile}:ro")
    done = subprocess.run(
        ["/bin/bash", *arguments(told["arguments"])], env={"PATH": f"{apptainer}:/usr/bin"}, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    lines = done.stdout.splitlines()
    assert lines[0] == 'two  "words" 2'
    assert f"--share=d={hostile}:ro" in lines
    assert all(word in lines for word in mounted(site))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--partition", "x"], "HTCondor has no such thing"),
        (["--sbatch=--gres=gpu:1"], "`--sbatch` is for Slurm"),
        (["--condor", "queue 100"], "each is a line of a submit description"),
        (["--condor", "a = 1\nqueue"], "one line of printable characters"),
        (["--condor", "a = 1 \\"], "each is a line of a submit description"),
        (["--image", 'x" || true'], "cannot be an image's name"),
        (["--time", "soon"], "a duration is"),
    ],
)
@pytest.mark.usefixtures("site")
def test_what_cannot_be_said_is_refused(capsys: pytest.CaptureFixture[str], words: list[str], says: str) -> None:
    with pytest.raises(Refusal, match=says):
        described(capsys, *IMAGE, *words)
