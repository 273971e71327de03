"""What is made of the suite's index: nothing bad passes for good."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.conformance.report import KNOWN, LIMITED, REFUSED, UNLIMITED, Report

GOOD = {"behavior": "OK", "behaviorClose": "OK", "remoteCloseCode": 1000}
BIG = {"behavior": "FAILED", "behaviorClose": "FAILED", "remoteCloseCode": 1009}


def report(folder: Path, limited: Mapping[str, object], unlimited: Mapping[str, object]) -> Report:
    (folder / "index.json").write_text(json.dumps({LIMITED: limited, UNLIMITED: unlimited}))
    return Report(folder / "index.json")


def test_a_case_that_fails_is_news_unless_it_is_known_to(tmp_path: Path) -> None:
    failed = {**GOOD, "behavior": "FAILED"}
    found = report(tmp_path, {"1.1.1": failed, "7.9.5": failed, "2.1": GOOD}, {})
    assert found.unexpected == ["1.1.1"]
    assert "1 passed, 1 failed" in found.text()


def test_a_bad_end_spoils_a_good_case(tmp_path: Path) -> None:
    assert report(tmp_path, {"1.1.1": {**GOOD, "behaviorClose": "WRONG CODE"}}, {}).unexpected == ["1.1.1"]
    assert report(tmp_path, {"1.1.1": {**GOOD, "behaviorClose": "INFORMATIONAL"}}, {}).unexpected == []


def test_what_is_too_large_has_to_be_refused(tmp_path: Path) -> None:
    large = dict.fromkeys(REFUSED, GOOD)
    assert report(tmp_path, dict.fromkeys(REFUSED, BIG), large).unexpected == []
    assert len(report(tmp_path, large, large).unexpected) == len(REFUSED)


def test_the_page_explains_what_does_not_pass(tmp_path: Path) -> None:
    cases = {case: {**GOOD, "behavior": "FAILED"} for case in KNOWN}
    page = report(tmp_path, cases, {}).page()
    assert all(f"{case} (failed)" in page for case in KNOWN)
