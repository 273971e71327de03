"""The verb around the sessions: where its result goes, what a broken session is, what a gatherer may not end."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from conftest import MakeQcow2
from sevenlbd.images.description import Description
from sevenlbd.images.lookup import image as images
from sevenlbd.images.repository import acceptances
from sevenlbd.outside.acceptance import accept
from sevenlbd.outside.acceptance.course import Course, CourseOptions
from sevenlbd.outside.acceptance.criteria.evidence import Evidence, GuestFacts, SessionRecord
from sevenlbd.outside.acceptance.criteria.node_facts import NodeFacts
from sevenlbd.outside.acceptance.examined_session import ExaminedSession
from sevenlbd.wire.state import Phase

NODE = NodeFacts(True, "", "GenuineIntel", "Xeon", "0x1", (), 8, "6.1.0")


@pytest.mark.parametrize("version", ["../../../tmp/x", "a/b", "..", "a\nb"])
def test_a_description_does_not_say_where_the_result_is_written(
    tmp_path: Path, make_qcow2: MakeQcow2, version: str
) -> None:
    folder = tmp_path / "image"
    folder.mkdir()
    make_qcow2(folder / "disk.qcow2")
    (folder / "image.toml").write_text(f"version = {json.dumps(version)}\n")
    place = accept._place(images.from_folder(folder), str(tmp_path), some=False)
    assert place
    assert [path.parent for path in acceptances.paths(place.folder, place.version)] == [tmp_path, tmp_path]


def test_some_groups_alone_leave_the_versions_record_as_it_is(tmp_path: Path, make_qcow2: MakeQcow2) -> None:
    folder = tmp_path / "image"
    folder.mkdir()
    make_qcow2(folder / "disk.qcow2")
    (folder / "image.toml").write_text("")
    assert accept._place(images.from_folder(folder), "", some=True) is None
    acceptances.write(tmp_path, "1", json.dumps({"only": ["node"], "passed": True, "checks": []}), "")
    assert acceptances.read(tmp_path, "1") is None


@dataclass
class Ended:
    """A session that has come to its end in some way."""

    code: int | None

    def poll(self) -> int | None:
        return self.code


@pytest.mark.parametrize(
    ("phase", "code", "shut_down"),
    [(Phase.ENDED, None, True), (Phase.FAILED, None, False), (None, 0, True), (None, 6, False)],
)
def test_a_session_that_breaks_was_not_shut_down(
    tmp_path: Path, phase: Phase | None, code: int | None, shut_down: bool
) -> None:
    session = ExaminedSession(tmp_path, tmp_path, False, True, Ended(code))  # type: ignore[arg-type]
    session._last = SimpleNamespace(phase=phase) if phase else None  # type: ignore[assignment]
    assert (session.shut_down("agent", 1.0) is not None) is shut_down


def test_a_gatherer_that_finds_nothing_does_not_end_the_others(tmp_path: Path) -> None:
    class Fails:
        name, quick = "disk", True

        def gather(self, session: Any, record: SessionRecord) -> None:
            raise FileExistsError("accept-down.bin")

    class Finds:
        name, quick = "files", True

        def gather(self, session: Any, record: SessionRecord) -> None:
            record.more["found"] = True

    told: list[str] = []
    evidence = Evidence(Description(), NODE, quick=True)
    course = Course(CourseOptions(True, tmp_path, (), 1.0, 1.0), evidence, told.append, (Fails(), Finds()))
    record = SessionRecord(warm=False)
    course._ask_all(SimpleNamespace(ask=lambda *_, **__: GuestFacts()), record)  # type: ignore[arg-type]
    assert record.more == {"found": True}
    assert "disk: accept-down.bin" in told
