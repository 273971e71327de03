"""What a portal's user reads on a card in each state, by real Ruby; and forms that are older than the app."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import harness
import pytest
from dashboard import App, Card, rendered
from pool import Pool

SITE = """
portals = ["https://ondemand.example.edu"]
[ondemand]
cluster = "test"
images = ["win11=Windows 11", "win10"]
shares = ["data=/data"]
share_roots = ["/scratch"]
hours = 3
max_hours = 8
[[ondemand.sizes]]
cpus = 2
memory = "8G"
[[ondemand.sizes]]
cpus = 4
memory = "16G"
"""
# As an older version of the app, with less to choose from, has made it.
OLD_FORM = """
cluster: "test"
form: ["desktop_image"]
attributes:
  desktop_image: {widget: "select", options: [["Windows 10", "win10"]]}
"""
TOLD: dict[str, Any] = {
    "id": "job7", "user": "me", "host": "node1", "image": "win11", "folder": "/tmp/7lbd-1/job7", "account": "user1",
    "phase": "ready", "phases": {"ready": 30.0}, "warnings": ["NO KVM on node1"], "reason": "", "hint": "",
    "paused": "",
    "ends_at": 0, "restarts": 0, "started": 1.0,
}  # fmt: skip


@pytest.fixture(scope="module")
def app(work: Path) -> App:
    """The app of a site, looked at without a cluster."""
    place = work / "cards"
    place.mkdir()
    shutil.copy(harness.SIF, place)
    (place / "7lbd.toml").write_text(SITE)
    rendered(place, place / "app")
    return App(place / "app", place / "staged", cast(Pool, None))


ShowCard = Callable[..., Card]


@pytest.fixture
def card(app: App, tmp_path: Path) -> ShowCard:
    """The card of a job in this state, whose session has told this, with these lines of output."""

    def shown(state: str, told: dict[str, Any] | str | None = None, output: str = "", **changes: Any) -> Card:
        report = tmp_path / "staged" / "report"
        shutil.rmtree(report.parent, ignore_errors=True)
        report.mkdir(parents=True)
        (report.parent / "output.log").write_text(output)
        if told is not None or changes:
            text = told if isinstance(told, str) else json.dumps((told or TOLD) | changes)
            (report / "session.json").write_text(text)
        return app.card_of(report.parent, state)

    return shown


CRASHED = ("fail", "crash", "danger", "could not say")


@pytest.mark.parametrize("phase", ["ready", "stopping"])
def test_a_cancelled_card_says_that_the_desktop_is_shut_down(card: ShowCard, phase: str) -> None:
    """OnDemand takes it for completed at once (cancel_session_enabled), and does not look again."""
    shown = card("CANCELLED", phase=phase, reason="SIGTERM came", output="7lbd: stopping\n")
    assert shown.title == "Completed"
    assert "The desktop is shut down" in shown.html
    assert not [word for word in CRASHED if word in shown.html]
    assert "<details" in shown.html
    assert "open>" not in shown.html


def test_one_that_is_cancelled_before_it_was_ready_says_so(card: ShowCard) -> None:
    shown = card("CANCELLED", phase="booting")
    assert "before the desktop was ready" in shown.html
    assert not [word for word in CRASHED if word in shown.html]


def test_a_requeued_card_has_nothing_of_the_old_node(card: ShowCard) -> None:
    for phase in ("ready", "stopping", "ended", "failed"):
        shown = card("PENDING", phase=phase, reason="SIGTERM came", paused="no space")
        assert shown.title == "Queued"
        assert "node1" not in shown.html, phase
        assert "desktop" not in shown.html
    between = card("RUNNING", phase="ended", reason="SIGTERM came")
    assert "NO KVM" not in between.html, "it has ended, and its job is not over: it begins anew somewhere"


def test_a_refused_form_says_why_by_itself(app: App, tmp_path: Path) -> None:
    """The runtime tells the portal, whatever is refused, and wherever."""
    place = app.folder.parent
    for number, (form, says) in enumerate([
        ({"format": 1, "desktop_image": "win95"}, "the form asks for the image"),
        ({"format": 1, "desktop_folder": "/etc"}, "outside of what the site allows"),
        ({"format": 7}, "another version of 7lbd"),
        ({"format": 1, "desktop_image": "win11"}, "neither a file here nor a name in image_dirs"),
    ]):  # fmt: skip
        staged = tmp_path / str(number)
        staged.mkdir()
        (staged / "form.json").write_text(json.dumps(form))
        binds = ["--bind", str(place), "--bind", str(tmp_path)]
        done = harness.run("run", "--form", str(staged / "form.json"), options=binds, sif=place / "7lbd.sif")
        assert done.returncode != 0
        (staged / "output.log").write_text(done.stdout + done.stderr)
        shown = app.card_of(staged, "FAILED")
        assert "<strong>The desktop failed</strong>" in shown.html
        assert says in re.sub(r"&#?\w+;", "'", shown.html.partition("<details")[0]), shown.html
        assert "could not say why" not in shown.html
        assert (staged / "report" / "session.json").stat().st_mode & 0o077 == 0


def test_without_any_word_the_output_speaks(card: ShowCard) -> None:
    shown = card("FAILED", output="bash: apptainer: command not found\n")
    assert "No desktop was started" in shown.html
    assert "<pre" in shown.html
    assert "command not found" in shown.html
    assert "open>" in shown.html


ODD = {
    "quotes": """a"b'c`d$e\\f&g<h>i""",
    "markup": "<script>alert(1)</script>\n\n# heading\n* item\n\n    code",
    "unicode": "Bürö-デスク \U0001f5a5 \u202e rtl \u0007 bell \u2028 line",
    "huge": "x" * 100_000,
    "empty": "",
    "list": [1, [2]],
    "number": 7,
    "nothing": None,
}


@pytest.mark.parametrize("odd", ODD, ids=str)
def test_odd_values_make_no_page_of_ruby_and_no_markup(card: ShowCard, odd: str) -> None:
    changes = dict.fromkeys(("image", "host", "user", "folder", "reason", "hint", "account", "paused", "id"), ODD[odd])
    changes |= {"warnings": [ODD[odd]], "ends_at": ODD[odd], "restarts": ODD[odd], "phases": ODD[odd]}
    states = [("RUNNING", phase) for phase in ("booting", "ready", "failed", ODD[odd])]
    for state, phase in [*states, ("CANCELLED", "ready"), ("FAILED", "failed"), ("FAILED", ODD[odd])]:
        shown = card(state, **changes, phase=phase, output=f"{ODD[odd]}\n" * 3)
        assert "<script" not in shown.html
        assert "<h1" not in shown.html
        assert "<li>" not in shown.html or "session prepared" in shown.html
        assert len(shown.html) < 30_000


@pytest.mark.parametrize("text", ["", "[]", "{", "null", '"x"', "[" * 5000, "\x00", '{"phase": {"a": 1}}'])
def test_a_damaged_report_leaves_the_card_alone(card: ShowCard, text: str) -> None:
    for state in ("RUNNING", "CANCELLED"):
        assert card(state, told=text).title


@pytest.mark.parametrize(
    ("folder", "word"),
    [
        ("/tmp/7lbd-1/job7", "{port}:/tmp/7lbd-1/job7/rdp.sock"),
        ("/scratch/my desk/job7", '"{port}:/scratch/my desk/job7/rdp.sock"'),
        ("/scratch/it's/job7", '"{port}:/scratch/it\'s/job7/rdp.sock"'),
        ("/scratch/$x`y`/job7", '"{port}:/scratch/\\$x\\`y\\`/job7/rdp.sock"'),
    ],
)
def test_the_line_to_paste_is_one_word_for_a_posix_shell_and_for_cmd(card: ShowCard, folder: str, word: str) -> None:
    port = 13389 + zlib.crc32(b"job7") % 1000
    html = card("RUNNING", folder=folder).html
    found = re.search(r"<code>(ssh -L .*?)</code>", html)
    assert found
    line = found[1].replace("&quot;", '"').replace("&#39;", "'").replace("&amp;", "&")
    assert line == f"ssh -L {word.replace('{port}', str(port))} me@node1"
    assert f"an RDP client to 127.0.0.1:{port}" in html
    told = f'ssh() {{ printf "%s\\n" "$@"; }}; {line}'
    heard = subprocess.run(["bash", "-c", told], capture_output=True, text=True, check=True)
    assert heard.stdout.splitlines()[1] == f"{port}:{folder}/rdp.sock"


FACTS: dict[str, Any] = {
    "session": "job7", "image": "win11", "version": "", "title": "Windows 11", "account": "user1", "user": "me",
    "layers": [], "saved_at": 1.7e9, "machine": {
        "qemu": "1:10.0.2", "machine": "pc-q35-10.0", "accel": "kvm", "cpu": "host", "cpus": 2, "memory": 8 << 30,
        "network": "tap", "mac": "52:54:00:12:34:56", "firmware": "uefi", "tpm": False, "disk_bus": "virtio",
        "nic": "virtio", "display": "std", "os": "windows", "clock": "utc", "disk_size": 1 << 30,
    },
}  # fmt: skip


def saved(home: Path, name: str, begin: bytes = b"7lbd saved desktop, format 1", **facts: Any) -> Path:
    """A file among the user's saved desktops that begins as one."""
    folder = home / ".local" / "state" / "7lbd" / "saved"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.7lbd"
    path.write_bytes(
        (begin + b"\n" + json.dumps({"facts": FACTS | facts, "parts": []}).encode()).ljust(32767) + b"\nrest"
    )
    return path


def choices(app: App, home: Path) -> list[list[str]]:
    """What the form of this user's offers to begin with."""
    found: list[list[str]] = replace(app, home=home).form()["attributes"]["desktop_saved"]["options"]
    return found


def test_the_form_offers_what_the_user_has_suspended(app: App, tmp_path: Path) -> None:
    new, last = choices(app, tmp_path)
    assert new == ["A new desktop", ""]
    assert last == ["The desktop that you suspended last", "*"], "which is there in a form of hours ago, too"
    os.utime(saved(tmp_path, "job7"), (1, 1))
    saved(tmp_path, "job9", begin=b"7lbd saved desktop, format 2", title="Windows 10")
    later, earlier = choices(app, tmp_path)[2:]
    assert re.fullmatch(r"Windows 10, suspended 2023-11-1\d \d\d:\d\d, 8 GB \(job9\)", later[0])
    assert (later[1], earlier[1]) == ("job9", "job7")


def test_whatever_lies_among_saved_desktops_the_form_is_shown(app: App, tmp_path: Path) -> None:
    place = saved(tmp_path, "good").parent
    for number, title in enumerate((*ODD.values(), "\x00\x7f\x85\ufeff\ufffe", "<%= 1 %> {{ x }} #{1}", "- a: [b")):
        saved(tmp_path, f"odd{number}", title=title)
    for number, wrong in enumerate(([1], {"memory": "x"}, None)):
        saved(tmp_path, f"bad{number}", machine=wrong)
    saved(tmp_path, "newer", begin=b"7lbd saved desktop, format 3")
    saved(tmp_path, "foreign", begin=b"#!/bin/sh")
    for name in ("deep", "broken"):
        (place / f"{name}.7lbd").write_bytes(b"7lbd saved desktop, format 1\n" + b"[" * 20_000)
    os.mkfifo(place / "fifo.7lbd")
    (place / "folder.7lbd").mkdir()
    (place / "gone.7lbd").symlink_to("nowhere")
    offered = {name: label for label, name in choices(app, tmp_path)[2:]}
    assert "good" in offered
    assert not {"newer", "foreign", "deep", "broken", "fifo", "folder", "gone"} & {*offered}
    assert all(len(label) < 200 and label.isprintable() for label in offered.values())
    place.chmod(0)
    try:
        assert len(choices(app, tmp_path)) == 2
    finally:
        place.chmod(0o700)


def test_a_desktop_that_is_gone_or_whose_image_is_no_longer_offered_is_refused_on_the_card(
    app: App, tmp_path: Path
) -> None:
    place = app.folder.parent
    saved(tmp_path, "job9", image="win2000")
    for name, says in (("job7", "the suspended desktop 'job7' is not there any more; there are: job9"),
                       ("job9", "stands on the image 'win2000', which is not offered here"),
                       ("*", "stands on the image 'win2000'"), ("../../x", "is not there any more")):  # fmt: skip
        staged = tmp_path / "staged"
        shutil.rmtree(staged, ignore_errors=True)
        staged.mkdir()
        (staged / "form.json").write_text(json.dumps({"format": 1, "desktop_saved": name}))
        binds = ["--bind", str(place), "--home", str(tmp_path)]
        env = {"SEVENLBD_STATE_DIR": None}
        done = harness.run("run", "--form", str(staged / "form.json"), options=binds, sif=place / "7lbd.sif", env=env)
        assert done.returncode != 0
        shown = app.card_of(staged, "FAILED").html.partition("<details")[0]
        assert says in re.sub(r"&#?\w+;", "'", shown), shown
        assert "begin with another one" in shown or "the site offers: win11, win10" in shown


def test_a_running_card_has_a_button_that_suspends(app: App, tmp_path: Path) -> None:
    staged = tmp_path / "staged"
    (staged / "report").mkdir(parents=True)
    (staged / "report" / "session.json").write_text(json.dumps(TOLD))
    (staged / "connection.yml").write_text("host: node1\nport: 20000\npassword: x\ntoken: key\nconsole: shown\n")
    shown = app.card_of(staged, "RUNNING")
    assert shown.title == "Running"
    assert re.search(r'<button type="submit" name="to" value="suspend"[^>]*>Suspend</button>', shown.html)


def test_the_app_takes_answers_to_an_older_form(app: App, tmp_path: Path) -> None:
    """The dashboard keeps form.yml for hours, and reads everything else afresh."""
    old = tmp_path / "form.yml"
    old.write_text(OLD_FORM)
    older = App(app.folder, app.data, app.pool, kept_form=old)
    args, form = older.asked(desktop_image="win10")
    assert args[args.index("-t") + 1] == "03:00:00", "the site's preset"
    assert {"--cpus-per-task=2", "--mem=8192M"} <= {*args}, "the first size"
    assert form == {
        "format": 1, "desktop_image": "win10", "desktop_size": "", "desktop_share_data": "", "desktop_folder": "",
        "desktop_saved": "",
    }  # fmt: skip


def test_the_app_takes_answers_to_a_form_that_offered_more(app: App) -> None:
    args, form = app.asked(desktop_size="8x65536", desktop_image="win11", bc_num_hours="8")
    assert {"--cpus-per-task=2", "--mem=8192M"} <= {*args}
    assert form["desktop_size"] == "8x65536", "the runtime tells the user"
    args, _ = app.asked(desktop_size="4x16384")
    assert {"--cpus-per-task=4", "--mem=16384M"} <= {*args}
