"""The OnDemand app from its form to its end: real Ruby, real Slurm, real Chromium through a real Apache."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import harness
import ondemand
import pool as pools
import pytest
import web
import wire
from dashboard import App, Card, Launch, read_yaml, rendered
from ondemand import Portal
from pictures import is_a_desktop
from playwright.sync_api import Page
from pool import Pool
from web import NewVisitor, until, wait_state

SITE = """
portals = [{portals}]
min_space = "1G"
session_dir = "{sessions}"
state_dir = "{state}"
stop_grace = "20s"
[slurm]
partition = "main"
setup = ["site_setup='it'\\"'\\"'s run; <%= 1 %>'"]
binds = [{binds}]
[ondemand]
cluster = {cluster}
images = [{images}]
max_hours = 8
shares = ["data={data}:ro"]
share_roots = ["{roots}"]
proxy = "/{proxy}"
options = ["--requeue"]
{more}
"""


@pytest.fixture(scope="module")
def portal(work: Path) -> Iterator[Portal]:
    with ondemand.running(work / "portal") as made:
        yield made


@pytest.fixture(scope="module")
def strict(work: Path) -> Iterator[Portal]:
    """One that lets no cookie through."""
    with ondemand.running(work / "strict", strips_cookies=True) as made:
        yield made


@pytest.fixture(scope="module")
def place(work: Path) -> Path:
    """A site's folder with the SIF, and beside it what the form may ask for."""
    folder = work / "ood"
    for name in ("data", "roots/mine", "sessions", "output"):
        (folder / name).mkdir(parents=True)
    (folder / "sessions").chmod(0o700)
    (folder / "roots" / "out").symlink_to("/etc")
    shutil.copy(harness.SIF, folder)
    return folder


Render = Callable[..., Path]


@pytest.fixture(scope="module")
def render(place: Path, portal: Portal, strict: Portal, blank_image: Path) -> Render:
    """Writes the site's file and renders the app into a folder of this name."""

    usual = f'"{harness.DEMO}=The <b>desktop</b>", "{blank_image}"'

    def made(name: str, proxy: str = "node", more: str = "", images: str = usual, cluster: str = '"test"') -> Path:
        # What the tests themselves are run with must be in the job, too, whose environment is empty.
        binds = [bind for bind in os.environ.get("APPTAINER_BIND", "").split(",") if bind]
        values = {word: str(place / word) for word in ("sessions", "data", "roots", "state")}
        values |= {"images": images, "cluster": cluster, "proxy": proxy, "more": more}
        values |= {"portals": json.dumps([portal.origin, strict.origin])[1:-1], "binds": json.dumps(binds)[1:-1]}
        (place / "7lbd.toml").write_text(SITE.format(**values))
        rendered(place, place / name)
        return place / name

    return made


@pytest.fixture(scope="module")
def pool(work: Path) -> Iterator[Pool]:
    with pools.running(work / "p", cpus=4, memory_mb=9000) as made:
        yield made


@pytest.fixture(scope="module")
def folder(render: Render) -> Path:
    """The app under /node, rendered last, so that jobs find its site file; there is one under /rnode, too."""
    render("app-rnode", "rnode")
    return render("app")


AppIn = Callable[[Path], App]


@pytest.fixture
def app_in(place: Path, pool: Pool) -> Iterator[AppIn]:
    """Apps by their folders; after the test nothing of their sessions may be left."""
    before = harness.my_processes()
    made: list[App] = []

    def known(folder: Path) -> App:
        made.append(App(folder, place / "output", pool))
        return made[-1]

    yield known
    for session in (session for app in made for session in app.launched):
        if session.state() in ("PENDING", "RUNNING", "COMPLETING"):
            pool.cancel(session.job)
            pool.wait(session.job)
        assert not (session.staged / "connection.yml").exists()
        assert not (session.staged / "report" / "connection").exists()
    assert not harness.wait_until_gone(harness.my_processes() - before)
    left = [path.name for path in (place / "sessions").glob("*") if not path.name.startswith("failed-")]
    assert not left


@pytest.fixture
def app(folder: Path, app_in: AppIn) -> App:
    return app_in(folder)


def _show(portal: Portal, page: Page, html: str) -> None:
    """Put the card on the dashboard and look at it there."""
    (portal.folder / "htdocs" / "sessions.html").write_text(
        f'<!doctype html><meta charset="utf-8"><title>My Interactive Sessions</title><main>{html}</main>'
    )
    page.goto(f"{portal.origin}/sessions.html")


def _press(page: Page, button: str) -> Page:
    with page.context.expect_page() as opened:
        page.click(f"button:text-is('{button}')")
    return opened.value


def test_from_the_form_to_the_desktop_and_to_its_end(
    app: App, portal: Portal, strict: Portal, place: Path, new_visitor: NewVisitor
) -> None:
    session = app.launch(bc_num_hours="2", desktop_image=str(harness.DEMO), desktop_share_data="1",
                         desktop_folder=str(place / "roots" / "mine"))  # fmt: skip
    told = session.wait_told("ready")
    listed = session.shares()
    assert {"Disk|home|", "Disk|data|", "Disk|folder|"} <= {line[: line.rfind("|") + 1] for line in listed.splitlines()}
    until("connection.yml", lambda: app.card(session).title == "Running")
    connection = read_yaml(session.staged / "connection.yml")
    assert (session.staged / "connection.yml").stat().st_mode & 0o077 == 0
    assert {"host", "port", "password", "token", "console"} == set(connection)
    assert (connection["port"], connection["console"]) == (urlsplit(told["url"]).port, "shown")
    running = app.card(session)
    page = new_visitor(portal.origin).open("about:blank")
    place_of = f"{connection['host']}/{connection['port']}/"
    _show(portal, page, running.html)
    web.shot(page, "ood-card.png")
    _each_button_opens_its_page(page, f"{portal.origin}/node/{place_of}")
    _new_locks_come_to_the_card(session, place, connection["token"])
    _show(portal, page, App(place / "app-rnode", app.data, app.pool).card(session).html)
    console = _press(page, "Console")
    wait_state(console, "connected")
    assert console.url == f"{portal.origin}/rnode/{place_of}console"
    console.close()
    _lost_cookies_are_told(strict, app.card(session), new_visitor)
    _no_secret_in(session, portal, connection["token"])
    app.pool.cancel(session.job)
    assert app.pool.wait(session.job)["JobState"] == "CANCELLED"
    ended = session.told()
    assert (ended["phase"], ended["end"]) == ("ended", "the guest shut down"), session.output()
    over = app.card(session)
    assert over.title == "Completed"
    assert "has ended" in over.html
    assert connection["token"] not in over.html


def test_a_desktop_that_is_suspended_on_its_card_goes_on_from_the_form(
    app: App, portal: Portal, new_visitor: NewVisitor
) -> None:
    session = app.launch(desktop_image=str(harness.DEMO))
    name = session.wait_told("ready")["id"]
    until("connection.yml", lambda: app.card(session).title == "Running")
    page = new_visitor(portal.origin).open("about:blank")
    _show(portal, page, app.card(session).html)
    shown = _press(page, "Suspend")
    until("its end", lambda: "suspended" in shown.locator("main").inner_text(), page=shown)
    web.shot(shown, "ood-suspended.png")
    app.pool.wait(session.job)
    assert session.told()["phase"] == "suspended", session.output()
    over = app.card(session)
    assert "To go on from there, start a new one, and begin with it" in over.html
    _show(portal, page, over.html)
    web.shot(page, "ood-suspended-card.png")
    offered = app.form()["attributes"]["desktop_saved"]["options"]
    assert [value for _, value in offered] == ["", "*", name]
    # As a form of hours ago has it, and with an image that it does not stand on.
    again = app.launch(desktop_saved="*", desktop_image="none")
    assert again.wait_told("ready")["id"] == name
    app.pool.cancel(again.job)
    app.pool.wait(again.job)


def _each_button_opens_its_page(page: Page, here: str) -> None:
    console = _press(page, "Console")
    wait_state(console, "connected")
    until("the screen", lambda: web.picture(console).guest_width >= 640, page=console)
    assert console.url == f"{here}console"
    native = _press(page, "Native RDP client")
    until("the tunnel", lambda: "ssh -L" in native.locator("#ssh").inner_text(), page=native)
    with native.expect_download() as given:
        native.click("a[href$='desktop.rdp']")
    assert "full address" in given.value.path().read_text()
    desktop = _press(page, "Open the desktop")
    assert desktop.url == f"{here}desktop"
    wait_state(desktop, "connected")
    until("a desktop", lambda: is_a_desktop(web.shot(desktop, "ood-desktop.png")), page=desktop)
    for tab in (console, native, desktop):
        tab.close()


def _new_locks_come_to_the_card(session: Launch, place: Path, old: str) -> None:
    done = harness.run("connect", f"job{session.job}", "--renew", "--session-dir", str(place / "sessions"))
    assert done.returncode == 0, done.stderr
    file = session.staged / "connection.yml"
    until("the new key", lambda: (read_yaml(file) or {}).get("token", old) != old)
    assert file.stat().st_mode & 0o077 == 0


def _lost_cookies_are_told(strict: Portal, card: Card, new_visitor: NewVisitor) -> None:
    page = new_visitor(strict.origin).open("about:blank")
    _show(strict, page, card.html)
    answer = _press(page, "Open the desktop")
    answer.wait_for_selector("body[data-page=login]")
    assert "without the cookie" in answer.locator("#message").inner_text()


def _no_secret_in(session: Launch, portal: Portal, token: str) -> None:
    assert token not in portal.logs()
    assert token not in session.output()
    for file in session.staged.rglob("*"):
        if file.is_file() and file.stat().st_mode & 0o077:
            assert token not in file.read_text(errors="replace"), file


def test_a_card_has_no_buttons_before_the_desktop_and_the_walltime_ahead_ends_it_in_order(
    app: App, blank_image: Path
) -> None:
    app.set_host = "host=node7.cluster.example.edu"
    session = app.launch(bc_num_hours="1", desktop_image=str(blank_image))
    _is_known_by_the_portals_name_for_it(session.wait_told("booting")["url"])
    starting = app.card(session)
    assert starting.title == "Starting"
    assert "on its way" in starting.html
    assert "<form" not in starting.html
    app.pool.cancel(session.job, options=("--signal=USR1", "--batch"))
    app.pool.wait(session.job)
    assert session.told()["phase"] == "ended", session.output()
    assert "Cleaning up" in session.output()


def _is_known_by_the_portals_name_for_it(url: str) -> None:
    port = urlsplit(url).port
    for name, status in (("node7.cluster.example.edu", 200), ("node8.cluster.example.edu", 421)):
        assert wire.ask("GET", url, {"Host": f"{name}:{port}", "X-Forwarded-Host": ondemand.NAME}).status == status


def test_a_preempted_session_starts_anew_without_the_old_buttons(app: App, blank_image: Path) -> None:
    session = app.launch(bc_num_hours="1", desktop_image=str(blank_image))
    session.wait_told("booting")
    (session.staged / "connection.yml").write_text("host: gone\nport: 1\npassword:\ntoken: old\nconsole: none\n")
    urgent = app.pool.sbatch("sleep 2", "--partition=urgent", "--exclusive", "--output=/dev/null")
    app.pool.wait(session.job, "PENDING", timeout=60)
    assert not (session.staged / "connection.yml").exists()
    app.pool.wait(urgent)
    # Slurm lets a job that it has put back wait for a while, unless it is told that the time has come.
    app.pool.call("scontrol", "update", f"JobId={session.job}", "StartTime=now")
    until("another life", lambda: session.told().get("restarts") == 1)
    session.wait_told("booting")
    assert app.card(session).title == "Starting"
    app.pool.cancel(session.job)
    app.pool.wait(session.job)


HOSTILE = [
    ({"desktop_image": "x'; touch {mark}; '\n--share=a=/etc\n`touch {mark}`$(touch {mark})"}, "--share"),
    ({"desktop_image": "<%= `touch {mark}` %>"}, "touch"),
    ({"desktop_folder": "{roots}/out"}, "outside of what the site allows"),
]
"""More of them are in the unit tests of the form."""


def test_hostile_values_of_the_form_reach_nobody(app: App, place: Path, tmp_path: Path) -> None:
    mark, roots = tmp_path / "mark", place / "roots"
    sessions = []
    for form, says in HOSTILE:
        filled = {
            name: value.replace("{mark}", str(mark)).replace("{roots}", str(roots)) for name, value in form.items()
        }
        sessions.append((app.launch("--cpus-per-task=1", "--mem=500M", bc_num_hours="1", **filled), says))
    for session, says in sessions:
        app.pool.wait(session.job)
        assert session.state() == "FAILED"
        assert says in session.output(), session.output()
        assert "Traceback" not in session.output()
        shown = app.card(session)
        assert shown.title == "Completed"
        assert "7lbd: " in shown.html
        assert "<%" not in shown.html
    assert not mark.exists()


def test_what_cannot_become_a_job_is_refused_on_the_form(app: App) -> None:
    for hours in ("0", "9", "-1", "1; id", "1\n--uid=0", "", "1e3", "0x10", "99999999999999999999"):
        assert "Hours" in app.refused(bc_num_hours=hours), hours


def test_somebody_without_a_home_or_a_shell_still_gets_a_desktop(app: App, blank_image: Path, tmp_path: Path) -> None:
    trap = tmp_path / "env.sh"
    trap.write_text("echo from BASH_ENV; cd /; alias exec=false; set -uf\n")
    strange = (
        f"HOME=/no where/at all,SHELL=/bin/false,BASH_ENV={trap},CDPATH=/usr,PATH=/nonexistent,TMPDIR=/nonexistent"
    )
    session = app.launch(f"--export={strange}", bc_num_hours="1", desktop_image=str(blank_image))
    session.wait_told("booting")
    app.pool.cancel(session.job)
    app.pool.wait(session.job)
    assert session.told()["phase"] == "ended", session.output()
    assert "Traceback" not in session.output()


def test_an_upgrade_renders_again_without_touching_what_the_site_changed(
    place: Path, render: Render, app_in: AppIn
) -> None:
    folder = render("own")
    (folder / "site").mkdir()
    (folder / "site" / "before.sh").write_text("echo the site was here: ${BASH_VERSION%%.*}\n")
    (folder / "site" / "view.html.erb").write_text("<p>Help: <%= 6 * 7 %></p>\n")
    (folder / "form.yml.erb").write_text((folder / "form.yml.erb").read_text() + "# mine\n")
    said = rendered(place, folder)
    assert "form.yml.erb has been changed" in said
    assert (folder / "form.yml.erb").read_text().endswith("# mine\n")
    assert "42" not in (folder / "view.html.erb").read_text()
    assert "6 * 7" in (folder / "view.html.erb").read_text()
    own = app_in(folder)
    session = own.launch(bc_num_hours="1", desktop_image="none")
    own.pool.wait(session.job)
    assert "the site was here: 5" in session.output()
    assert "left as it is" not in rendered(place, folder, "--force")
    assert "# mine" not in (folder / "form.yml.erb").read_text()


def test_what_the_site_writes_means_nothing_to_ruby_yaml_and_shell(
    render: Render, app_in: AppIn, tmp_path: Path
) -> None:
    mark = tmp_path / "mark"
    evil = f"a'b\\\"c <%= `touch {mark}` %> #{{`touch {mark}`}} $(touch {mark}) %> @{{ x }}@ {{{{ x }}}} é 🖥"
    more = f'title = "{evil}"\n[[ondemand.sizes]]\nlabel = "{evil}"\ncpus = 1\nmemory = "600M"\n'
    more += f'options = ["--comment={evil}"]\n[[ondemand.sizes]]\ncpus = 2\nmemory = "1G"\n'
    folder = render("evil", more=more)
    plain = evil.replace('\\"', '"')
    form = app_in(folder).form()
    assert form["title"] == plain
    assert form["attributes"]["desktop_size"]["options"][0] == [plain, "1x600"]
    app = app_in(folder)
    session = app.launch(bc_num_hours="1", desktop_size="1x600", desktop_image="none")
    assert f"Comment={plain}" in app.pool.call("scontrol", "show", "job", str(session.job))
    app.pool.wait(session.job)
    assert not mark.exists()
    assert f"--comment={plain}" in app.asked(bc_num_hours="1", desktop_size="9x9")[0], "the first size"


SAVED = {"image": "suspends", "version": "7", "title": "Suspends@7", "saved_at": 1.8e9}
LARGE = {"cpus": 3, "memory": 12 << 30}


def suspended_desktop(place: Path, name: str, machine: object, **more: object) -> None:
    """What the app sees of one: its header."""
    facts = SAVED | {"machine": machine} | more
    text = b"7lbd saved desktop, format 1\n" + json.dumps({"facts": facts}).encode()
    (place / "state" / "saved").mkdir(parents=True, exist_ok=True)
    (place / "state" / "saved" / f"{name}.7lbd").write_bytes(text.ljust(32 << 10))


def described(images: Path, blank: Path, name: str, more: str = "") -> None:
    (images / name).mkdir(parents=True)
    shutil.copy(blank / "disk.qcow2", images / name)
    (images / name / "image.toml").write_text(f'name = "{name}"\nos = "linux"\n{more}')


def test_a_job_asks_for_what_its_image_and_its_suspended_desktop_need(
    render: Render, app_in: AppIn, place: Path, blank_image: Path
) -> None:
    shutil.rmtree(place / "state" / "saved", ignore_errors=True)  # with what suspending took other tests
    described(place / "images", blank_image, "ends")
    described(place / "images", blank_image, "suspends", 'at_end = "suspend"\n')
    more = (
        'condor_clusters = ["pool"]\nsizes = [{ cpus = 2, memory = "4G", options = ["--gres=a"] }, { memory = "8G" }]\n'
    )
    site = (place / "7lbd.toml").read_text() if (place / "7lbd.toml").exists() else ""
    folder = render("sized", more=more, images='"ends", "suspends"', cluster='["test", "pool"]')
    app = app_in(folder)

    def asked(**form: str) -> dict[str, str]:
        words, _ = app.asked(bc_num_hours="1", **form)
        found = [word if isinstance(word, list) else word.partition("=")[::2] for word in words]
        return {str(name): str(value) for name, value in found if not str(name).startswith("/")}

    small, large = asked(), asked(desktop_image="suspends", desktop_size="2x8192")
    assert (small["--mem"], small["--cpus-per-task"], small["--gres"]) == ("4096M", "2", "a")
    lead = int(small["--signal"].removeprefix("B:USR1@"))
    # 5 s, and one and a half times 8 GiB at 128 MiB/s; then 20 s for a shutdown, and 10 for what comes after.
    assert int(large["--signal"].removeprefix("B:USR1@")) == max(lead, 5 + 96 + 20 + 10)
    on_condor = asked(cluster="pool", desktop_image="suspends")
    assert (on_condor["job_max_vacate_time"], on_condor["request_memory"]) == (str(5 + 48 + 20 + 10), "4096M")
    assert on_condor["+vm_name"] == "'\"suspends\"'"
    assert asked(cluster="pool")["job_max_vacate_time"] == "30"
    suspended_desktop(place, "large", LARGE)
    for wanted in ("large", "*"):
        words = asked(desktop_saved=wanted, desktop_image="ends")
        memory = (12 << 10) + 512
        assert (words["--mem"], words["--cpus-per-task"]) == (f"{memory}M", "3")
        assert int(words["--signal"].removeprefix("B:USR1@")) == 5 + -(-memory * 3 // 256) + 30
        words = asked(cluster="pool", desktop_saved=wanted)
        assert (words["+vm_name"], words["request_cpus"]) == ("'\"suspends@7\"'", "3")
    (place / "state" / "saved" / "rate").write_text(str(16 << 20))
    assert asked(cluster="pool", desktop_image="suspends")["job_max_vacate_time"] == str(5 + 48 * 8 + 30), "as measured"
    (place / "state" / "saved" / "rate").write_text(str(4 << 20))
    half = asked(desktop_image="suspends", desktop_size="2x8192")["--signal"]
    least = 20 + 10
    assert half == f"B:USR1@{(3600 - least) // 2 + least}", "half is the user's, though it is reckoned to take 3107 s"
    evil = "7'; touch x; '"
    suspended_desktop(place, "large", {"cpus": "3; x", "memory": -5}, version=evil)
    words = asked(cluster="pool", desktop_saved="large")
    assert (words["request_memory"], words["request_cpus"], words["+vm_name"]) == ("4096M", "2", "'\"suspends\"'")
    suspended_desktop(place, "large", [])
    assert asked(desktop_saved="large") == asked(desktop_saved="gone") == small
    (place / "7lbd.toml").write_text(site)
    shutil.rmtree(place / "state" / "saved")
