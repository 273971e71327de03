"""Two real pools that know nothing of each other but an address: the example of docs/condor.md runs through both.

What is no image's affair is done by a stand-in for `7lbd`: a desktop here is a file that grows. That of a real one goes
the same way, and is looked at where desktops are suspended.
"""

from __future__ import annotations

import hashlib
import re
import time
from pathlib import Path

import condor
import harness

PAGE = harness.REPO / "docs" / "condor.md"
_DONE_SECONDS = 600  # four transfers, two negotiations, and DAGMan's look at its log
# Appends its place to the desktop that it goes on from; with --for it is suspended, and else it finishes.
STAND_IN = """#!/bin/sh
desk=desk.7lbd
[ -e "$desk" ] && before=$(sha256sum < "$desk") || before=none
{ echo "before: $before"; echo "at: $PWD"; sha256sum < data.bin; } >> "$desk"
case "$*" in *--for*) exit 85;; esac
cat "$desk" data.bin > result.bin
"""


def example(folder: Path) -> None:
    """The files of the page, by the names in their first lines."""
    blocks = re.findall(
        r"^```(?:text|sh elsewhere)\n((?:#!.*\n)?# (\S+?):?(?: .*)?\n.*?)^```$", PAGE.read_text(), re.M | re.S
    )
    files = {name: text for text, name in blocks if re.fullmatch(r"[a-z-]+\.(dag|sub|sh)", name)}
    assert sorted(files) == ["first.sub", "second.sub", "two-pools.dag", "work.sh"]
    for name, text in files.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def test_the_example_of_the_page_finishes_in_the_other_pool(work: Path) -> None:
    with condor.two(work) as (first, second):
        example(first.jobs)
        place = (first.jobs / "second.sub").read_text()
        place = place.replace("SCHEDD_OF_POOL_B", condor.schedd(second)).replace(
            "COLLECTOR_OF_POOL_B:9618", second.address
        )
        (first.jobs / "second.sub").write_text(place)
        for name in ("first.sub", "second.sub"):
            small = re.sub(r"^(request_\w+) = .*$", r"\1 = 100M", (first.jobs / name).read_text(), flags=re.M)
            (first.jobs / name).write_text(small)
        (first.jobs / "7lbd").write_text(STAND_IN)
        script = (first.jobs / "work.sh").read_text()
        (first.jobs / "work.sh").write_text(script.replace("7lbd run", f"sh {first.jobs}/7lbd run"))
        data = hashlib.sha256(b"data").digest() * 10_000
        (first.jobs / "data.bin").write_bytes(data)
        first.call("condor_submit_dag", "two-pools.dag")
        result = first.jobs / "result.bin"
        deadline = time.monotonic() + _DONE_SECONDS
        while first.call("condor_q", "-autoformat", "ClusterId").strip():
            assert time.monotonic() < deadline, f"{first.story()}\n{second.story()}"
            time.sleep(0.5)
        desk = (first.jobs / "desk.7lbd").read_bytes()
        told = result.read_bytes().removesuffix(data).decode()
        assert told.startswith(desk.decode()), "the second went on from what the first had left"
        assert f"before: {hashlib.sha256(desk).hexdigest()}" in told, "byte for byte"
        assert told.count(hashlib.sha256(data).hexdigest()) == 2, "and both had the data whole"
        places = re.findall(r"^at: (.*)$", told, re.M)
        assert [Path(place).is_relative_to(work / pool) for place, pool in zip(places, "ab", strict=True)] == [
            True,
            True,
        ]
        assert second.ad("1.0", "ExitCode") == ["0"], "it ran in the other pool's own queue"
