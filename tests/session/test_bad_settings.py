"""Options, variables, settings files and names that are wrong: the offender is named as its user spelt it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import harness
import pytest
from conftest import Refuse, StartSession
from strange import NO_SESSION, RESOURCES, USAGE, boots, node, refusal


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("run --memroy 4G", ["`--memroy`", "did you mean `--memory`", "7lbd run --help"]),
        ("rnu", ["`rnu` is not a verb", "did you mean `run`"]),
        ("run now", ["`now`"]),
        ("--imgae=x", ["`--imgae`", "did you mean `--image`"]),
        ("run --memory", ["--memory", "expected one argument"]),
        ("run --memory lots", ["`--memory`", "lots", "for instance 4G"]),
        ("run --memory=-4G", ["`--memory`", "-4G"]),
        ("run --cpus two", ["`--cpus`", "two"]),
        ("run --for soon", ["`--for`", "soon", "HH:MM:SS"]),
        ("run --for -5", ["`--for`", "-5"]),
        ("run --accel xen", ["--accel", "xen", "kvm"]),
        ("run --ready-timeout 1y", ["`--ready-timeout`", "1y"]),
        ("status --jsn", ["`--jsn`", "did you mean `--json`"]),
        ("config --memory 4G", ["`--memory`", "7lbd config"]),
    ],
)
def test_a_wrong_command_line_is_refused(line: str, says: list[str]) -> None:
    refusal(harness.run(*line.split()), USAGE, says)


@pytest.mark.parametrize(
    ("variable", "says"),
    [
        ("SEVENLBD_MEMROY=4G", ["`SEVENLBD_MEMROY`", "did you mean"]),
        ("SEVENLBD_MEMORY=big", ["`SEVENLBD_MEMORY`", "big"]),
        ("SEVENLBD_WIDE_LINKS=true", ["`SEVENLBD_WIDE_LINKS`", "site"]),
        ("SEVENLBD_LOCKED=", ["`SEVENLBD_LOCKED`", "site"]),
        ("SEVENLBD_HOME_SHARE=perhaps", ["`SEVENLBD_HOME_SHARE`", "perhaps"]),
    ],
)
def test_a_wrong_variable_is_refused(refuse: Refuse, variable: str, says: list[str]) -> None:
    name, _, value = variable.partition("=")
    refuse(code=USAGE, says=says, env={name: value})


@pytest.fixture
def home(work: Path) -> Iterator[Path]:
    """A home folder of its own, as --home shows it."""
    folder = work / "home"
    (folder / ".config" / "7lbd").mkdir(parents=True, exist_ok=True)
    yield folder
    (folder / ".config" / "7lbd" / "7lbd.toml").unlink(missing_ok=True)


BROKEN = [
    ("memory = ", ["is not TOML"]),
    ("memroy = '4G'", ["`memroy`", "did you mean `memory`"]),
    ("memory = []", ["`memory` = []"]),
    ("cpus = 'two'", ["`cpus`", "two"]),
    ("accel = 1979-05-27", ["`accel`", "1979"]),
    ("shares = 7", ["`shares` = 7"]),
    ("time_limit = inf", ["`time_limit`"]),
    ("\udcff", ["is not TOML"]),
]


@pytest.mark.parametrize(("text", "says"), BROKEN)
def test_a_wrong_users_file_is_refused(refuse: Refuse, home: Path, text: str, says: list[str]) -> None:
    file = home / ".config" / "7lbd" / "7lbd.toml"
    file.write_text(text, errors="surrogateescape")
    refuse(code=USAGE, says=[str(file), *says], options=["--home", str(home)])


@pytest.fixture
def site_file(site: Path) -> Iterator[Path]:
    """The settings file beside a site's SIF."""
    file = site / "7lbd.toml"
    yield file
    file.unlink()


@pytest.mark.parametrize(
    ("text", "says"), [*BROKEN[:3], ('locked = ["acell"]', ["`locked`", "`acell`", "did you mean `accel`"])]
)
def test_a_wrong_sites_file_is_refused(refuse: Refuse, site: Path, site_file: Path, text: str, says: list[str]) -> None:
    site_file.write_text(text)
    refuse(code=USAGE, says=[str(site_file), *says], sif=site / "7lbd.sif")


def test_what_the_site_locks_nobody_changes(refuse: Refuse, site: Path, site_file: Path, home: Path) -> None:
    site_file.write_text('accel = "tcg"\nlocked = ["accel", "cpus"]\n')
    sif = site / "7lbd.sif"
    refuse("--accel", "kvm", code=USAGE, says=["command line: `--accel`", "site"], sif=sif)
    refuse(code=USAGE, says=["`SEVENLBD_CPUS`", "site"], env={"SEVENLBD_CPUS": "1"}, sif=sif)
    users = home / ".config" / "7lbd" / "7lbd.toml"
    users.write_text("cpus = 1\n")
    refuse(code=USAGE, says=[str(users), "`cpus`"], options=["--home", str(home)], sif=sif)
    shown = harness.run("config", "--explain", sif=sif).stdout
    assert f"from: {site_file}, locked by the site" in shown


def test_a_sites_file_that_cannot_be_read_is_not_passed_over(refuse: Refuse, site: Path, site_file: Path) -> None:
    """Else its locks would hold for nobody."""
    site_file.touch(mode=0)
    refuse(code=USAGE, says=[str(site_file), "Permission denied"], sif=site / "7lbd.sif")


@pytest.mark.parametrize("name", ["A", "a/b", "..", "-a", "x" * 32, "failed-a", "a b", "\u00e4", "a\n", "\x1b[2J"])
def test_a_name_that_cannot_be_a_folders_is_refused(refuse: Refuse, blank_image: Path, name: str) -> None:
    says = ["cannot be a session's name", "lower-case letters"]
    refuse("--image", str(blank_image), f"--name={name}", code=USAGE, says=says)


def test_a_name_that_is_taken_is_refused_and_the_owner_of_it_lives_on(
    start: StartSession, blank_image: Path, base: Path
) -> None:
    session = start("--image", str(blank_image), "--name", "mine")
    session.wait_phase("booting")
    asked = ("run", "--image", str(blank_image), "--name", "mine", "--session-dir", str(base))
    refusal(harness.run(*asked), USAGE, ["`mine`", "running already", "7lbd stop mine"])
    boots(session)


def test_a_base_that_is_somebody_elses_a_link_or_open_is_refused_by_every_verb(
    refuse: Refuse, blank_image: Path, work: Path
) -> None:
    """In /tmp anybody can be there first, and wait for a password."""
    real, link, opened, file = (work / name for name in ("real", "link", "opened", "file"))
    real.mkdir(mode=0o700)
    link.symlink_to(real)
    opened.mkdir()
    opened.chmod(0o777)
    file.touch()
    for place, why in ((Path("/tmp"), "not a folder of yours"), (link, "not a folder of yours"),
                       (file, "not a folder of yours"), (opened, "others may enter it")):  # fmt: skip
        asked = ("--image", str(blank_image), "--session-dir", str(place))
        refuse(*asked, code=RESOURCES, says=[str(place), why])
    for verb in ("status", "stop", "connect", "gc"):
        refusal(harness.run(verb, "--session-dir", str(link)), RESOURCES, [str(link), "not a folder of yours"])
    assert not list(real.iterdir())


def test_what_waits_in_tmp_under_our_name_stops_nobody(start: StartSession, work: Path, blank_image: Path) -> None:
    """The default place is 7lbd-UID in TMPDIR. A link stands for what a stranger can put there."""
    trap = work / "trap"
    trap.mkdir()
    usual = trap / f"7lbd-{os.getuid()}"
    usual.symlink_to(work)
    there = {"TMPDIR": str(trap)}
    session = start("--image", str(blank_image), "--session-dir", "", env=there)
    session.wait_phase("booting")
    assert session.folder.parent.name.startswith(f"{usual.name}-")
    assert session.id in harness.run("status", env=there).stdout
    usual.unlink()
    harness.run("stop", env=there)
    session.wait_end()
    assert not list(trap.iterdir())


def test_gc_in_a_users_own_folder_removes_nothing_of_the_users(work: Path) -> None:
    thesis = work / "own" / "thesis"
    thesis.mkdir(parents=True)
    thesis.parent.chmod(0o700)
    (thesis / "lock").write_text("mine")
    assert harness.run("gc", "--all", "--session-dir", str(thesis.parent)).stdout.startswith("0 removed")
    assert (thesis / "lock").exists()


@pytest.mark.parametrize(
    ("place", "says"),
    [
        ("{}/" + "d" * 100, ["too long for sockets", "--session-dir"]),
        ("/proc/7lbd", ["/proc/7lbd", "--session-dir"]),
        ("/nonexistent/7lbd", ["/nonexistent/7lbd", "--session-dir"]),
        ("/etc/passwd/7lbd", ["/etc/passwd/7lbd", "--session-dir"]),
        ("{}/a%sb", ["a%sb", "`%`"]),
        ("{}/a\nb", ["not printable"]),
        ("{}/" + "d" * 300, ["ddd"]),
        ("~nobody-here/x", ["~nobody-here"]),
    ],
)
def test_a_place_where_no_session_can_live_is_refused(
    refuse: Refuse, blank_image: Path, work: Path, place: str, says: list[str]
) -> None:
    cwd = work / "cwd"
    cwd.mkdir(exist_ok=True)
    cwd.chmod(0o500)
    where = place.format(work)
    refuse("--image", str(blank_image), "--session-dir", where, code=RESOURCES, says=says, cwd=cwd)


def test_a_place_with_a_strange_name_is_fine(start: StartSession, blank_image: Path, work: Path) -> None:
    place = work / "p ä,ö;$(x)'\"=:"
    boots(start("--image", str(blank_image), "--session-dir", str(place)))
    assert not place.exists()


def test_a_tmpdir_that_is_not_there_is_no_obstacle(start: StartSession, blank_image: Path, work: Path) -> None:
    """Sites set it to a job's own folder, which the container may not show."""
    changes = f"mkdir -p {work}/tmp; mount --bind {work}/tmp /var/tmp"
    session = start(
        "--image", str(blank_image), "--session-dir", "", env={"TMPDIR": "/nonexistent/job"}, prefix=node(changes)
    )
    assert session.folder.parent == Path(f"/tmp/7lbd-{os.getuid()}")
    boots(session)


def test_asking_for_a_session_that_is_not_there_is_refused(base: Path) -> None:
    for verb in ("stop", "connect"):
        where = ("--session-dir", str(base))
        refusal(harness.run(verb, *where), NO_SESSION, ["no session of yours is running", str(base), "7lbd run"])
    refusal(harness.run("stop", "ghost", "--session-dir", str(base)), NO_SESSION, ["no session"])
