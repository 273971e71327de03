"""When a borrowed machine may be used: hours, people, nights on which the clock changes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sevenlbd.outside.owner import hours, lending
from sevenlbd.outside.owner.lending import Person, Policy, Seen
from sevenlbd.outside.site.owner_table import OwnerTable

BERLIN = ZoneInfo("Europe/Berlin")
DEFAULT = OwnerTable().policy()
ADA = Person("ada", datetime(2026, 11, 26, 8, 12, tzinfo=BERLIN).timestamp(), "ssh")


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


def clock(seconds: float | None, zone: ZoneInfo = BERLIN) -> str:
    return "" if seconds is None else f"{datetime.fromtimestamp(seconds, zone):%Y-%m-%d %H:%M}"


@pytest.mark.parametrize("time", ["00:00", "06:59", "07:00", "12:00", "16:59", "17:00"])
def test_a_machine_at_which_nobody_is_may_be_used_at_any_time(time: str) -> None:
    verdict = lending.decide(DEFAULT, Seen([]), at(f"2026-11-26 {time}"))
    assert (verdict.allowed, verdict.until, verdict.owner) == (True, None, False)


@pytest.mark.parametrize(
    ("time", "allowed", "until"),
    [
        ("2026-11-26 00:00", True, "2026-11-26 07:00"),
        ("2026-11-26 06:59", True, "2026-11-26 07:00"),
        ("2026-11-26 07:00", False, "2026-11-26 17:00"),
        ("2026-11-26 16:59", False, "2026-11-26 17:00"),
        ("2026-11-26 17:00", True, "2026-11-27 07:00"),
        ("2026-11-26 23:59", True, "2026-11-27 07:00"),
    ],
)
def test_with_somebody_logged_in_it_is_lent_from_17_to_7_only(time: str, allowed: bool, until: str) -> None:
    verdict = lending.decide(DEFAULT, Seen([ADA]), at(time))
    assert (verdict.allowed, clock(verdict.until), verdict.owner) == (allowed, until, True)


def test_who_is_there_and_the_rule_are_told() -> None:
    verdict = lending.decide(DEFAULT, Seen([ADA, Person("bob")]), at("2026-11-26 09:00"))
    assert verdict.why == ("bob, ada (ssh, since Thu 08:12) are logged in, and then it is lent daily 17:00-07:00")


def test_of_a_crowd_a_few_are_told() -> None:
    verdict = lending.decide(DEFAULT, Seen([Person(f"u{number}") for number in range(9)]), at("2026-11-26 09:00"))
    assert verdict.why.startswith("u0, u1, u2 and 6 more are logged in")


def test_a_name_that_is_no_word_does_not_reach_a_terminal() -> None:
    verdict = lending.decide(DEFAULT, Seen([Person("a\x1b[2Jb", kind="\x07")]), at("2026-11-26 09:00"))
    assert verdict.why.isprintable()


def test_when_nobody_can_tell_it_is_as_if_somebody_were_there() -> None:
    assert not lending.decide(DEFAULT, Seen(None), at("2026-11-26 09:00")).allowed
    night = lending.decide(DEFAULT, Seen(None), at("2026-11-26 19:00"))
    assert (night.allowed, night.owner) == (True, None)
    assert "nobody can tell" in night.why


def test_the_grids_own_users_are_no_owners() -> None:
    granted = OwnerTable(not_owners=("condor", "990")).policy()
    noon = at("2026-11-26 12:00")
    assert lending.decide(granted, Seen([Person("condor"), Person("grid", uid="990")]), noon).allowed
    assert not lending.decide(granted, Seen([Person("condor"), Person("ada")]), noon).allowed
    assert not lending.decide(granted, Seen([Person("condor2")]), noon).allowed


def test_a_log_in_that_is_idle_for_long_does_not_count_if_the_site_says_so() -> None:
    noon, idle = at("2026-11-26 12:00"), Person("ada", idle=3600)
    assert not lending.decide(DEFAULT, Seen([idle]), noon).allowed
    granted = OwnerTable(idle=1800).policy()
    assert lending.decide(granted, Seen([idle]), noon).allowed
    assert not lending.decide(granted, Seen([idle, Person("ada", idle=5)]), noon).allowed


def granting(*texts: str) -> Policy:
    return OwnerTable(when_used=texts).policy()


@pytest.mark.parametrize(
    ("texts", "time", "allowed", "until"),
    [
        (["mon-fri 17:00-07:00", "sat-sun 00:00-24:00"], "2026-11-27 18:00", True, "2026-11-30 00:00"),
        (["mon-fri 17:00-07:00", "sat-sun 00:00-24:00"], "2026-11-30 06:00", False, "2026-11-30 17:00"),
        (["mon-fri 17:00-07:00", "sun-thu 00:00-07:00"], "2026-11-30 06:00", True, "2026-11-30 07:00"),
        (["fri 17:00-07:00"], "2026-11-28 06:59", True, "2026-11-28 07:00"),
        (["fri 17:00-07:00"], "2026-11-27 06:59", False, "2026-11-27 17:00"),
        (["fri-mon 08:00-09:00"], "2026-11-30 08:30", True, "2026-11-30 09:00"),
        (["fri-mon 08:00-09:00"], "2026-12-01 08:30", False, "2026-12-04 08:00"),
        (["2026-12-24 00:00-24:00"], "2026-12-24 12:00", True, "2026-12-25 00:00"),
        (["2026-12-24 00:00-24:00"], "2026-12-23 23:59", False, "2026-12-24 00:00"),
        (["daily 12:00-13:00", "daily 12:30-14:00"], "2026-11-26 12:10", True, "2026-11-26 14:00"),
        (["daily 00:00-24:00"], "2026-11-26 12:10", True, ""),
        (["daily 00:00-12:00", "DAILY  12:00-24:00"], "2026-11-26 12:10", True, ""),
        ([], "2026-11-26 12:10", False, ""),
        (["2020-01-01 00:00-24:00"], "2026-11-26 12:10", False, ""),
    ],
)
def test_hours_are_of_days_and_go_over_midnight(texts: list[str], time: str, allowed: bool, until: str) -> None:
    verdict = lending.decide(granting(*texts), Seen([ADA]), at(time))
    assert (verdict.allowed, clock(verdict.until)) == (allowed, until)


@pytest.mark.parametrize(
    "text",
    ["", "daily", "17:00-07:00", "mon 7-17", "mon 17:00", "mon 24:00-07:00", "mon 17:60-07:00", "mon 07:00-07:00",
     "mo 17:00-07:00", "mon-fry 17:00-07:00", "mon,tue 17:00-07:00", "2026-13-01 08:00-09:00", "mon ١٧:00-18:00",
     "2026-02-30 00:00-24:00", "mon 17:00-07:00 x"],
)  # fmt: skip
def test_hours_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="hours|days|day"):
        hours.parse(text)


SPRING, AUTUMN = "2026-03-29", "2026-10-25"  # in Berlin: 2:00 becomes 3:00; 3:00 becomes 2:00


@pytest.mark.parametrize(
    ("rule", "inside", "until_utc"),
    [
        # A night of 13 hours, and one of 15.
        ("daily 17:00-07:00", "2026-03-28 18:00", "2026-03-29 05:00"),
        ("daily 17:00-07:00", "2026-10-24 18:00", "2026-10-25 06:00"),
        # An end that does not exist is when the clock leaps; one that comes twice is the first.
        ("daily 17:00-02:30", "2026-03-28 18:00", "2026-03-29 00:30"),
        ("daily 17:00-02:30", "2026-10-24 18:00", "2026-10-25 00:30"),
        ("daily 17:00-02:00", "2026-10-24 18:00", "2026-10-25 00:00"),
    ],
)
def test_on_nights_when_the_clock_changes_the_owner_does_not_wait(rule: str, inside: str, until_utc: str) -> None:
    verdict = lending.decide(granting(rule), Seen([ADA]), at(inside))
    assert verdict.allowed
    assert verdict.until == datetime.fromisoformat(until_utc).replace(tzinfo=UTC).timestamp()


def test_hours_that_begin_twice_begin_the_second_time() -> None:
    verdict = lending.decide(granting("daily 02:30-06:00"), Seen([ADA]), at(f"{AUTUMN} 02:31"))
    assert (verdict.allowed, verdict.until) == (False, datetime(2026, 10, 25, 1, 30, tzinfo=UTC).timestamp())
    second = at(f"{AUTUMN} 02:31").replace(fold=1)
    assert lending.decide(granting("daily 02:30-06:00"), Seen([ADA]), second).allowed


def test_a_midnight_that_comes_twice_is_no_gap() -> None:
    """In Havana the clock goes from 1:00 back to 0:00."""
    havana = ZoneInfo("America/Havana")
    for fold in (0, 1):
        now = datetime(2026, 11, 1, 0, 30, tzinfo=havana, fold=fold)
        assert hours.opening([hours.parse("daily 00:00-24:00")], now) == hours.OpenHours(True, None)


@given(
    st.integers(0, 60 * 24 * 365 * 2),
    st.sampled_from(["Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "UTC", "Asia/Kathmandu"]),
    st.sampled_from(["daily 17:00-07:00", "mon-fri 02:00-02:30", "sun 22:00-03:00", "sat-mon 00:00-24:00"]),
)
def test_what_is_said_of_the_next_change_is_true(minutes: int, zone: str, rule: str) -> None:
    now = datetime.fromtimestamp(1735689600 + minutes * 60, ZoneInfo(zone))
    found = hours.opening([hours.parse(rule)], now)
    assert found.changes is not None
    assert found.changes > now.timestamp()
    step = (found.changes - now.timestamp()) / 7
    for between in range(7):
        then = datetime.fromtimestamp(now.timestamp() + between * step, ZoneInfo(zone))
        assert hours.opening([hours.parse(rule)], then) == found
    after = datetime.fromtimestamp(found.changes, ZoneInfo(zone))
    assert hours.opening([hours.parse(rule)], after).is_open is not found.is_open


def test_work_begins_only_with_time_memory_and_quiet() -> None:
    granted = OwnerTable(load=0.5, memory=2 << 30, grace=600).policy()
    evening = at("2026-11-26 18:00")
    fine = Seen([ADA], load=0.4, memory=3 << 30)
    assert lending.may_begin(granted, fine, evening).allowed
    for seen, says in (
        (Seen([ADA], load=0.6, memory=3 << 30), "loads each CPU by 0.60"),
        (Seen([ADA], load=0.1, memory=1 << 30), "1024 MiB of memory are free, and 2048 MiB are the owner's"),
    ):
        verdict = lending.may_begin(granted, seen, evening)
        assert not verdict.allowed
        assert says in verdict.why
        assert lending.decide(granted, seen, evening).allowed, "what is there already need not go for it"
    assert "ends within 600 s" in lending.may_begin(granted, fine, at("2026-11-26 06:55")).why
    assert not lending.may_begin(granted, fine, at("2026-11-26 08:00")).allowed


def test_work_leaves_so_early_that_at_seven_it_is_gone() -> None:
    verdict = lending.decide(DEFAULT, Seen([ADA]), at("2026-11-26 06:30"))
    seven = at("2026-11-26 07:00").timestamp()
    assert not lending.must_leave(DEFAULT, verdict, seven - DEFAULT.grace - 1)
    assert lending.must_leave(DEFAULT, verdict, seven - DEFAULT.grace)
    assert lending.must_leave(DEFAULT, lending.decide(DEFAULT, Seen([ADA]), at("2026-11-26 07:00")), seven)


def test_a_laptop_that_slept_past_seven_is_its_owners_at_once() -> None:
    """What was decided before it slept has an end, and the clock is past it."""
    before = lending.decide(DEFAULT, Seen([ADA]), at("2026-11-26 03:00"))
    assert lending.must_leave(DEFAULT, before, at("2026-11-26 09:00").timestamp())


def test_a_log_in_of_tomorrow_is_one_all_the_same() -> None:
    tomorrow = Person("ada", (at("2026-11-26 12:00") + timedelta(days=1)).timestamp())
    assert not lending.decide(DEFAULT, Seen([tomorrow]), at("2026-11-26 12:00")).allowed
