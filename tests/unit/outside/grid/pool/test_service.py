"""The service as machines meet it: enrolment, tokens renewed, stolen and revoked, images by pieces, workers' tokens."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pool_service
import pytest
from pool_service import RunningService
from sevenlbd.base import atomic
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.outside.grid import membership, protocol
from sevenlbd.outside.grid.client import MachineBarred, PoolClient, PoolDeclined, PoolGone, PoolNotNow
from sevenlbd.outside.grid.coordinator.happenings import Happening, ImagesTold, PoolTold
from sevenlbd.outside.grid.coordinator.pool_talk import PoolTalk
from sevenlbd.outside.grid.machine_report import HeldImage, Owner, Report, RunningVm, VmPhase
from sevenlbd.outside.grid.membership import Membership
from sevenlbd.outside.grid.pool import codes, machine_api, machine_keys, members, pool_folder
from sevenlbd.outside.grid.protocol import Demand, KeyOrder, WorkerOrder

DISK = bytes(range(256)) * 4096
REPORT = Report(
    Owner.ABSENT,
    lends=True,
    slots=2,
    vms=(RunningVm(1, "win11", "1", VmPhase.BUSY, 60.0),),
    images=(HeldImage("win11", "1", 5),),
    fetched=1000,
    evictions=3,
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images") / "images"
    pool_service.publish(folder, "win11", "1", DISK)
    pool_service.publish(folder, "plain", "1", b"disk", signed=False)
    return folder


@pytest.fixture
def pool(tmp_path: Path, repository: Path) -> Iterator[RunningService]:
    with pool_service.serving_pool(tmp_path, repository=repository) as service:
        yield service


def renewed(machine: PoolClient) -> str:
    return (machine._place / "token").read_text()


def test_a_machine_enrols_and_is_told_what_is_wanted(pool: RunningService) -> None:
    pool.queue.printed = "win11 2 4096 1048576\nwin11 2 4096 1048576\nwin11 1 100 undefined\n"
    told = pool.machine("lab-01").waiting()
    assert told.demands == (Demand("win11", 2, 2, 4 << 30, 1 << 30), Demand("win11", 1, 1, 100 << 20, 0))
    assert told.pool == protocol.PoolAddress("pool.example.org:9618", "example.org")


def test_a_code_opens_once_also_for_many_at_a_time(pool: RunningService) -> None:
    secret, got = codes.make(pool.state, 60.0), []

    def attempt() -> None:
        try:
            got.append(pool.enrol(secret, "lab").status)
        except MachineBarred as barred:
            got.append(barred.what)

    several = [threading.Thread(target=attempt) for _ in range(5)]
    for one in several:
        one.start()
    for one in several:
        one.join()
    assert got.count(200) == 1
    assert sum("opens nothing" in str(one) for one in got) == 4


def test_a_code_that_is_too_old_opens_nothing(pool: RunningService) -> None:
    with pytest.raises(MachineBarred, match="has expired"):
        pool.enrol(codes.make(pool.state, -1.0), "lab")
    assert codes.waiting(pool.state) == 0


def test_two_machines_of_one_name_have_two(pool: RunningService) -> None:
    assert pool.machine("lab").member.machine == "lab"
    assert pool.machine("lab").member.machine == "lab-2"


def test_the_token_is_another_each_time_and_one_whose_answer_was_lost_stays_good(pool: RunningService) -> None:
    machine = pool.machine("lab")
    first = renewed(machine)
    machine.waiting()
    second = renewed(machine)
    assert first != second
    # The answer that had the next one never came.
    (machine._place / "token").write_text(second)
    machine.waiting()
    (machine._place / "token").write_text(second)
    machine.waiting()
    assert machine.waiting()


def test_a_stolen_token_bars_both_and_says_so(pool: RunningService) -> None:
    machine = pool.machine("lab")
    machine.waiting()
    stolen = renewed(machine)
    machine.waiting()
    machine.waiting()
    status, _, body = pool.ask("GET", "/v1/waiting", Authorization=f"Bearer {stolen.strip()}")
    assert status == 401
    assert "used twice" in json.loads(body)["why"]
    with pytest.raises(MachineBarred, match=r"revoked: its token was used twice, from 127\.0\.0\.1"):
        machine.waiting()


def test_a_thief_who_comes_first_is_found_when_the_machine_does(pool: RunningService) -> None:
    machine, thief = pool.machine("lab"), pool.folder / "thief"
    membership.write(thief, machine.member, renewed(machine).strip())
    PoolClient(thief).waiting()
    PoolClient(thief).waiting()
    with pytest.raises(MachineBarred, match="used twice"):
        machine.waiting()
    with pytest.raises(MachineBarred, match="used twice"):
        PoolClient(thief).waiting()


def test_a_request_that_was_on_its_way_when_the_token_was_renewed_is_no_theft(pool: RunningService) -> None:
    known = pool.parts.members
    name, first = known.enrol("slow", "10.0.0.1")
    began = time.monotonic()
    second = known.admit(first, opened=began).renewed
    known.admit(second, opened=time.monotonic())
    with pytest.raises(members.Barred) as caught:
        known.admit(first, opened=began)
    assert caught.value.status == 409
    assert not members.why_revoked(pool.state, known.all()[0]), name


def test_a_revoked_machine_is_barred_at_once_and_may_enrol_anew(pool: RunningService) -> None:
    machine = pool.machine("lab")
    ticket = machine.images().ticket
    members.revoke(pool.state, members.load(pool.state)["lab"], "the laptop was lost")
    with pytest.raises(MachineBarred, match="the laptop was lost"):
        machine.waiting()
    assert pool.ask("GET", "/v1/images/win11/1/disk.qcow2", Authorization=f"Bearer {ticket}")[0] == 401
    again = pool.machine("lab")
    assert again.member.machine == "lab"
    assert again.waiting()
    with pytest.raises(MachineBarred, match="not enrolled any more"):
        PoolClient(_kept(pool, machine)).waiting()


def _kept(pool: RunningService, machine: PoolClient) -> Path:
    """The old folder's token, which was overwritten by the new enrolment's."""
    place = pool.folder / "old"
    old = members.Members(pool.state, (pool.state / "key").read_bytes())
    words = f"lab~{'0' * 16}~3"
    membership.write(place, machine.member, f"{words}~{old._mac(words)}")
    return place


def test_a_machine_that_enrols_while_others_are_written_down_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = pool_folder.prepared(tmp_path / "state")
    known = members.Members(place, b"k" * 32)
    known.enrol("lab-01", "")
    begun, go, replace = threading.Event(), threading.Event(), atomic.replace

    def slow(*given: Any, **more: Any) -> None:
        if threading.current_thread().name == "upkeep":
            begun.set()
            assert go.wait(30)
        replace(*given, **more)

    monkeypatch.setattr(atomic, "replace", slow)
    upkeep = threading.Thread(target=known.save, name="upkeep")
    upkeep.start()
    assert begun.wait(30)
    enrols = threading.Thread(target=known.enrol, args=("lab-02", ""))
    enrols.start()
    enrols.join(1)  # it waits for the other, or else it is over by now
    go.set()
    for one in (upkeep, enrols):
        one.join()
    assert sorted(members.load(place)) == ["lab-01", "lab-02"]


@pytest.mark.parametrize(
    "token", ["", "x", "lab~a~0~mac", "~~~", "~" * 99, "../../etc~a~1~b", "lab~\udcff~1~x", "x" * 15000]
)
def test_what_is_no_token_opens_nothing(pool: RunningService, token: str) -> None:
    with pytest.raises(members.Barred):
        pool.parts.members.admit(token, opened=0.0)
    with pytest.raises(members.Barred):
        pool.parts.members.admit_ticket(token)


def test_a_ticket_is_no_token_nor_a_token_a_ticket(pool: RunningService) -> None:
    machine = pool.machine("lab")
    ticket = machine.images().ticket
    assert pool.ask("GET", "/v1/waiting", Authorization=f"Bearer {ticket}")[0] == 401
    assert pool.ask("POST", "/v1/state", b"{}", Authorization=f"Bearer {ticket}")[0] == 401
    status, _, _ = pool.ask("GET", "/v1/images/win11/1/disk.qcow2", Authorization=f"Bearer {renewed(machine).strip()}")
    assert status == 401


def test_all_goes_on_after_the_service_was_killed_and_started_anew(tmp_path: Path) -> None:
    with pool_service.serving_pool(tmp_path) as first:
        machine = first.machine("lab")
        kept = (first.state / "machines.json").read_bytes()
        machine.waiting()
        machine.waiting()
        lost = renewed(machine)
    # As after a crash: which token is good was not written down.
    (tmp_path / "state" / "machines.json").write_bytes(kept)
    with pool_service.serving_pool(tmp_path) as second:
        membership.write(machine._place, membership.Membership(second.url, "lab", second.pin), lost.strip())
        assert second.pin == first.pin
        assert PoolClient(machine._place).waiting()


def test_images_are_told_and_fetched_by_pieces(pool: RunningService) -> None:
    machine = pool.machine("lab")
    told = machine.images()
    (image,) = told.images
    assert (image.name, image.version) == ("win11", "1")
    assert {file.name for file in image.files} == {
        *(
            "image.toml",
            "disk.qcow2",
            "warm/memory",
            "manifest.json",
            "manifest.sig",
            "manifest.tree",
            "manifest.places",
        )
    }
    size = next(file.size for file in image.files if file.name == "disk.qcow2")
    half = size // 2 + 7
    got = [b"".join(machine.file(image, "disk.qcow2", *span, told.ticket)) for span in ((0, half), (half, size))]
    assert b"".join(got) == DISK
    manifest = next(file.size for file in image.files if file.name == "manifest.json")
    content = b"".join(machine.file(image, "manifest.json", 0, manifest, told.ticket))
    assert hashlib.sha256(content).hexdigest() == image.manifest
    assert b"".join(machine.file(image, "warm/memory", 3, 50, told.ticket)) == b"m" * 47


def test_what_is_not_signed_is_not_offered_and_that_is_told(pool: RunningService) -> None:
    pool.machine("lab").images()
    assert any("plain@1 is not signed" in one.get("refused", "") for one in pool.admin("/overview.json")["images"])


@pytest.mark.parametrize(
    "path",
    [
        "win11/1/../../../../etc/passwd", "win11/1/..%2f..%2fetc%2fpasswd", "win11/../plain/1/disk.qcow2",
        "win11/1//etc/passwd", "win11/1/manifest.new", "plain/1/disk.qcow2", "win11/current/disk.qcow2",
        "win11/1/.lock", "win11/1/warm", "win11/1/disk.qcow2%00", "win11/2/disk.qcow2", "win11/1/%64isk.qcow2",
    ],
)  # fmt: skip
def test_no_path_of_a_machines_reaches_the_disk(pool: RunningService, path: str) -> None:
    ticket = pool.machine("lab").images().ticket
    status, _, body = pool.ask("GET", f"/v1/images/{path}", Authorization=f"Bearer {ticket}")
    assert status == 404, body


@pytest.mark.parametrize(
    ("span", "status"),
    [
        *[("bytes=0-0", 206), ("bytes=99999999-", 416), ("bytes=5-2", 416), ("bytes=0-1,4-5", 416), ("", 200)],
        *[("lines=1-2", 416), ("bytes=-5", 416), ("bytes=" + "9" * 99 + "-", 416)],
    ],
)
def test_odd_ranges_are_answered(pool: RunningService, span: str, status: int) -> None:
    ticket = pool.machine("lab").images().ticket
    asked = {"Authorization": f"Bearer {ticket}", **({"Range": span} if span else {})}
    got, headers, body = pool.ask("GET", "/v1/images/win11/1/disk.qcow2", b"", **asked)
    assert got == status
    assert len(body) == int(headers["Content-Length"])


def test_a_file_that_was_replaced_is_not_sent_as_what_it_was(pool: RunningService, tmp_path: Path) -> None:
    folder = tmp_path / "own"
    pool_service.publish(folder, "win11", "1", DISK)
    with pool_service.serving_pool(tmp_path / "b", repository=folder) as service:
        machine = service.machine("lab")
        told = machine.images()
        disk = folder / "win11" / "1" / "disk.qcow2"
        disk.parent.chmod(0o700)
        disk.unlink()
        disk.symlink_to("/etc/passwd")
        with pytest.raises(PoolDeclined, match="not offered any more"):
            b"".join(machine.file(told.images[0], "disk.qcow2", 0, 10, told.ticket))


def test_a_disk_that_fails_in_the_middle_of_a_file_ends_the_answer_and_puts_nothing_into_it(
    pool: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine, first, read = pool.machine("lab"), 256 << 10, os.pread

    def failing(descriptor: int, length: int, at: int) -> bytes:
        if at:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return read(descriptor, length, at)

    told = machine.images()
    monkeypatch.setattr(os, "pread", failing)
    got: list[bytes] = []
    with pytest.raises(PoolGone, match="broke"):
        got.extend(machine.file(told.images[0], "disk.qcow2", 0, first + 100, told.ticket))
    assert b"".join(got) == DISK[: sum(map(len, got))]


def test_a_version_that_was_replaced_is_served_to_who_is_fetching_it(tmp_path: Path) -> None:
    folder = tmp_path / "own"
    pool_service.publish(folder, "win11", "1", DISK)
    with pool_service.serving_pool(tmp_path, repository=folder) as service:
        machine = service.machine("lab")
        told, before = machine.images(), machine.waiting().images
        pool_service.publish(folder, "win11", "2", DISK[:100])
        service.parts.offers._looked = -1e9
        assert machine.images().images[0].version == "2"
        assert machine.waiting().images != before
        assert b"".join(machine.file(told.images[0], "disk.qcow2", 0, 1000, told.ticket)) == DISK[:1000]


def test_a_worker_gets_a_token_of_its_machines_and_not_too_many(pool: RunningService) -> None:
    pool.queue.printed = "win11 1 1 1\n"
    machine = pool.machine("lab-7")
    assert machine.waiting().demands[0].jobs == 1
    given = machine.worker(WorkerOrder("win11", 1))
    assert given.token == "token.lab-7-at-workers-example-org.3600"
    assert given.lifetime == 3600
    with pytest.raises(PoolDeclined, match="offers no image"):
        machine.worker(WorkerOrder("plain", 1))
    for _ in range(39):
        machine.worker(WorkerOrder("win11", 1))
    with pytest.raises(PoolGone, match="too many tokens"):
        machine.worker(WorkerOrder("win11", 1))
    other = pool.machine("lab-8")
    assert other.waiting().demands[0].jobs == 0
    with pytest.raises(PoolNotNow, match="other machines have begun as many as jobs wait"):
        other.worker(WorkerOrder("win11", 1))
    assert other.worker(WorkerOrder("win11", 1, resumes=True))


def test_what_machines_report_is_seen(pool: RunningService) -> None:
    pool.queue.printed = "win11 1 1 1\n" * 7
    machine = pool.machine("lab")
    machine.waiting()
    machine.report(REPORT)
    seen = pool.admin("/overview.json")
    assert seen["totals"]["vms"]["busy"] == 1
    assert seen["totals"]["owners"]["absent"] == 1
    assert seen["machines"][0]["vms"][0]["image"] == "win11"
    assert seen["images"][0]["copies"] == 1
    assert seen["jobs"] == [{"name": "win11", "idle": 7, "vms": 1}]


def test_a_queue_that_is_silent_is_told_when_its_last_answer_is_too_old(pool: RunningService) -> None:
    machine = pool.machine("lab")
    pool.queue.printed = "win11 1 1 1\n"
    machine.waiting()
    demand = pool.parts.demand
    pool.queue.refuses = Refusal(ExitCode.NODE, "condor_q: Can't find address of local schedd")
    demand._asked = -1e9
    assert machine.waiting().demands
    demand._asked = demand._answered = -1e9
    with pytest.raises(PoolGone, match="local schedd") as caught:
        machine.waiting()
    assert caught.value.after == 60
    pool.queue.refuses = None
    demand._asked = -1e9
    assert machine.waiting().demands


def test_the_queue_is_asked_once_however_many_ask(pool: RunningService) -> None:
    machines = [pool.machine(f"lab-{number}") for number in range(5)]
    for machine in machines:
        machine.waiting()
    assert len(pool.queue.asked) == 1


@pytest.mark.parametrize("path", ["/v1/state", "/v1/worker", "/v1/enrol"])
def test_a_body_without_an_end_is_cut(pool: RunningService, path: str) -> None:
    token = renewed(pool.machine("lab")).strip()
    status, _, _ = pool.ask("POST", path, b" " * (300 << 10), Authorization=f"Bearer {token}")
    assert status == 413


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"[" * 20000, b'{"owner": "present"}', b"\xff", b"null"])
def test_a_report_that_makes_no_sense_is_declined_and_the_token_stays_good(pool: RunningService, body: bytes) -> None:
    machine = pool.machine("lab")
    status, _, said = pool.ask("POST", "/v1/state", body, Authorization=f"Bearer {renewed(machine).strip()}")
    assert status == 400
    assert b"makes no sense" in said
    assert machine.report(REPORT)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/enrol"), ("PUT", "/v1/state"), ("DELETE", "/v1/images"),
    ("GET", "/v2/waiting"), ("GET", "/.."), ("GET", "/assets/../pool.html"), ("POST", "/v1/images")])  # fmt: skip
def test_what_is_not_in_the_table_does_not_exist(pool: RunningService, method: str, path: str) -> None:
    assert pool.ask(method, path)[0] == 404


def test_nobody_is_told_anything_without_a_token(pool: RunningService) -> None:
    for method, path in (("GET", "/v1/waiting"), ("GET", "/v1/images"), ("POST", "/v1/state"), ("POST", "/v1/worker")):
        assert pool.ask(method, path)[0] == 401
    assert pool.ask("GET", "/v1/images/win11/1/disk.qcow2")[0] == 401
    assert pool.ask("GET", "/overview.json")[0] == 401
    assert pool.ask("GET", "/metrics")[0] == 401
    assert pool.ask("GET", "/healthz")[0] == 200


def test_machines_together_get_no_more_than_the_rate(tmp_path: Path, repository: Path) -> None:
    with pool_service.serving_pool(tmp_path, repository=repository, rate=2 << 20) as service:
        machines = [service.machine(f"lab-{number}") for number in range(3)]
        told = [machine.images() for machine in machines]
        began = time.monotonic()

        def fetch(machine: PoolClient, ticket: str) -> None:
            b"".join(machine.file(told[0].images[0], "disk.qcow2", 0, len(DISK), ticket))

        several = [
            threading.Thread(target=fetch, args=(machine, one.ticket))
            for machine, one in zip(machines, told, strict=True)
        ]
        for one in several:
            one.start()
        for one in several:
            one.join()
        assert time.monotonic() - began > 3 * len(DISK) / (2 << 20) - 0.6
        assert service.parts.throttle.sent == 3 * len(DISK)
        assert service.parts.throttle.streams == 0


def test_a_machine_has_so_many_pieces_on_their_way_and_no_more(pool: RunningService) -> None:
    machine = pool.machine("lab")
    told = machine.images()
    with pytest.raises(PoolGone, match="as much as it can") as caught, _places(pool, "lab", 4):
        b"".join(machine.file(told.images[0], "disk.qcow2", 0, 10, told.ticket))
    assert caught.value.after == 20
    assert b"".join(machine.file(told.images[0], "disk.qcow2", 0, 10, told.ticket)) == DISK[:10]


def _places(pool: RunningService, machine: str, count: int) -> ExitStack:
    held = ExitStack()
    for _ in range(count):
        held.enter_context(pool.parts.throttle.stream(machine))
    return held


KEY, OTHER = "ab" * 32, "cd" * 32


def kept(pool: RunningService) -> list[Path]:
    return sorted((pool.state / "keys").iterdir())


def test_the_pool_keeps_a_machines_key_for_that_machine_alone(pool: RunningService) -> None:
    machine, neighbour = pool.machine("lab-01"), pool.machine("lab-02")
    with pytest.raises(PoolDeclined, match="keeps no key of this machine"):
        machine.key(KeyOrder())
    assert machine.key(KeyOrder(KEY)).key == KEY
    assert machine.key(KeyOrder()).key == KEY
    with pytest.raises(PoolDeclined, match="keeps no key of this machine"):
        neighbour.key(KeyOrder())
    assert neighbour.key(KeyOrder(OTHER)).key == OTHER
    assert machine.key(KeyOrder()).key == KEY
    assert [path.stat().st_mode & 0o777 for path in kept(pool)] == [0o600] * 2


def test_a_key_outlives_the_service_and_is_changed_in_place(tmp_path: Path) -> None:
    with pool_service.serving_pool(tmp_path) as pool:
        machine = pool.machine("lab")
        machine.key(KeyOrder(OTHER))
        machine.key(KeyOrder(KEY))
    with pool_service.serving_pool(tmp_path) as pool:
        membership.write(machine._place, Membership(pool.url, "lab", pool.pin), renewed(machine).strip())
        assert PoolClient(machine._place).key(KeyOrder()).key == KEY


def test_a_revoked_machines_key_is_gone_from_the_pool_so_that_nobody_opens_its_disk(pool: RunningService) -> None:
    machine = pool.machine("lab")
    machine.key(KeyOrder(KEY))
    members.revoke(pool.state, members.load(pool.state)["lab"], "stolen")
    assert kept(pool) == []
    with pytest.raises(MachineBarred, match="stolen"):
        machine.key(KeyOrder())
    again = pool.machine("lab")
    with pytest.raises(PoolDeclined, match="keeps no key of this machine"):
        again.key(KeyOrder())


def test_a_machine_whose_token_was_stolen_loses_its_key_with_its_membership(pool: RunningService) -> None:
    machine = pool.machine("lab")
    stolen = renewed(machine).strip()
    machine.key(KeyOrder(KEY))
    machine.waiting()
    assert pool.ask("POST", "/v1/key", b"{}", Authorization=f"Bearer {stolen}")[0] == 401
    assert kept(pool) == []


def test_a_machine_that_is_revoked_while_its_key_is_stored_leaves_none(pool: RunningService) -> None:
    pool.machine("lab")
    member = pool.parts.members.all()[0]
    members.revoke(pool.state, member, "just now")
    with pytest.raises(members.Barred, match="is revoked"):
        machine_api._key(pool.parts, member, KEY)
    assert kept(pool) == []


def test_what_a_crash_left_of_keys_is_swept_and_what_machines_need_stays(pool: RunningService) -> None:
    pool.machine("lab").key(KeyOrder(KEY))
    pool.machine("gone").key(KeyOrder(OTHER))
    gone = pool.parts.members.all()[0]
    (pool.state / "revoked" / gone.enrolment).write_text("stolen")
    (pool.state / "keys" / ".lab~1.half.new").write_text(KEY)
    machine_keys.sweep(pool.state)
    assert [path.name.partition("~")[0] for path in kept(pool)] == ["lab"]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"keep": "short"}', b'{"keep": 5}', b'{"keep": "' + b"AB" * 32 + b'"}'])
def test_what_is_no_key_is_not_kept(pool: RunningService, body: bytes) -> None:
    token = renewed(pool.machine("lab")).strip()
    assert pool.ask("POST", "/v1/key", body, Authorization=f"Bearer {token}")[0] == 400
    assert kept(pool) == []


@pytest.mark.parametrize(
    ("networks", "address", "near"),
    [
        ((), "203.0.113.5", True),
        (("10.1.0.0/16",), "10.1.2.3", True),
        (("10.1.0.0/16",), "10.2.2.3", False),
        (("10.1.0.0/16", "fd00::/8"), "fd00::5", True),
        (("10.1.0.0/16",), "::ffff:10.1.2.3", True),
        (("10.1.0.0/16",), "fe80::1%eth0", False),
        (("10.1.0.0/16",), "", False),
    ],
)
def test_a_key_is_given_in_the_sites_networks_only(
    tmp_path: Path, networks: tuple[str, ...], address: str, near: bool
) -> None:
    assert machine_keys.MachineKeys(tmp_path, networks).is_near(address) is near


def test_a_machine_elsewhere_gets_no_key_and_is_told_where_it_would(tmp_path: Path) -> None:
    with pool_service.serving_pool(tmp_path, key_networks=["10.1.0.0/16"]) as pool:
        machine = pool.machine("lab")
        with pytest.raises(PoolDeclined, match=r"no key is given to 127\.0\.0\.1") as told:
            machine.key(KeyOrder(KEY))
        assert "key_networks" in (told.value.hint or "")
        assert machine.waiting()
        assert kept(pool) == []


def test_a_coordinator_fetches_on_when_its_ticket_has_expired(
    pool: RunningService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It asked for the list hours ago, and for none since, as the offer has not changed."""
    told: list[Happening] = []
    talk = PoolTalk(pool.machine("lab"), told.append)
    monkeypatch.setattr(members, "TICKET_SECONDS", -10.0)
    assert isinstance(talk._asked(REPORT), PoolTold)
    offered = next(one.images[0] for one in told if isinstance(one, ImagesTold))
    monkeypatch.setattr(members, "TICKET_SECONDS", 3600.0)
    for _ in range(2):
        assert b"".join(talk.get(offered, "disk.qcow2", 0, 10)) == DISK[:10]
    monkeypatch.setattr(members, "TICKET_SECONDS", -10.0)
    talk._ticket = pool.machine("lab").images().ticket
    with pytest.raises(PoolNotNow, match="expired"):
        list(talk.get(offered, "disk.qcow2", 0, 10))  # nor is it asked for without end
