"""What a round of faults does and says: a fault that met nobody is told, a full disk is full, and idle runs fail."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "session"))

from harness import Session

from tests.faults import deeds, draws, playing, stand_in
from tests.faults.deeds import Victim
from tests.faults.draws import Fault
from tests.faults.ground import Ground


@pytest.fixture
def victim(tmp_path: Path) -> Iterator[Victim]:
    """A process that looks as a session's smbd does, in its folder."""
    call = ["bash", "-c", "exec -a sbin/smbd sleep 60"]
    process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    session = Session(process, tmp_path)
    session.events.append({"event": "phase", "phase": "booting"})
    while b"smbd" not in Path(f"/proc/{process.pid}/cmdline").read_bytes():
        time.sleep(0.01)
    try:
        yield Victim(session, Ground(tmp_path, 0, small=False), tmp_path / "0.sif", tmp_path / "image")
    finally:
        process.kill()
        process.communicate()


def fault(deed: str, role: str = "smbd") -> Fault:
    return Fault(0, "booting", 0.0, deed, role, 0.1)


def test_what_was_done_is_recorded_with_where_it_fell(victim: Victim) -> None:
    victim.suffer(fault("kill"))
    assert victim.session.process.wait(5) == -signal.SIGKILL
    (done,) = victim.record
    assert (done.missed, done.phase) == ("", "booting")
    assert 0 <= done.seconds < 5


@pytest.mark.parametrize(
    ("one", "says"),
    [
        (fault("kill", "qemu"), "no qemu"),
        (fault("stop", "relay"), "no relay"),
        (fault("no-sif"), "gone already"),
        (fault("no-image"), "gone already"),
        (fault("no-folder"), "no folder"),
        (fault("full-disk"), "small disk"),
    ],
)
def test_a_fault_that_met_nobody_is_told(victim: Victim, one: Fault, says: str) -> None:
    victim.suffer(one)
    assert says in victim.record[0].missed


def test_all_of_a_session_stands_still_and_goes_on(victim: Victim) -> None:
    victim.suffer(fault("stop-all"))
    assert victim.record[0].missed == ""
    assert victim.session.process.poll() is None
    state = Path(f"/proc/{victim.session.process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    assert state != "T"


def test_only_a_full_disk_is_let_pass(tmp_path: Path) -> None:
    with deeds.suppress_full():
        raise OSError(28, "No space left on device")
    with pytest.raises(PermissionError), deeds.suppress_full():
        raise PermissionError(13, "no")
    with pytest.raises(deeds.Missed):
        deeds._fill_up(tmp_path / "none" / "filler")


def row(**more: object) -> playing.Row:
    return {"failed": "", "acknowledged": 3, "heard": 1, "silent": 0, "deeds": [], **more}


def test_a_run_in_which_no_client_was_heard_fails() -> None:
    assert playing.summary([row() for _ in range(9)], 9.0)[1]
    silent = [row(acknowledged=0, heard=0, silent=1) for _ in range(6)]
    said, is_good = playing.summary([*silent, row()], 9.0)
    assert not is_good
    assert "6 of 7 clients got none" in said
    assert not playing.summary([row(failed="it broke")], 9.0)[1]


def test_faults_that_met_somebody_are_counted_by_phase() -> None:
    met, missed = {"missed": "", "phase": "ready"}, {"missed": "there is no smbd", "phase": "stopping"}
    said, _ = playing.summary([row(deeds=[met, missed])], 1.0)
    assert "1 of 2 faults met somebody, in ready" in said


def test_every_process_and_every_phase_is_drawn_and_what_it_needs_is_there() -> None:
    rounds = [draws.of(seed) for seed in range(2000)]
    faults = [one for drawn in rounds for one in drawn.faults]
    assert {(one.phase, one.role) for one in faults if one.deed == "kill"} == {
        (phase, role) for phase in draws.PHASES for role in draws.ROLES
    }
    assert any(drawn.has_role(*draws.WAYS_OUT) for drawn in rounds)
    assert any(drawn.has_role(draws.TPM) for drawn in rounds)


def test_the_stand_in_answers_as_a_guest_does(tmp_path: Path) -> None:
    pem = tmp_path / "guest.pem"
    call = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=guest", "-days", "2"]
    subprocess.run([*call, "-keyout", str(pem), "-out", str(pem)], check=True, capture_output=True)
    runtime = Path(__file__).parents[3] / "runtime"

    async def ask() -> tuple[str, str]:
        server = await stand_in.serve("127.0.0.1", 0, str(pem))
        port = server.sockets[0].getsockname()[1]
        code = "import asyncio, sys; sys.path.insert(0, sys.argv[1]); from sevenlbd.inside.vm import rdp_probe as m\n"
        code += "w = '127.0.0.1', int(sys.argv[2])\n"
        code += "print(asyncio.run(m.answers(*w)), len(asyncio.run(m.certificate(*w))) > 100)"
        asked = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-c", code, str(runtime), str(port), stdout=subprocess.PIPE
        )
        told, _ = await asked.communicate()
        server.close()
        answers, certificate = told.decode().split()
        return answers, certificate

    assert asyncio.run(ask()) == ("True", "True")


def test_a_full_disk_is_the_small_one_and_is_seen_from_here(tmp_path: Path) -> None:
    ground = Ground(tmp_path, 0, small=True)
    assert ground.disk is None, "nothing is filled before it is there"
    done = subprocess.run(
        [*ground.prefix(0), "sh", "-c", f"mkdir {ground.base}/session"], capture_output=True, text=True, check=False
    )
    try:
        assert done.returncode == 0, done.stderr
        assert ground.left() == ["session"], "what is left on it is seen when all who used it have ended"
        assert not list(ground.base.iterdir())
        disk = ground.disk
        assert disk
        deeds._fill_up(disk / "filler")
        with pytest.raises(OSError, match="No space"):
            (disk / "more").write_bytes(bytes(4096))
        (disk / "filler").unlink()
    finally:
        ground.close()
