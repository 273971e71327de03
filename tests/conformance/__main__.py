"""scripts/test conformance: the Autobahn suite against the gateway's WebSockets.

A whole run writes build/conformance.md, which is docs/conformance.md when it is copied there. Exit code 1 when a case
fails that is not known to.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from .report import LIMITED, REFUSED, UNLIMITED, Report

REPO = Path(__file__).parents[2]
SUITE = REPO / "build" / "conformance-suite"
PAGE = REPO / "build" / "conformance.md"
_TIMEOUT = 900.0
# Larger than the gateway lets a message be, whole or in fragments; three of them show that it refuses them.
_LARGE = ["9.1.5", "9.1.6", "9.2.5", "9.2.6", *(f"9.{section}.{case}" for section in (3, 4) for case in range(1, 10))]
_LARGE.remove(REFUSED[2])
# The fuzzing client knows no list of cases by server, only of those to leave out.
_OTHERS = [
    "1.*",
    "2.*",
    "3.*",
    "4.*",
    "5.*",
    "6.*",
    "7.*",
    "10.*",
    "9.1.1",
    "9.1.2",
    "9.1.3",
    "9.2.1",
    "9.2.2",
    "9.2.3",
]
_OTHERS += ["9.5.*", "9.6.*", "9.7.*", "9.8.*"]
_COMPRESSION = ["12.*", "13.*"]


def main() -> int:
    """Serve, run the suite, write the page."""
    options = _parse()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="7lbd-conformance-")))
        urls = {LIMITED: stack.enter_context(_served()), UNLIMITED: stack.enter_context(_served("unlimited"))}
        report = Report(_run_suite(folder, urls, options.cases))
    print(report.text())
    if options.cases == ["*"]:
        PAGE.write_text(report.page())
    return 1 if report.unexpected else 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/test conformance", description=__doc__)
    parser.add_argument("cases", nargs="*", default=["*"], help="such as 6.* 7.9.5; all when none is named")
    return parser.parse_args()


@contextmanager
def _served(*words: str) -> Iterator[str]:
    """The address of an echo in the SIF, with the runtime of this tree."""
    runtime = f"{REPO}/runtime/sevenlbd:/usr/lib/7lbd/sevenlbd"
    call = ["apptainer", "exec", "--cleanenv", "--bind", str(REPO), "--bind", runtime, "--pwd", str(REPO)]
    call += ["--env", "PYTHONDONTWRITEBYTECODE=1", str(REPO / "build" / "7lbd.sif")]
    server = subprocess.Popen(
        [*call, "python3", "-m", "tests.conformance.echo", *words], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout
        yield f"ws://127.0.0.1:{int(server.stdout.readline())}/"
        assert server.poll() is None, "the server did not live through the suite"
    finally:
        server.terminate()
        server.wait(10)


def _run_suite(folder: Path, urls: dict[str, str], cases: list[str]) -> Path:
    """The suite's own index of results."""
    specification = {
        "outdir": str(folder / "report"),
        "servers": [{"agent": agent, "url": url} for agent, url in urls.items()],
        "cases": cases,
        "exclude-cases": _COMPRESSION,
        "exclude-agent-cases": {LIMITED: _LARGE, UNLIMITED: _OTHERS},
    }
    (folder / "specification.json").write_text(json.dumps(specification))
    python = SUITE / "python" / "usr"
    program = f"import site; site.addsitedir({str(SUITE / 'site')!r}); from autobahntestsuite.wstest import run; run()"
    log = folder / "log"
    with log.open("w") as output:
        done = subprocess.run(
            [python / "bin" / "python2.7", "-c", program, "-m", "fuzzingclient", "-s", "specification.json"],
            env={
                "LD_LIBRARY_PATH": str(python / "lib" / "x86_64-linux-gnu"),
                "PYTHONHOME": str(python),
                "PYTHONDONTWRITEBYTECODE": "1",
                "HOME": os.environ["HOME"],
            },
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            timeout=_TIMEOUT,
            check=False,
        )
    assert done.returncode == 0, log.read_text()
    return folder / "report" / "index.json"


if __name__ == "__main__":
    raise SystemExit(main())
