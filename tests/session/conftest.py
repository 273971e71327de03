"""Fixtures, a ladder: images, then a session that any test may change, then one that tests share.

On failure the session's folder (logs, session.json, last screen) is copied to build/test-failures and
its place printed.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import harness
import pytest
import sitenet
import strange
import web
from harness import Console, Session
from playwright.sync_api import Browser
from screens import Screen
from sitenet import SiteNet
from web import NewVisitor

COSTLY = ("test_accept.py", "test_accept_foreign.py", "test_image_build.py", "test_worker.py")
"""They take ten minutes each on a slow machine: last, and where there is time."""
LAST = ("test_slides.py", "test_coordinator_suspend.py")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """On a machine so slow that CI (`CI_END`, .ci/run) would end all of it by force, what does not fit is named."""
    # Minutes, with all that comes after it.
    needed = {**dict.fromkeys(COSTLY, 30), **dict.fromkeys(LAST, 12)}.get(item.path.name, 18)
    if (end := os.environ.get("CI_END")) and time.time() > float(end) - 60 * needed:
        pytest.skip("NOT RUN: this machine is too slow for CI's time")


@pytest.fixture(scope="session", autouse=True)
def _ordinary_user() -> None:
    assert os.getuid() != 0, "session tests run as an ordinary user: scripts/test session"
    assert harness.SIF.exists(), "there is no SIF: make sif"
    # The user's own register stays as it is; tests of it have one of their own.
    os.environ["SEVENLBD_STATE_DIR"] = "off"


@pytest.fixture(scope="session")
def grounds() -> Iterator[Path]:
    """A short place for what all files of tests share: socket paths have little room."""
    with _place() as place:
        yield place


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    """The same for one file of tests: which others run in this process changes from run to run."""
    with _place() as place:
        yield place


@contextmanager
def _place() -> Iterator[Path]:
    place = Path(tempfile.mkdtemp(prefix="7t-"))
    yield place
    harness.remove(place)


@pytest.fixture
def base(work: Path) -> Iterator[Path]:
    """Where this test's session folders are made; a test must leave it without any."""
    place = Path(tempfile.mkdtemp(dir=work, prefix="b"))
    yield place
    shutil.rmtree(place, ignore_errors=True)


@pytest.fixture(scope="module")
def net(work: Path) -> Iterator[SiteNet]:
    """A site's network, of a file of tests; what it has made lies in `work/net`."""
    folder = work / "net"
    folder.mkdir()
    with sitenet.up(folder) as made:
        yield made


@pytest.fixture(scope="session")
def blank_image(grounds: Path) -> Path:
    """An image that boots to nothing: enough for everything that needs no guest."""
    folder = grounds / "blank"
    folder.mkdir()
    harness.tool("qemu-img", "create", "-q", "-f", "qcow2", str(folder / "disk.qcow2"), "64M")
    (folder / "image.toml").write_text('os = "linux"\nfirmware = "bios"\nmemory = "128M"\ncpus = 1\nname = "blank"\n')
    return folder


FAILED = pytest.StashKey[bool]()


@pytest.fixture(scope="session")
def spare(grounds: Path) -> Path:
    """A copy of the demo image whose large files a test may link to.

    A link to those of the image itself changes their ctime, and a session of it that begins just then is refused.
    """
    folder = grounds / "spare"
    subprocess.run(["cp", "--archive", str(harness.DEMO), str(folder)], check=True)
    return folder


StartSession = Callable[..., Session]


@pytest.fixture
def start(base: Path, request: pytest.FixtureRequest) -> Iterator[StartSession]:
    """Starts sessions that end with the test, and proves that nothing of them is left."""
    before = harness.my_processes()
    sessions: list[Session] = []

    def begin(*arguments: str, **options: Any) -> Session:
        session = harness.start(*arguments, base=base, **options)
        sessions.append(session)
        return session

    yield begin
    if _failed(request):
        keep(base, request.node.name)
    for session in sessions:
        session.kill()
    left = harness.wait_until_gone(harness.my_processes() - before)
    assert not left, f"processes are left: {left}"
    assert harness.wait_until_gone(harness.my_processes() - before) == set()
    left_mounts = [line for line in Path("/proc/self/mounts").read_text().splitlines() if str(base) in line]
    assert not left_mounts
    left_folders = (
        [path.name for path in base.iterdir() if not path.name.startswith("failed-")] if base.exists() else []
    )
    assert not left_folders, f"folders are left: {left_folders}"


@pytest.fixture(scope="session")
def site(grounds: Path) -> Path:
    """A folder of a site's, with nothing but its copy of the SIF."""
    folder = grounds / "site"
    folder.mkdir()
    shutil.copy(harness.SIF, folder)
    return folder


Refuse = Callable[..., str]


@pytest.fixture
def refuse(base: Path) -> Iterator[Refuse]:
    """Runs what must be refused, and returns the message; nothing may be left of it."""
    before = harness.my_processes()

    def attempt(*arguments: str, code: int, says: Sequence[str], **options: Any) -> str:
        options.setdefault("timeout", 120)
        done = harness.run("run", "--session-dir", str(base), *arguments, **options)
        return strange.refusal(done, code, says)

    yield attempt
    assert not harness.wait_until_gone(harness.my_processes() - before)
    assert not base.exists() or not list(base.iterdir()), "folders are left"


def keep(folder: Path, name: str) -> None:
    """Copy what explains a failure to build/test-failures."""
    if not folder.exists():
        return  # the session has ended in order and left nothing to keep
    target = harness.KEPT / name.replace("/", "_")
    shutil.rmtree(target, ignore_errors=True)
    ignored = shutil.ignore_patterns("*.sock", "overlay.qcow2", "credentials.json", "lock")
    shutil.copytree(folder, target, ignore=ignored, ignore_dangling_symlinks=True)
    print(f"logs, session.json and screens are kept in {target}")


def _failed(request: pytest.FixtureRequest) -> bool:
    return bool(request.node.stash.get(FAILED, False))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell fixtures whether their test has failed."""
    report = yield
    if report.when == "call":
        item.stash[FAILED] = report.failed
    return report


class ToldAtOnce:
    """Names what fails, and what takes long, when it happens: a run that is cut off has told what it knew."""

    LONG = 60
    """Seconds of one step of a test that the suite should not spend often."""

    def __init__(self, terminal: pytest.TerminalReporter) -> None:
        self.terminal = terminal

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        crash = getattr(report.longrepr, "reprcrash", None)
        if report.failed:
            self._tell("failed", report, f": {str(crash.message).splitlines()[0]}" if crash else "")
        elif report.duration > self.LONG:
            self._tell("long", report, "")

    def _tell(self, what: str, report: pytest.TestReport, why: str) -> None:
        self.terminal.ensure_newline()
        self.terminal.write_line(f"{what}: {report.nodeid} ({report.when}, {report.duration:.0f} s){why}")


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    """The workers report to the one who prints, which is there only after the others' hooks."""
    terminal = config.pluginmanager.get_plugin("terminalreporter")
    if terminal is not None and not hasattr(config, "workerinput"):
        config.pluginmanager.register(ToldAtOnce(terminal))


class SharedDesktop:
    """A desktop that is started for the first who asks, and again for whoever asks after its end."""

    def __init__(self, grounds: Path) -> None:
        self._base = grounds / "demo"
        self._data = grounds / "data"
        (self._data / "deep").mkdir(parents=True)
        (self._data / "deep" / "read-me.txt").write_text("from the node\n")
        self._session: Session | None = None

    def ready(self) -> Session:
        if self._session is None:
            self._session = self._start()
        return self._session

    def _start(self) -> Session:
        share = f"data={self._data}:ro"
        options = ("--share", share, "--rdp-tls", "127.0.0.1:0", "--ready-timeout", "600")
        session = harness.start("--image", str(harness.DEMO), "--name", "demo", *options, base=self._base)
        try:
            session.wait_phase("ready", 600)
        except BaseException:
            keep(self._base, "demo")
            session.kill()
            raise
        return session

    def end(self) -> None:
        if self._session is not None:
            self._session.kill()
            self._session = None


@pytest.fixture(scope="session")
def shared_desktop(grounds: Path) -> Iterator[SharedDesktop]:
    """The one that `demo` gives out, file after file."""
    shared = SharedDesktop(grounds)
    yield shared
    shared.end()


@pytest.fixture(scope="module", autouse=True)
def _nothing_runs_idle(request: pytest.FixtureRequest, shared_desktop: SharedDesktop) -> None:
    """Without KVM, a guest that nobody uses takes a seventh of a core from the tests of other files."""
    if not any(_uses_demo(item) for item in request.session.items if item.path == request.path):
        shared_desktop.end()


def _uses_demo(item: pytest.Item) -> bool:
    return "demo" in getattr(item, "fixturenames", ())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that share the desktop come one after the other, and the costly ones last."""
    sharing = {item.path for item in items if _uses_demo(item)}
    items.sort(key=lambda item: (item.path.name in COSTLY, item.path in sharing))


@pytest.fixture(scope="module")
def demo(shared_desktop: SharedDesktop) -> Session:
    """One ready demo desktop that many tests share: none of them may end it or change its password."""
    return shared_desktop.ready()


@pytest.fixture
def guest(demo: Session) -> Iterator[Console]:
    """A shell in the shared desktop's guest."""
    console = Console(demo)
    yield console
    console.close()


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    """A screen of the user's own computer."""
    with Screen.made(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser for a module."""
    with web.chromium() as browser:
        yield browser


@pytest.fixture
def new_visitor(chromium: Browser, request: pytest.FixtureRequest) -> Iterator[NewVisitor]:
    """Makes visitors, each with a profile of its own; their pages must have complained of nothing in the end."""
    yield from web.visitors(chromium, request.node.name)
