"""Which folders of ours no share shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from sevenlbd.config.settings import Settings
from sevenlbd.outside.session.preflight import private_places
from sevenlbd.wire.plan import Share


def hidden(home: Path, **settings: str) -> set[str]:
    """Those of a session that has the whole home as a share, by their paths in it."""
    share = Share("home", str(home), read_only=True)
    environment = {"HOME": str(home), "TMPDIR": str(home)}
    found = private_places.hidden(Settings.model_validate(settings), environment, [share])
    return {str(Path(path).relative_to(home)) for path in found}


def test_of_the_usual_state_nothing_shows_also_what_is_made_later(tmp_path: Path) -> None:
    """Of the grid there are keys and tokens in it, too."""
    assert ".local/state/7lbd" in hidden(tmp_path)


@pytest.mark.parametrize("name", ["grid", "grid-pool"])
def test_of_a_folder_that_the_user_has_named_only_what_is_ours(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine" / name).mkdir(parents=True)
    (tmp_path / "mine" / "thesis").mkdir()
    of_mine = {path for path in hidden(tmp_path, state_dir=str(tmp_path / "mine")) if path.startswith("mine")}
    assert of_mine == {"mine/sessions", "mine/saved", f"mine/{name}"}


def test_without_a_state_of_its_own_it_shows_nothing_of_other_sessions(tmp_path: Path) -> None:
    (tmp_path / ".local/state/7lbd").mkdir(parents=True)
    assert ".local/state/7lbd" in hidden(tmp_path, state_dir="off")


def test_who_shares_nothing_has_nothing_to_hide(tmp_path: Path) -> None:
    assert private_places.hidden(Settings(), {"HOME": str(tmp_path)}, []) == ()
