"""`doctor --site`: what it says of each thing that can be wrong in a site's file."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import MakeQcow2
from sevenlbd.config import sources
from sevenlbd.images.signing import signature
from sevenlbd.outside.checks import servers, site_check
from sevenlbd.outside.checks.doctor import Finding
from sevenlbd.outside.node import filesystems
from sevenlbd.outside.owner import logged_in

Examine = Callable[[str], list[Finding]]


@pytest.fixture
def examine(tmp_path: Path, make_qcow2: MakeQcow2) -> Examine:
    """What is said of a site that has the image `win` beside its SIF, and this file."""
    image = tmp_path / "images" / "win"
    image.mkdir(parents=True)
    make_qcow2(image / "disk.qcow2")
    (image / "image.toml").write_text('schema = 1\nmemory = "2G"\n')
    (tmp_path / "home").mkdir()
    tmp_path.chmod(0o755)
    here = sources.look_around(
        {"APPTAINER_CONTAINER": str(tmp_path / "7lbd.sif"), "HOME": str(tmp_path / "home"), "PATH": "/nowhere"}
    )

    def call(text: str) -> list[Finding]:
        (tmp_path / "7lbd.toml").write_text(text)
        return site_check.examine(here)

    return call


def wrong(findings: list[Finding]) -> list[str]:
    """What is not right, but for what no folder of a test can be: seen from other nodes."""
    return [f"{found.check}: {found.text}" for found in findings if found.level != "ok" and found.check != "state_dir"]


def test_a_site_without_a_file_is_told_how_to_make_one(tmp_path: Path) -> None:
    here = sources.look_around({"APPTAINER_CONTAINER": str(tmp_path / "7lbd.sif")})
    (found,) = site_check.examine(here)
    assert (found.check, found.level) == ("site file", "warning")
    assert f"7lbd render site > {tmp_path}/7lbd.toml" in found.mend


@pytest.fixture
def servers_are(monkeypatch: pytest.MonkeyPatch) -> dict[int, str]:
    """How servers answer, by their ports; without a word they are well."""
    known: dict[int, str] = {}

    async def answer(address: str, port: int) -> str:
        return known.get(port, "fine")

    monkeypatch.setattr(servers, "_try", answer)
    return known


def test_each_server_of_the_ways_out_is_tried(examine: Examine, servers_are: dict[int, str]) -> None:
    servers_are |= {2: "refused", 3: "refused", 4: "silent", 6: "refused"}
    findings = examine("""
        egress_allow = [
            "tcp://192.0.2.1:1", "tcp://192.0.2.1:1-3", "tcp://192.0.2.1:4", "tcp://192.0.2.1:2-3", "udp://192.0.2.1:5",
            "tcp://lic.example.edu:6", "https://portal.invalid", "https://*.example.org",
        ]
        egress_hosts = ["lic.example.edu=192.0.2.9", "portal.example.org=192.0.2.8", "old.example.edu=192.0.2.7"]
    """)
    said = [(found.level, found.text) for found in findings if found.check == "ways out"]
    assert said[-7:] == [
        ("ok", "tcp://192.0.2.1:1-3: fine: 192.0.2.1 port 1; refused: 192.0.2.1 port 2-3"),
        ("warning", "tcp://192.0.2.1:4: silent: 192.0.2.1 port 4"),
        ("warning", "tcp://192.0.2.1:2-3: refused: 192.0.2.1 port 2-3"),
        ("ok", "udp://192.0.2.1:5: not tried, as a datagram without an answer says nothing"),
        ("warning", "tcp://lic.example.edu:6: refused: 192.0.2.9 port 6"),
        ("warning", f"https://portal.invalid: portal.invalid: {said[-2][1].rpartition(': ')[2]}"),
        ("warning", "`egress_hosts`: old.example.edu is in no entry of egress_allow, so it is not used"),
    ]
    assert all(found.mend for found in findings if found.level == "warning" and found.check == "ways out")


def test_a_server_that_is_there_is_told_from_one_that_is_not() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        assert asyncio.run(servers._try("127.0.0.1", port)) == "fine"
    assert asyncio.run(servers._try("127.0.0.1", port)) == "refused"


def test_a_file_that_is_right_is_said_to_be(examine: Examine, servers_are: dict[int, str]) -> None:
    text = """
        image = "win"
        portals = ["https://ondemand.example.edu"]
        egress_allow = ["tcp://license.example.edu:27000-27001", "https://*.example.edu"]
        egress_hosts = ["license.example.edu=192.0.2.9"]
        locked = ["accel", "web"]
        [ondemand]
        cluster = "blue"
        images = ["win=Windows"]
        web = "0.0.0.0:0"
        sizes = [{cpus = 1, memory = "3G"}]
        """
    findings = examine(text)
    said = [f"{found.check}: {found.text}" for found in findings]
    assert wrong(findings) == ["scheduler: sbatch cannot be called from here, so no job was tried"], (
        "the SIF has no Slurm, which is told"
    )
    assert "keys: all 9 that are set are known, with values that they can have" in said
    assert "locked: users cannot change accel, web" in said
    assert any(line.startswith("image win: ") and "2.0 GiB for the guest" in line for line in said)
    assert "ways out: license.example.edu: 192.0.2.9" in said
    assert "ways out: 2 ports of servers, 1 patterns of the proxy" in said
    assert "portal: https://ondemand.example.edu; clusters: blue" in said


def test_all_that_is_wrong_is_told_at_once(examine: Examine) -> None:
    text = """
        image = "win"
        memroy = "8G"
        accel = "xen"
        locked = ["acel"]
        [slurm]
        partiton = "x"
        time = "soon"
        cpus = 2
        [slrum]
        x = 1
        """
    told = [finding for finding in examine(text) if finding.check == "keys"]
    assert {finding.level for finding in told} == {"error"}
    assert all(finding.mend for finding in told)
    for number, words in enumerate(("`memroy`", "`accel`", "`locked`", "`slrum`", "`partiton`", "`time`")):
        assert words in told[number].text
    assert len(told) == 6


def test_keys_that_do_not_fit_together_are_told_beside_those_that_are_wrong_by_themselves(
    examine: Examine, tmp_path: Path
) -> None:
    text = '[ondemand]\nclusster = "blue"\nhours = 6\nmax_hours = 5\n[[ondemand.sizes]]\ncores = 2'
    told = [finding.text for finding in examine(text) if finding.check == "keys"]
    assert len(told) == 3
    assert "`clusster` is not a key of this table; did you mean `cluster`?" in told[0]
    assert "`sizes.0.cores` is not a key" in told[1]
    assert "`hours` = 6 is more than `max_hours` = 5" in told[2]
    told = [finding.text for finding in examine("slurm = 7\n[ondemand]\nhours = 10\nmax_hours = 12\ncluser = 1")]
    assert len([text for text in told if text.startswith(f"{tmp_path}/7lbd.toml: ")]) == 2, "10 of 12 hours are right"


@pytest.mark.parametrize(
    ("text", "level", "says"),
    [
        ("image = [", "error", "site file: .* is not TOML"),
        ('name = "one"', "warning", "keys: `name` is one session's affair"),
        ('session_dir = "/scratch/7lbd"', "error", "keys: `session_dir` = /scratch/7lbd: one folder cannot be"),
        ("require_signed = true", "error", "keys: `require_signed` without `trusted_keys`"),
        ('signal_lead = "20s"', "warning", r"keys: `signal_lead` \(20 s\) is less than `stop_grace` \(25 s\)"),
        ('trusted_keys = ["secret"]', "error", "trusted_keys: .*`secret` is not a public key"),
        ('image = "vista"', "error", "image vista: image `vista` is neither a file here"),
        ('image_dirs = ["/no/images"]', "error", "image_dirs: /no/images is not a folder"),
        ('image_dirs = ["/root/images"]', "error", "image_dirs: /root/images is not a folder"),
        ('image_cache = "/root/cache"', "warning", "image_cache: /root/cache is not a folder"),
        ('[ondemand]\nshare_roots = ["/root/x"]', "error", "shares: .* /root/x is not a folder"),
        ('state_dir = "/root/state"', "warning", "state_dir: .* /root is not writable for you"),
        ('shares = ["data"]', "error", "shares: share `data`: is not NAME=PATH"),
        ('shares = ["data=/no/data"]', "error", "shares: share `data`: /no/data does not exist here"),
        ('web = "everywhere"', "error", "ways in: `web` = everywhere"),
        ('web = "192.0.2.200:20000"', "error", "ways in: .* has no such address"),
        ('portals = ["ondemand.example.edu"]', "error", "ways in: `portals`: ondemand.example.edu is not an origin"),
        ('web_certificate = "/no/cert"', "error", "ways in: `web_certificate` is set but `web_key` is not"),
        ('web_certificate = "/no/cert"\nweb_key = "/no/key"', "error", "web_certificate: /no/cert is not readable"),
        ('egress_allow = ["ftp://x:1"]', "error", "ways out: .*`ftp` is none of tcp, udp"),
        ('egress_allow = ["tcp://169.254.100.9:27000"]', "error", "ways out: .* is on the guest's own link"),
        ('egress_allow = ["tcp://license.invalid:27000"]', "error", "ways out: egress_allow: license.invalid: "),
        ('egress_log = "/no/log"\negress_allow = ["tcp://192.0.2.1:1"]', "error", "ways out: `egress_log` = /no/log"),
        ('image_cache = "/no/cache"', "warning", "image_cache: /no/cache is not a folder here"),
        ('state_dir = "/proc/7lbd"', "warning", "state_dir: .* is not writable for you"),
        ('[slurm]\nbinds = ["/no/bind"]', "warning", r"binds: \[slurm\] `binds`: /no/bind is not on"),
        ('[slurm]\nsif = "/no/7lbd.sif"', "warning", r"binds: \[slurm\] `sif`: /no/7lbd.sif is not on"),
        ('image = "win"\n[slurm]\nmemory = "2G"', "error", r"image win: \[slurm\] gives 2.0 GiB; the guest takes 2.0"),
        ('image = "win"\nmemory = "4G"\n[slurm]\nmemory = "3G"', "error", r"image win: .*the guest takes 4.0 GiB"),
        ('[ondemand]\nshare_roots = ["/no/root"]', "error", r"shares: \[ondemand\] `share_roots`: /no/root is not"),
        ('[ondemand]\nweb = "127.0.0.1:0"', "error", "portal: .* cannot reach that"),
        ("[ondemand]\nhours = 9", "error", r"keys: .*`hours` = 9 is more than `max_hours` = 8"),
        ('image = "win"\n[ondemand]\nsizes = [{memory = "1G"}]', "error", r"image win: \[ondemand\] size .* gives 1.0"),
    ],
)
def test_what_is_wrong_is_told_with_its_cure(examine: Examine, text: str, level: str, says: str) -> None:
    found = [finding for finding in examine(text) if re.match(says, f"{finding.check}: {finding.text}")]
    assert [finding.level for finding in found] == [level]
    assert found[0].mend


def test_a_host_that_is_only_half_found_is_a_warning(examine: Examine, servers_are: dict[int, str]) -> None:
    found = 'egress_allow = ["tcp://lic.example.edu:1"]\negress_hosts = ["lic.example.edu=127.0.0.1"'
    assert wrong(examine(f"{found}]")) == [
        "ways out: egress_allow: lic.example.edu: egress_hosts says 127.0.0.1, which in the guest is the guest itself; "
        "it cannot be reached from the guest"
    ]
    told = [one for one in examine(f'{found}, "lic.example.edu=192.0.2.1"]') if one.check == "ways out"]
    assert [one.level for one in told] == ["warning", "ok", "ok", "ok"]


def test_an_image_that_asks_for_a_way_out_that_there_is_not_is_told(
    examine: Examine, tmp_path: Path, servers_are: dict[int, str]
) -> None:
    description = tmp_path / "images" / "win" / "image.toml"
    description.write_text(description.read_text() + 'egress = ["tcp://192.0.2.1:27000", "tcp://192.0.2.1:27001"]\n')
    told = wrong(examine('image = "win"\negress_allow = ["tcp://192.0.2.1:27000"]'))
    assert told == ["image win: it asks for the way out `tcp://192.0.2.1:27001`, which is not in egress_allow"]


def test_a_port_that_is_taken_is_told(examine: Examine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"ways in: `web`: 127.0.0.1, port {port} is in use on this node" in wrong(
            examine(f'web = "127.0.0.1:{port}"')
        )


def test_a_file_that_others_may_write_locks_nothing(examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "7lbd.toml").touch()
    (tmp_path / "7lbd.toml").chmod(0o666)
    assert any("7lbd.toml: others than its owner may write to it" in text for text in wrong(examine("")))
    (tmp_path / "7lbd.toml").chmod(0o644)
    tmp_path.chmod(0o777)
    assert any(f"{tmp_path} is writable for everybody" in text for text in wrong(examine("")))
    tmp_path.chmod(0o1777)
    assert wrong(examine("")) == []


def test_a_file_that_users_cannot_read_is_told(examine: Examine, tmp_path: Path) -> None:
    (tmp_path / "7lbd.toml").touch()
    (tmp_path / "7lbd.toml").chmod(0o600)
    assert any("7lbd.toml is not for everybody to read (mode 0600)" in text for text in wrong(examine("")))
    (tmp_path / "7lbd.toml").chmod(0o644)
    tmp_path.chmod(0o750)
    assert any(f"{tmp_path} is not for everybody to read (mode 0750)" in text for text in wrong(examine("")))


def test_an_unsigned_image_is_told_where_signatures_are_required(examine: Examine) -> None:
    _, public = signature.generate()
    told = wrong(examine(f'image = "win"\nrequire_signed = true\ntrusted_keys = ["{public}"]'))
    assert len(told) == 1
    assert "the image is not signed" in told[0]


def test_file_systems_are_told_apart(tmp_path: Path) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        f"23 22 0:40 / {tmp_path}/home rw - autofs systemd-1 rw\n"
        f"24 23 0:41 / {tmp_path}/home rw,relatime shared:3 - nfs4 server.example.edu:/home rw\n"
        f"25 22 0:42 / {tmp_path}/my\\040work rw - fuse.sshfs x rw\n"
    )
    (tmp_path / "home" / "ann").mkdir(parents=True)
    (tmp_path / "my work").mkdir()
    assert filesystems.kind(tmp_path, mounts) == "ext4"
    assert filesystems.kind(tmp_path / "home" / "ann", mounts) == "nfs4"
    assert filesystems.kind(tmp_path / "my work", mounts) == "fuse.sshfs"
    shared = [name for name in ("", "home/ann", "my work") if filesystems.is_shared(tmp_path / name, mounts)]
    assert shared == ["home/ann", "my work"]
    assert filesystems.kind(Path("/proc")) == "proc"


def test_whether_a_borrowed_machine_is_lent_now_is_told_and_who_is_seen(
    examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logged_in, "node_root", lambda: tmp_path / "node")
    owner = "[owner]\nwhen_used = []\n"
    assert "owner: not lent now: nobody can tell who is logged in, and then it is lent never" in wrong(examine(owner))
    sessions = tmp_path / "node" / "run/systemd/sessions"
    sessions.mkdir(parents=True)
    told = {found.check: found for found in examine(owner)}["owner"]
    assert (told.level, told.text) == ("ok", "lent now: nobody is logged in, and then it is lent daily 00:00-24:00")
    (sessions / "1").write_text("USER=ada\nCLASS=user\nTYPE=x11\n")
    told = {found.check: found for found in examine(owner)}["owner"]
    assert told.text == "not lent now: ada (x11) is logged in, and then it is lent never"
    assert "owner" not in {found.check for found in examine("")}


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("cat > {0}/job", "the job of [condor]: condor_submit takes it"),
        (
            "cat > {0}/job; echo 'ERROR: on line 9' >&2; exit 1",
            "the job of [condor] would be refused: ERROR: on line 9",
        ),
        ("", "`condor_submit` cannot be reached from inside the container, so no job was tried"),
    ],
)
def test_condor_submit_is_asked_with_a_job_that_is_only_tried(
    examine: Examine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str, said: str
) -> None:
    if answer:
        program = tmp_path / "bin" / "condor_submit"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\n[ "$1" = -dry-run ] || exit 9\n{answer.format(tmp_path)}\n')
        program.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    findings = examine('image = "win"\n[condor]\nrequirements = "SevenLbdKvm"\n')
    assert said in [found.text for found in findings if found.check == "scheduler"]
    if answer:
        assert "requirements = (SevenLbdKvm) && stringListMember" in (tmp_path / "job").read_text()
