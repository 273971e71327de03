"""A job's script says what the job needs; the node's commands are called as its user would; their words are told."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
from sevenlbd.base import heartbeat, lineage
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config import sources
from sevenlbd.config.settings import Settings
from sevenlbd.outside.cli import dispatch
from sevenlbd.outside.job import following, job_script
from sevenlbd.outside.node.node_programs import Missing, NodePrograms
from sevenlbd.outside.presence import elsewhere
from sevenlbd.outside.presence.elsewhere import Elsewhere, View
from sevenlbd.outside.saved import saved_format
from sevenlbd.outside.saved.facts import Facts, MachineFacts, SavedHeader
from sevenlbd.outside.schedulers.scheduler import Job
from sevenlbd.outside.schedulers.slurm import Slurm
from sevenlbd.wire.state import SessionState


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site's folder with an image and a settings file, seen from its SIF."""
    image = tmp_path / "images" / "win 11"
    image.mkdir(parents=True)
    qcow2 = image / "disk.qcow2"
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(qcow2), "1G"], check=True)
    (image / "image.toml").write_text('os = "windows"\nmemory = "4G"\ncpus = 3\n')
    for name in [name for name in os.environ if name.startswith(("SEVENLBD_", "APPTAINER_", "SINGULARITY_", "SLURM"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("APPTAINER_CONTAINER", str(tmp_path / "7lbd.sif"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sources, "ETC", tmp_path / "etc")
    return tmp_path


def rendered(capsys: pytest.CaptureFixture[str], *words: str) -> list[str]:
    assert dispatch.run(["render", *words], 0o077) == ExitCode.OK
    return capsys.readouterr().out.splitlines()


def test_a_job_asks_for_what_the_image_needs(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = rendered(capsys, "slurm", "--image", f"{site}/images/win 11")
    asked = {line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")}
    assert asked == {
        "--job-name=7lbd", "--nodes=1", "--ntasks=1", "--cpus-per-task=3", "--mem=4608M", "--time=0-08:00:00",
        "--signal=B:USR1@120", "--output=7lbd-%j.log",
    }  # fmt: skip
    assert lines[0] == "#!/bin/bash"
    call = f"{site}/7lbd.sif run '--image={site}/images/win 11'"
    assert lines[-1] == f'exec apptainer run "${{desktop_binds[@]}}" {call}'


@pytest.mark.parametrize("scheduler", ["slurm", "condor"])
def test_less_memory_than_the_image_boots_with_waits_in_no_queue(
    site: Path, capsys: pytest.CaptureFixture[str], scheduler: str
) -> None:
    words = ("render", scheduler, "--cpus", "1", "--memory", "64M", "--image")
    with pytest.raises(Refusal, match="64.0 MiB of memory are too few for this guest"):
        dispatch.run([*words, f"{site}/images/win 11"], 0o077)
    assert capsys.readouterr().out == ""
    assert dispatch.run([*words, "one-of-the-nodes"], 0o077) == ExitCode.OK, "nobody knows here"


@pytest.mark.parametrize(
    ("word", "line"),
    [
        ("--comment=two words", '--comment="two words"'),
        ('--comment=it\'s "so" # \\ é', '--comment="it\'s \\"so\\" # \\\\ é"'),
        ("--gres=gpu:1", "--gres=gpu:1"),
        ("-Ctwo words", '"-Ctwo words"'),
        ("--exclusive", "--exclusive"),
    ],
)
def test_an_option_of_sbatch_is_one_word_in_the_script_too(
    site: Path, capsys: pytest.CaptureFixture[str], word: str, line: str
) -> None:
    told = rendered(capsys, "slurm", "--memory", "1G", "--cpus", "1", f"--sbatch={word}")
    assert f"#SBATCH {line}" in told
    (site / "7lbd.toml").write_text(f"[slurm]\noptions = [{json.dumps(word)}]\n")
    assert f"#SBATCH {line}" in rendered(capsys, "slurm", "--memory", "1G", "--cpus", "1")


@pytest.fixture
def apptainer(site: Path) -> Path:
    """A folder for the PATH, with one that prints each word of its own on a line."""
    program = site / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text('#!/bin/bash\nprintf "%s\\n" "${_7LBD_COMMAND-}" "$@"\n')
    program.chmod(0o755)
    return program.parent


def mounted(folder: object) -> list[str]:
    return ["--mount", f'type=bind,"source={folder}","destination={folder}"']


def test_a_job_shows_what_its_session_needs_and_the_node_has(
    site: Path, apptainer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("my, own: d", "cache", "logs"):
        (site / name).mkdir()
    (site / "7lbd.toml").write_text(
        f'image_dirs = ["{site}/gone"]\nimage_cache = "{site}/cache"\negress_log = "{site}/logs"\n'
        f'[slurm]\nbinds = ["{site}/cache", "/scratch:/s:ro"]\n'
    )
    image = f"--image={site}/images/win 11"
    shares = [f"--share=d={site}/my, own: d:ro", "--share=e=/etc/", "--share=u=/usr:ro"]
    script = "\n".join(rendered(capsys, "slurm", image, *shares))
    done = subprocess.run(
        ["bash", "-c", script], env={"PATH": f"{apptainer}:/usr/bin"}, check=True, capture_output=True, text=True
    )
    folders = (site, f"{site}/cache", f"{site}/logs", f"{site}/my, own: d", f"{site}/images")
    shown = [word for folder in folders for word in mounted(folder)]
    assert done.stdout.splitlines() == [
        "", "run", *shown, "--bind", "/scratch:/s:ro",
        f"{site}/7lbd.sif", "run", image, *shares,
    ]  # fmt: skip


def test_a_job_whose_image_is_suspended_at_its_end_asks_for_the_time_that_takes(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lead(*words: str) -> int:
        lines = rendered(capsys, "slurm", "--image", f"{site}/images/win 11", *words)
        return int(next(line.partition("@")[2] for line in lines if "--signal=B:USR1@" in line))

    with (site / "images" / "win 11" / "image.toml").open("a") as described:
        described.write('at_end = "suspend"\n')
    assert lead("--stop-grace", "5m") > 300
    assert lead("--stop-grace", "5m", "--memory", "8G", "--cpus", "2") > 300, "of which nothing else is asked"
    assert lead("--stop-grace", "5m", "--at-end", "shutdown") == 120


def test_a_signal_comes_neither_before_half_of_what_the_job_has_is_over_nor_earlier_than_slurm_takes(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def lead(*words: str) -> int:
        lines = rendered(capsys, "slurm", "--image", "nodes-only", "--cpus", "1", "--at-end", "suspend", *words)
        return int(next(line.partition("@")[2] for line in lines if "--signal=B:USR1@" in line))

    assert lead("--memory", "512G", "--time", "4h") == 5 + (512 * 1024 + 512) * 3 // 2 // 128 + 25 + 10
    assert lead("--memory", "512G", "--time", "1h") == (3600 + 35) // 2 + 1, "what is not written then is shut down"
    assert lead("--memory", "8192G", "--time", "14d") == 65535, "sbatch(1), --signal"
    assert lead("--memory", "512G", "--time", "1h", "--stop-grace", "40m") == (3600 + 2410) // 2
    assert lead("--memory", "1G", "--time", "20m", "--stop-grace", "10m") == 610 + 5 + (1024 + 512) * 3 // 2 // 128


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["--time", "2m"], r"has 2 min 00 s, .* told of its end 2 min 00 s before \(`signal_lead`\)", "--time"),
        (
            ["--stop-grace", "3h", "--at-end", "suspend", "--time", "1h"],
            r"told of its end 3 h 00 min before \(`stop_grace`\)",
            "--time",
        ),
        (["--signal-lead", "1d", "--time", "7d"], "Slurm takes 65535 s at most", "signal_lead"),
    ],
)
def test_a_job_that_would_be_asked_to_end_when_it_begins_is_refused(
    site: Path, words: list[str], what: str, hint: str
) -> None:
    with pytest.raises(Refusal, match=what) as refused:
        dispatch.run(["render", "slurm", "--image", "nodes-only", "--memory", "8G", "--cpus", "1", *words], 0o077)
    assert refused.value.code is ExitCode.USAGE
    assert hint in refused.value.hint


def test_a_job_that_goes_on_from_a_desktop_needs_no_image_named_and_asks_for_what_it_had(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    machine = MachineFacts(
        *("1:10.0", "pc-q35-10.0", "tcg", "max", 3, 4 << 30, "tap", "52:54:00:07:1b:d0"),
        *("uefi", False, "virtio", "virtio", "virtio", "linux", "utc", 1 << 30),
    )
    facts = Facts("one", "only-on-nodes", "2", "only-on-nodes@2", "user1", "ann", machine, ())
    saved = site / "desk.7lbd"
    saved.write_bytes(saved_format.pack_header(SavedHeader(facts, ())))
    lines = rendered(capsys, "slurm", "--resume", str(saved))
    assert {"#SBATCH --mem=4608M", "#SBATCH --cpus-per-task=3"} <= set(lines)
    assert lines[-1].endswith(f"run --resume={saved}")
    with pytest.raises(Refusal, match="no saved desktop"):
        rendered(capsys, "slurm", "--resume", "nosuch")
    with pytest.raises(Refusal, match="cannot be read: No such file"):
        rendered(capsys, "slurm", "--resume", str(site / "none.7lbd"))


def test_the_command_line_beats_the_site_which_beats_the_image(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (site / "7lbd.toml").write_text(
        '[slurm]\npartition = "long"\naccount = "a1"\ncpus = 2\nmemory = "6G"\ntime = "1d"\nconstraint = "kvm&big"\n'
        'options = ["--gres=gpu:1"]\nsetup = ["module load apptainer"]\nbinds = ["/scratch"]\n'
        'apptainer = "/opt/a b/ap"\n'
    )
    image = f"--image={site}/images/win 11"
    by_site = "\n".join(rendered(capsys, "slurm", image))
    for words in ("--partition=long", "--account=a1", "-task=2", "--mem=6144M", "--time=1-00:00:00", "--gres=gpu:1"):
        assert f"{words}\n" in by_site
    assert "#SBATCH --constraint=kvm&big\n" in by_site
    assert by_site.index("#SBATCH --gres") < by_site.index("\nmodule load apptainer\n") < by_site.index("\nexec ")
    assert "desktop_binds+=(--bind /scratch)\n" in by_site
    assert "exec '/opt/a b/ap' run " in by_site
    told = "\n".join(rendered(
        capsys, "slurm", image, "--partition", "short", "--memory", "1G", "--cpus", "1", "--time", "2-3:30",
        "--output", "a b.log", "--sbatch=--nodelist=n1", "--no-console", "--share", "d=/x y:ro", "--share", "e=/e",
    ))  # fmt: skip
    for words in ("--partition=short", "--mem=1536M", "-task=1", "--time=2-03:30:00", '--output="a b.log"', "=n1"):
        assert f"{words}\n" in told
    assert "'--share=d=/x y:ro' --share=e=/e --no-console" in told


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--time", "90"], "minutes"),
        (["--time", "soon"], "a duration is"),
        (["--time", "30s"], "60"),
        (["--partition", "a b"], "a name has"),
        (["--job-name", "a\nb"], "one line"),
        (["--sbatch", "nodelist"], "is not an option of sbatch"),
        (["--sbatch", "--x\n#SBATCH --y"], "is not an option of sbatch"),
        (["--memory", "much"], "a size is"),
        (["--image", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_handed_in(site: Path, words: list[str], says: str) -> None:
    with pytest.raises(Refusal) as refused:
        dispatch.run(["render", "slurm", "--image", f"{site}/images/win 11", *words], 0o077)
    assert says in refused.value.what


def test_an_image_that_only_the_nodes_see_needs_a_size(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Refusal) as refused:
        dispatch.run(["render", "slurm", "--image", "cached"], 0o077)
    assert "--memory" in refused.value.hint
    assert "#SBATCH --mem=2560M" in rendered(capsys, "slurm", "--image", "cached", "--memory", "2G")


def test_the_command_is_a_script_that_bash_reads(
    site: Path, apptainer: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (site / "7lbd.toml").write_text(
        f'image_dirs = ["{site}/images"]\n[slurm]\nsetup = ["module load apptainer"]\nbinds = ["/a b", "/c:/d:ro"]\n'
    )
    text = "\n".join(rendered(capsys, "command")) + "\n"
    (site / "7lbd").write_text(text)
    subprocess.run(["bash", "-n", str(site / "7lbd")], check=True)
    (site / "7lbd.sif").touch()
    (site / "7lbd").chmod(0o755)
    (apptainer / "desk").symlink_to(site / "7lbd")
    found = {}
    for verb in ("run", "status"):
        done = subprocess.run(
            [str(apptainer / "desk"), verb, "a b"], env={"PATH": f"{apptainer}:/usr/bin"},
            check=True, capture_output=True, text=True,
        )  # fmt: skip
        found[verb] = done.stdout.splitlines()
    shown = ["desk", "run", *mounted(site), *mounted(site / "images"), "--bind", "/a b", "--bind", "/c:/d:ro"]
    assert found["run"] == [*shown, f"{site}/7lbd.sif", "run", "a b"]
    assert found["status"] == [*shown, "--bind=/:/node", f"{site}/7lbd.sif", "status", "a b"]


# The node's programs, by a node's tree that is this container's own.


def programs(path: Path, **more: str) -> NodePrograms:
    return NodePrograms({"USER_PATH": f"{path}:/usr/bin", **more}, root=Path("/"))


def program(path: Path, name: str, script: str) -> None:
    (path / name).write_text(f"#!/bin/bash\n{script}\n")
    (path / name).chmod(0o755)


def test_a_program_of_the_nodes_runs_as_the_user_with_his_environment(tmp_path: Path) -> None:
    program(
        tmp_path, "nodes-own", 'cat; id -u; pwd; echo "$PATH|$MINE|${APPTAINER_BIND-none}|${LD_X-none}" "$@"; exit 3'
    )
    called = programs(tmp_path, MINE="m", APPTAINER_BIND="/x", LD_X="y")
    assert called.has("nodes-own")
    done = called.run("nodes-own", "a b", stdin="in\n")
    assert done.code == 3
    assert done.printed == f"in\n{os.getuid()}\n{Path.cwd()}\n{tmp_path}:/usr/bin|m|none|none a b\n"


def test_a_program_that_is_nowhere_is_told(tmp_path: Path) -> None:
    with pytest.raises(Missing, match="there is no `sbatch` in the PATH"):
        programs(tmp_path).run("sbatch")
    with pytest.raises(Missing, match="cannot be reached from inside"):
        NodePrograms({}, root=tmp_path / "node").run("sbatch")


def test_a_program_that_does_not_answer_is_given_up(tmp_path: Path) -> None:
    program(tmp_path, "squeue", "exec sleep 30")
    with pytest.raises(Refusal, match="has not answered for 0 s"):
        programs(tmp_path).run("squeue", seconds=0.3)


def test_the_queue_is_read_whatever_a_job_is_called(tmp_path: Path) -> None:
    rows = (
        "7\x1fPENDING\x1f\x1fN/A\x1f/w\x1f(Resources)\x1f7_N/A\x1f7lbd | x",
        "8\x1fRUNNING\x1fn1\x1f2026-01-01T00:00:00\x1f/w\x1fNone\x1f8_N/A\x1fa",
    )
    program(tmp_path, "squeue", "\n".join(f"echo '{row}'" for row in rows))
    waits, runs = Slurm(programs(tmp_path)).jobs()
    assert (waits.id, waits.waits, waits.name, str(waits)) == ("7", True, "7lbd | x", "pending: (Resources)")
    assert (runs.nodes, runs.runs, str(runs)) == ("n1", True, "running on n1")


def test_what_slurm_says_of_an_error_is_passed_on(tmp_path: Path) -> None:
    program(tmp_path, "sbatch", "echo 'sbatch: error: invalid partition specified: x' >&2; exit 1")
    program(tmp_path, "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    program(tmp_path, "scancel", "echo 'scancel: error: Kill job error on job id 9: Access denied' >&2; exit 0")
    slurm = Slurm(programs(tmp_path))
    with pytest.raises(Refusal, match="does not take the job: invalid partition specified: x"):
        slurm.submit("#!/bin/bash\n", [])
    with pytest.raises(Refusal, match="Unable to contact slurm controller"):
        slurm.jobs()
    with pytest.raises(Refusal, match="Access denied"):
        slurm.cancel("9")
    program(tmp_path, "squeue", "echo 'slurm_load_jobs error: Invalid job id specified' >&2; exit 1")
    assert slurm.jobs("9") == []
    program(tmp_path, "sbatch", "echo 'some site wrapper speaks'; echo '12;east'")
    assert slurm.submit("#!/bin/bash\n", []) == "12"


# Whose child a session is (proc_pid_stat(5)).


@pytest.mark.parametrize(
    ("line", "leads"),
    [
        (["starter", "slurmstepd"], True),
        (["Apptainer runtim", "starter-suid", "slurmstepd"], True),
        (["starter", "slurm_script", "slurmstepd"], False),
        (["starter", "bash", "sshd"], False),
        (["starter"], False),
    ],
)
def test_who_gets_what_slurm_signals_to_the_batch_shell(tmp_path: Path, line: list[str], leads: bool) -> None:
    for number, name in enumerate(["python3", *line]):
        place = tmp_path / str(100 - number)
        place.mkdir()
        (place / "comm").write_text(f"{name}\n")
        (place / "stat").write_text(f"{100 - number} (x) y) S {99 - number} 1 1 0 -1")
    assert lineage.leads_job(100, tmp_path) is leads


# Which session is meant.


def test_sessions_are_chosen_by_their_names_and_their_jobs_numbers() -> None:
    def one(name: str, job: str) -> Elsewhere:
        state = SessionState(
            id=name, user="u", host=f"n{job}", image="i", accel="kvm", network="tap", pid=1, folder="/t", job=job
        )
        return Elsewhere(state, Path("/r"))

    first, second = one("job7", "7"), one("win", "8")
    view = View((first, second), (Job("9", "PENDING", "", "N/A", "/", "Priority", "7lbd"),), (), "")
    assert elsewhere.choose(view, "job7") is first
    assert elsewhere.choose(view, "8") is second
    assert elsewhere.choose(view, "nobody") is None
    with pytest.raises(Refusal, match=r"several sessions are running: job7 \(on n7, job 7\), win \(on n8, job 8\)"):
        elsewhere.choose(view, "")
    for name in ("9", "job9"):
        waits = elsewhere.waiting(view, name)
        assert waits
        assert waits.id == "9"
    assert elsewhere.waiting(view, "job7") is None


@pytest.mark.parametrize(
    ("listed", "meant", "not_meant"),
    [
        ("25_3", ["25_3", "job25_3"], ["25_4", "2_3", "25_", "25_3 ", "26_3"]),
        ("25_[4-7,9%2]", ["25_4", "25_7", "25_9"], ["25_8", "25_3"]),
        ("25_[1-9:2]", ["25_1", "25_9"], ["25_2"]),
        ("25_N/A", [], ["25_0", "25_N/A"]),
        ("", [], ["_3"]),
    ],
)
def test_a_task_of_an_array_is_found_by_the_number_that_squeue_shows(
    listed: str, meant: list[str], not_meant: list[str]
) -> None:
    job = Job("30", "PENDING", "", "N/A", "/", "Priority", "7lbd", listed)
    for name in meant:
        assert job.is_meant_by(name), name
        assert job.task(name.removeprefix("job")) == name.removeprefix("job")
    for name in not_meant:
        assert not job.is_meant_by(name), name
    assert job.is_meant_by("30")


def test_a_session_in_an_arrays_task_is_chosen_by_that_number() -> None:
    state = SessionState(
        id="job28", user="u", host="n1", image="i", accel="kvm", network="tap", pid=1, folder="/t", job="28",
        array="25_3",
    )  # fmt: skip
    one = Elsewhere(state, Path("/r"))
    assert one.place == "on n1, job 25_3"
    for name in ("25_3", "job25_3", "28", "job28", ""):
        assert elsewhere.choose(View((one,), (), (), ""), name) is one
    assert elsewhere.choose(View((one,), (), (), ""), "25_4") is None


def test_the_end_of_a_jobs_output_is_told_without_what_a_terminal_would_obey(tmp_path: Path) -> None:
    output = tmp_path / "7.log"
    output.write_bytes(b"".join(b"line %d \x1b[2J\xff\n" % number for number in range(2000)))
    lines = following.tail(str(output))
    assert len(lines) == 15
    refusal = following.JobFailed("job 7 has ended", str(output), lines)
    assert str(refusal).count("\n  | line ") == 15
    assert "\x1b" not in str(refusal)
    assert following.tail(str(tmp_path / "none")) == []


def test_walltimes_are_as_sbatch_takes_them() -> None:
    assert [job_script.walltime(seconds) for seconds in (60, 61, 3600, 93600)] == [
        "0-00:01:00", "0-00:02:00", "0-01:00:00", "1-02:00:00",
    ]  # fmt: skip


# What is known from another node, by records and the scheduler together.


def left_word(register: Path, host: str, job: str, started: float, **more: Any) -> None:
    """A session's record whose process, this one, is alive."""
    place = register / f"job{job.replace('.', '-')}@{host}"
    place.mkdir()
    heartbeat.place(place / "mark")
    state = SessionState(
        id=f"job{job.replace('.', '-')}", user="u", host=host, image="i", accel="kvm", network="tap", pid=1,
        folder="/t", job=job, started=started, **more,
    )  # fmt: skip
    state.write(place / "session.json")


def test_a_record_is_believed_as_long_as_the_scheduler_has_its_job(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = tmp_path / "state" / "sessions"
    register.mkdir(mode=0o700, parents=True)
    left_word(register, "n1", "7", 100)
    left_word(register, "n2", "7", 200)
    left_word(register, "n1", "8", 100)
    left_word(register, "n1", "9", 100)
    rows = (
        "7|RUNNING|n2|N/A|/w|None|7_N/A|7lbd",
        "9|PENDING||N/A|/w|BeginTime|9_N/A|7lbd",
        "10|PENDING||N/A|/w|Priority|10_N/A|other",
    )
    lines = "\n".join("echo '" + row.replace("|", "\x1f") + "'" for row in rows)
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "squeue", lines)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    lookout = elsewhere.Lookout(sources.look_around(os.environ), Settings(state_dir=str(tmp_path / "state")))
    view = lookout.look([tmp_path / "none"])
    assert [(one.state.id, one.state.host) for one in view.sessions] == [("job7", "n2")], "the job's latest life"
    assert [job.id for job in view.waiting] == ["9"], "a job that was put back waits; others' jobs are not ours"
    gone = {path.name for path in lookout.sweep([tmp_path / "none"])}
    assert gone == {"job7@n1", "job8@n1", "job9@n1"}
    assert [path.name for path in register.iterdir()] == ["job7@n2"]
    program(tmp_path / "bin", "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    view = lookout.look([tmp_path / "none"])
    assert [one.state.id for one in view.sessions] == ["job7"], "who cannot be asked has not said no"
    assert "Unable to contact" in view.trouble


def test_two_queues_with_a_job_of_the_same_number_are_two_jobs(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    register = tmp_path / "state" / "sessions"
    register.mkdir(mode=0o700, parents=True)
    left_word(register, "n1", "7.0", 100, scheduler="condor", unique_job="s1@pool#7.0#100")
    left_word(register, "n2", "7.0", 200, scheduler="condor", unique_job="s2@pool#7.0#150")
    (tmp_path / "bin").mkdir()
    ad = {"ClusterId": 7, "ProcId": 0, "JobStatus": 2, "RemoteHost": "slot1@n2", "GlobalJobId": "s2@pool#7.0#150"}
    program(tmp_path / "bin", "condor_q", f"[ $1 = -json ] || exit 0; echo '{json.dumps([ad])}'")
    program(tmp_path / "bin", "condor_ssh_to_job", f'echo "$1 $2 $3" >> {tmp_path}/reached')
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    lookout = elsewhere.Lookout(sources.look_around(os.environ), Settings(state_dir=str(tmp_path / "state")))
    view = lookout.look([tmp_path / "none"])
    assert sorted((one.state.host, one.job is not None) for one in view.sessions) == [("n1", False), ("n2", True)]
    with pytest.raises(Refusal, match=r"job7-0@n1 \(on n1, job 7.0\), job7-0@n2|job7-0@n2 .*, job7-0@n1"):
        elsewhere.choose(view, "7.0")
    theirs = elsewhere.choose(view, "job7-0@n1")
    assert theirs
    with pytest.raises(Refusal, match="no more"):
        lookout.stop(theirs, now=False)
    assert not (tmp_path / "reached").exists()
    ours = elsewhere.choose(view, "job7-0@n2")
    assert ours
    lookout.stop(ours, now=False)
    assert (tmp_path / "reached").read_text().startswith("7.0 ")


def test_a_scheduler_that_does_not_answer_does_not_keep_a_job_in_the_others_queue(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bin").mkdir()
    program(tmp_path / "bin", "squeue", "echo 'slurm_load_jobs error: Unable to contact slurm controller' >&2; exit 1")
    ads = json.dumps([{"ClusterId": 7, "ProcId": 0, "JobStatus": 1, "JobBatchName": "7lbd", "TotalSubmitProcs": 1}])
    program(tmp_path / "bin", "condor_q", f"echo '{ads}'")
    program(tmp_path / "bin", "condor_rm", f"echo $1 > {tmp_path}/removed")
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    lookout = elsewhere.Lookout(sources.look_around(os.environ), Settings(state_dir=str(tmp_path / "state")))
    view = lookout.look([tmp_path / "none"])
    job = elsewhere.waiting(view, "7")
    assert job
    assert lookout.take_out(job, "7") == "7.0"
    assert (tmp_path / "removed").read_text() == "7.0\n"
