"""What a start loads, and what it does without: each of these costs a start more than it is worth there."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable


def loaded(code: str) -> Callable[[str], bool]:
    """What an interpreter has loaded after `code`."""
    call = [sys.executable, "-I", "-B", "-c", f"{code}\nimport sys\nprint(*sys.modules)"]
    names = set(subprocess.run(call, capture_output=True, text=True, check=True).stdout.split())
    return names.__contains__


def test_a_check_loads_no_event_loop_and_none_of_what_pydantic_would_only_look_for_plugins_with() -> None:
    there = loaded(
        """
import os, sys
os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
from sevenlbd.outside.session.preflight import checker
checker._checked(["run", "--image", "/nonexistent"], 0o022, checker._desktop)
from sevenlbd.outside.session.preflight import prepare
"""
    )
    assert there("pydantic")
    assert there("sevenlbd.outside.session.preflight.prepare")
    assert not any(map(there, ("asyncio", "ssl", "zipfile", "email", "jinja2", "pyroute2", "hmac")))


def test_what_else_is_wanted_of_the_packages_metadata_is_there() -> None:
    code = """
import sys
from sevenlbd.base import later
sys.modules.pop("importlib.metadata", None)
later.put_off()
from importlib.metadata import entry_points, version
assert entry_points(group="pydantic") == ()
try:
    version("no such package")
except Exception as error:
    assert type(error).__name__ == "PackageNotFoundError", error
else:
    raise AssertionError
"""
    assert loaded(code)("zipfile")


def test_tokens_are_made_by_what_is_loaded_for_them_then() -> None:
    begun = """
import sys
sys.modules.pop("secrets", None)
from sevenlbd.base import later
later.put_off()
import secrets
from sevenlbd.base import heartbeat
"""
    assert not loaded(begun)("hmac")
    used = "assert len(secrets.token_hex(16)) == 32 and secrets.token_hex(16) != secrets.token_hex(16)"
    assert loaded(f"{begun}{used}; from secrets import choice; assert choice([7]) == 7")("hmac")


def test_of_pyroute2_only_the_part_is_loaded_that_is_used() -> None:
    there = loaded("import sevenlbd.inside.setup")
    assert there("pyroute2.iproute.linux")
    assert not any(map(there, ("pyroute2.ndb.main", "pyroute2.ipdb", "sqlite3")))
