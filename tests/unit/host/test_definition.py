"""One recipe, two starting points: the definition is whole and says the same from either."""

from __future__ import annotations

from pathlib import Path

import pytest
from sifbuild import definition, paths, stages
from sifbuild.inputs import Revision
from sifbuild.process import BuildError
from spython.main.parse.parsers import SingularityParser

REVISION = Revision("0123abcd", 1700000000)
TREE = paths.TMP / "tree"


def render(origin: definition.Origin) -> str:
    return definition.render(origin, TREE, REVISION)


def test_the_two_variants_differ_only_in_where_they_start() -> None:
    docker = render(definition.DOCKER).splitlines()
    local = render(definition.local(paths.BUILD / "base.sqfs")).splitlines()
    assert docker[:2] == ["Bootstrap: docker", "From: debian:trixie"]
    assert local[:2] == ["Bootstrap: localimage", "From: build/base.sqfs"]
    assert docker[2:] == local[2:]


def test_a_parser_finds_every_section(tmp_path: Path) -> None:
    path = tmp_path / "7lbd.def"
    path.write_text(render(definition.DOCKER))
    recipe = SingularityParser(str(path)).parse()["spython-base"]
    assert recipe.fromHeader == "debian:trixie"
    assert f"org.opencontainers.image.revision {REVISION.commit}" in " ".join(map(str, recipe.labels))
    assert any("base.sh" in line for line in recipe.install)
    assert recipe.test


def test_no_path_of_the_building_machine_gets_into_the_definition() -> None:
    assert str(paths.REPO) not in render(definition.DOCKER)


def test_everything_that_files_asks_for_is_laid_out(
    tmp_path: Path, repo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = stages.Parts(*(tmp_path / name for name in stages.Parts._fields))
    for folder in parts:
        folder.mkdir()
    tree = repo / "tree"
    stages.lay_out(tree, parts, REVISION)
    for source, target in definition.files(tree):
        assert list(repo.glob(source)), source
        assert target.startswith("/usr/")
    assert not list(tree.rglob("__pycache__"))


def test_the_run_script_hands_nothing_of_the_callers_python_on() -> None:
    script = render(definition.DOCKER).partition("%runscript")[2].partition("%test")[0]
    assert "exec /usr/bin/env --block-signal=INT /usr/bin/python3 -IS /usr/bin/7lbd" in script
    for name in ("LD_PRELOAD", "LD_LIBRARY_PATH", "BASH_ENV", "PYTHON"):
        assert name in script


def test_the_version_is_the_runtimes() -> None:
    assert definition.version()[0].isdigit()
    assert f"7lbd appliance {definition.version()}" in render(definition.DOCKER)


@pytest.mark.parametrize(("base", "compression"), [("fedora", "zstd"), ("debian", "rar")])
def test_an_unknown_choice_is_refused_by_name(base: str, compression: str) -> None:
    with pytest.raises(BuildError, match=r"fedora|rar"):
        stages.plan(base, compression)
