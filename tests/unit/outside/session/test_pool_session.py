"""A session whose guest joins a pool: one way out, nothing of the machine in it, and what it is handed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import MakeQcow2
from sevenlbd.base.errors import Refusal
from sevenlbd.config import sources
from sevenlbd.config.settings import Settings
from sevenlbd.outside.cli import command_line
from sevenlbd.outside.session.preflight import checker
from sevenlbd.outside.session.preflight.prepared import Prepared

RECORD = {
    "collector": "192.0.2.9:9618",
    "trust_domain": "pool.test",
    "token": "aaa.bbb.ccc",
    "vm_name": "worker",
    "machine": "lab-7",
}
WORKER = 'channels = ["agent"]\njoin_hook = ["/join"]\njoin_status = "/run/status"\ndesktop = false\n'

Prepare = Callable[..., Prepared]


@pytest.fixture
def prepared(tmp_path: Path, make_qcow2: MakeQcow2) -> Prepare:
    """A session of an image that is described so, with a record, under these settings."""

    def prepare(described: str = WORKER, record: dict[str, str] | None = None, **settings: object) -> Prepared:
        make_qcow2(tmp_path / "disk.qcow2")
        (tmp_path / "image.toml").write_text(f'memory = "64M"\ncpus = 1\n{described}')
        file = tmp_path / "record"
        file.touch(0o600)
        file.write_text(json.dumps(RECORD | (record or {})))
        here = sources.look_around({"HOME": str(tmp_path), "TMPDIR": str(tmp_path)})
        chosen = {"image": str(tmp_path), "accel": "tcg", "network": "user", "min_space": 0, **settings}
        _, options = command_line.parse(["run", "--join", str(file)])
        return checker.prepared(options, Settings.model_validate(chosen), here, 0o077, None)

    return prepare


def test_the_pool_is_the_one_way_out_of_all_that_a_site_allows(prepared: Prepare) -> None:
    session = prepared(egress_allow=["udp://192.0.2.1:53", "tcp://192.0.2.9:9000-9999", "https://*.example.edu"])
    assert session.egress
    assert session.egress.tcp == (("192.0.2.9", 9618),)
    assert not session.egress.udp
    assert not session.egress.proxy
    assert not session.egress.names
    assert session.plan.join
    assert session.plan.join.hook == ("/join",)
    assert "collector=192.0.2.9:9618\n" in session.plan.join.record


@pytest.mark.parametrize("allowed", [[], ["tcp://192.0.2.9:9617"], ["udp://192.0.2.9:9618"], ["tcp://192.0.2.8:9618"]])
def test_a_pool_where_no_way_out_of_the_site_leads_is_refused_with_what_the_site_must_say(
    prepared: Prepare, allowed: list[str]
) -> None:
    with pytest.raises(Refusal, match=r"no way out of this site leads there") as caught:
        prepared(egress_allow=allowed)
    assert 'egress_allow = ["tcp://192.0.2.9:9618"]' in (caught.value.hint or "")


def test_a_user_who_switched_the_ways_out_off_is_told_so(prepared: Prepare) -> None:
    with pytest.raises(Refusal, match="`egress` is off"):
        prepared(egress_allow=["tcp://192.0.2.9:9618"], egress=False)


def test_an_image_that_wants_no_way_out_cannot_join(prepared: Prepare) -> None:
    with pytest.raises(Refusal, match="the guest cannot reach the pool"):
        prepared(f"{WORKER}egress = []\n", egress_allow=["tcp://192.0.2.9:9618"])


def test_a_pool_on_the_machine_itself_is_no_place_for_a_guest(prepared: Prepare) -> None:
    with pytest.raises(Refusal, match="means the guest itself"):
        prepared(record={"collector": "127.0.0.1:9618"}, egress_allow=["tcp://192.0.2.9:9618"])


@pytest.mark.parametrize("described", ["", 'join_hook = ["/join"]\n'])
def test_an_image_without_a_hook_or_an_agent_is_refused(prepared: Prepare, described: str) -> None:
    with pytest.raises(Refusal, match="cannot join a pool"):
        prepared(described, egress_allow=["tcp://192.0.2.9:9618"])


def test_no_file_of_the_machine_and_no_way_in_is_in_a_workers_session(prepared: Prepare, tmp_path: Path) -> None:
    session = prepared(
        egress_allow=["tcp://192.0.2.9:9618"], shares=[f"data={tmp_path}"], home_share=True, web="127.0.0.1:0"
    )
    assert session.plan.shares == ()
    assert session.connectors.web is None
    assert not session.plan.console
    assert not session.plan.shows_desktop


def test_a_worker_advertises_its_image_and_the_digest_of_its_manifest(prepared: Prepare, tmp_path: Path) -> None:
    named = f'{WORKER}name = "worker"\nversion = "7"\n'
    (tmp_path / "manifest.json").write_bytes(b"{}\n")
    session = prepared(named, egress_allow=["tcp://192.0.2.9:9618"])
    assert session.plan.join
    lines = session.plan.join.record.splitlines()
    assert "attribute.SevenLbdImage=worker@7" in lines
    digest = "ca3d163bab055381827226140568f3bef7eaac187cebd76878e0b63e9e442356"
    assert f"attribute.SevenLbdImageDigest={digest}" in lines
