"""What the administrator sees, and who else does not; metrics as Prometheus' own parser reads them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import pool_service
import pytest
from pool_service import RunningService
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from sevenlbd.outside.grid import protocol
from sevenlbd.outside.grid.machine_report import HeldImage, Owner, Report, RunningVm, VmPhase
from sevenlbd.outside.grid.pool import members

MARKUP = "<script>alert(1)</script>\"'&\u202eevil"
REPORT = Report(
    Owner.PRESENT,
    lends=False,
    slots=2,
    vms=(RunningVm(1, "win11", "1", VmPhase.ENDING, 60.0), RunningVm(2, "win11", "1", VmPhase.BUSY, 60.0)),
    images=(HeldImage("win11", "1", 5), HeldImage("win11", "1", 5), HeldImage("win10", "2", 5, whole=False)),
    reason=MARKUP,
    fetched=1000,
    evictions=3,
)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    with pool_service.serving_pool(tmp_path_factory.mktemp("pool")) as service:
        service.machine("lab-1").report(REPORT)
        service.machine("lab-2").report(replace(REPORT, owner=Owner.UNKNOWN, vms=(), images=()))
        service.machine("lab-3")
        members.revoke(service.state, members.load(service.state)["lab-3"], MARKUP)
        yield service


def token(pool: RunningService) -> str:
    return pool.parts.admin.decode()


def entered(pool: RunningService, **headers: str) -> tuple[int, dict[str, str], bytes]:
    more = {"Origin": pool.url, "Content-Type": "application/x-www-form-urlencoded"} | headers
    return pool.ask("POST", "/login", f"token={quote(token(pool))}".encode(), **more)


def test_the_token_gives_a_cookie_that_only_this_host_and_no_script_can_use(pool: RunningService) -> None:
    status, headers, _ = entered(pool)
    assert (status, headers["Location"]) == (303, "/")
    cookie = headers["Set-Cookie"]
    assert cookie.startswith("__Host-sevenlbd-pool=")
    for word in ("HttpOnly", "Secure", "SameSite=Strict", "Path=/"):
        assert word in cookie
    value = cookie.partition(";")[0]
    assert pool.ask("GET", "/overview.json", Cookie=f"a=b; {value}")[0] == 200
    assert pool.ask("GET", "/metrics", Cookie=value)[0] == 200


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "", "http://127.0.0.1"])
def test_another_sites_form_is_not_taken(pool: RunningService, origin: str) -> None:
    assert entered(pool, Origin=origin)[0] == 403


@pytest.mark.parametrize("said", ["", "x", "\u00fc", "a" * 3000])
def test_a_wrong_token_opens_nothing(pool: RunningService, said: str) -> None:
    status, headers, _ = pool.ask("POST", "/login", f"token={quote(said)}".encode(), Origin=pool.url)
    assert (status, headers["Location"]) == (303, "/#wrong")
    assert "Set-Cookie" not in headers


@pytest.mark.parametrize("cookie", ["", "x", "9999999999.abc", "1.2.3", "\u00e4.b", "9" * 5000, "-1.x"])
def test_a_cookie_that_is_none_opens_nothing(pool: RunningService, cookie: str) -> None:
    header = f"__Host-sevenlbd-pool={cookie}"
    assert pool.ask("GET", "/overview.json", Cookie=header)[0] in (400, 401)


def test_a_machines_token_opens_no_overview(pool: RunningService) -> None:
    text = (pool.machine("lab-9")._place / "token").read_text().strip()
    assert pool.ask("GET", "/overview.json", Authorization=f"Bearer {text}")[0] == 401
    members.revoke(pool.state, members.load(pool.state)["lab-9"], "test")


def test_every_answer_has_the_headers_that_bar_what_is_not_ours(pool: RunningService) -> None:
    for path in ("/", "/overview.json", "/nothing", "/v1/waiting", "/healthz"):
        _, headers, _ = pool.ask("GET", path)
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] in ("no-store", "no-cache")


def test_what_a_machine_said_that_was_sent_away_counts_no_more(pool: RunningService) -> None:
    machine = pool.machine("lab-8")
    machine.report(replace(REPORT, slots=100))
    assert pool.admin("/overview.json")["totals"]["slots"] == 104
    members.revoke(pool.state, members.load(pool.state)["lab-8"], "test")
    assert pool.admin("/overview.json")["totals"]["slots"] == 4


def test_the_page_is_text_and_what_fills_it_is_json(pool: RunningService) -> None:
    _, headers, _ = pool.ask("GET", "/overview.json", Authorization=f"Bearer {token(pool)}")
    assert headers["Content-Type"].startswith("application/json")
    rows = {row["name"]: row for row in pool.admin("/overview.json")["machines"]}
    assert "\u202e" not in json.dumps(rows, ensure_ascii=False)
    assert rows["lab-1"]["owner"] == "present"
    assert "alert" in rows["lab-3"]["revoked"]
    assert rows["lab-2"]["lends"] is False


def test_sums_are_right(pool: RunningService) -> None:
    totals = pool.admin("/overview.json")["totals"]
    assert totals["here"] == 2
    assert totals["owners"] == {"present": 1, "absent": 0, "unknown": 1}
    assert totals["slots"] == 4
    assert totals["vms"]["busy"] == totals["vms"]["ending"] == 1
    assert totals["evictions"] == 6


def test_a_machine_that_says_it_holds_one_image_a_thousand_times_holds_it_once(pool: RunningService) -> None:
    assert pool.parts.fleet.totals().copies == {("win11", "1"): 1}


def test_prometheus_reads_the_metrics(pool: RunningService) -> None:
    found: dict[str, dict[str, float]] = {}
    text = pool.admin("/metrics")
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]  # the library has no types there
        for sample in family.samples:
            found.setdefault(sample.name, {})["/".join(sample.labels.values())] = sample.value
    assert found["sevenlbd_grid_machines"]["here"] == 2
    assert found["sevenlbd_grid_machines"]["revoked"] >= 1
    assert found["sevenlbd_grid_owners"]["present"] == 1
    assert found["sevenlbd_grid_vms"]["busy"] == 1
    assert found["sevenlbd_grid_evictions_total"]["lab-1"] == 3
    assert found["sevenlbd_grid_fetched_bytes_total"]["lab-2"] == 1000
    assert found["sevenlbd_grid_image_copies"]["win11/1"] == 1
    assert found["sevenlbd_grid_answers_total"]["/v1/state/200"] >= 2
    assert found["sevenlbd_grid_cpu_seconds_total"][""] > 0
    assert token(pool) not in text


def test_strangers_do_not_make_new_series(pool: RunningService) -> None:
    for number in range(5):
        pool.ask("GET", f"/v1/{number}")
        pool.ask("GET", f"/{number}")
    routes = {route for route, _ in pool.parts.answered}
    assert routes <= {"page", protocol.IMAGES + "/FILE", *protocol.MOST_BYTES}


def test_a_machine_that_was_not_heard_of_is_away(tmp_path: Path) -> None:
    from sevenlbd.outside.grid.pool.fleet import Fleet

    now = [0.0]
    fleet = Fleet(30.0, lambda: now[0])
    fleet.note("lab", REPORT)
    assert fleet.totals().machines == 1
    now[0] = 121.0
    assert fleet.totals().machines == 0
    assert [here for *_, here in fleet.reports()] == [False]
    now[0] = 8 * 86400.0
    assert list(fleet.reports()) == []
