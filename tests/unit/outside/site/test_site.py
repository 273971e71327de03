"""The site file's tables: read, refused by name, and written again."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config import sources
from sevenlbd.config.merging import Source, from_table, load
from sevenlbd.config.settings import TABLES, Settings
from sevenlbd.config.tables import Table
from sevenlbd.outside.cli import dispatch
from sevenlbd.outside.site import site_file, site_tables
from sevenlbd.outside.site.ondemand_table import OnDemandTable


def read(folder: Path, text: str) -> site_tables.Site:
    """What a site says in the file beside its SIF."""
    (folder / "7lbd.toml").write_text(text)
    return site_tables.read(sources.look_around({"APPTAINER_CONTAINER": str(folder / "7lbd.sif")}))


def test_a_site_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    found = site_tables.read(sources.look_around({"APPTAINER_CONTAINER": str(tmp_path / "7lbd.sif")}))
    assert (found.file, found.slurm, found.ondemand) == (None, site_tables.SlurmTable(), OnDemandTable())


def test_the_tables_are_read_beside_the_settings(tmp_path: Path) -> None:
    text = """
        memory = "8G"
        [slurm]
        partition = "desk,big"
        time = "12h"
        memory = "16G"
        options = ["--gres=gpu:1"]
        setup = ["module load apptainer"]
        binds = ["/apps", "/scratch:/scratch:ro"]
        [ondemand]
        cluster = "blue"
        """
    found = read(tmp_path, text)
    assert found.file == tmp_path / "7lbd.toml"
    assert (found.slurm.partition, found.slurm.time, found.slurm.memory) == ("desk,big", 43200, 16 << 30)
    assert found.slurm.options == ("--gres=gpu:1",)
    assert found.slurm.setup == ("module load apptainer",)
    assert found.slurm.binds == ("/apps", "/scratch:/scratch:ro")
    assert found.ondemand.cluster == ("blue",)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slurm = 7", "`slurm` is a table"),
        ('[slurm]\npartitoin = "x"', r"\[slurm\] `partitoin` is not a key of this table; did you mean `partition`\?"),
        ('[slurm]\npartition = "a b"', r"\[slurm\] `partition` = \"a b\": a name has letters"),
        ('[slurm]\npartition = "a;reboot"', "a name has letters"),
        ("[slurm]\npartition = 7", r"\[slurm\] `partition` = 7: it must be text"),
        ('[slurm]\ntime = "soon"', "a duration is a number"),
        ('[slurm]\ntime = "5s"', "it must be greater than or equal to 60"),
        ('[slurm]\ncpus = "two"', r"\[slurm\] `cpus` = \"two\": it must be a whole number"),
        ('[slurm]\nmemory = "lots"', "a size is a number"),
        ('[slurm]\noptions = ["gres=gpu"]', "each is an option of sbatch"),
        ('[slurm]\nconstraint = "a\\nb"', "one line of printable characters"),
        ('[slurm]\nsetup = ["module load x\\nreboot"]', "one line of printable characters"),
        ('[slurm]\nbinds = ["data"]', "each is a path from the root"),
        ('[slurm]\nbinds = ["/a,/b"]', "without a comma"),
        ('[slurm]\nsif = "7lbd.sif"', "a path from the root"),
        ('[slurm]\napptainer = ""', "at least 1 character"),
        ('[slurm]\njob_name = ""', "at least 1 character"),
        ('[ondemand]\nclusters = "x"', r"\[ondemand\] `clusters` is not a key of this table; did you mean `cluster`\?"),
        ("[ondemand]\nsizes = []", r"\[ondemand\] `sizes` is empty"),
        ("[[ondemand.sizes]]\ncpu = 2", r"\[ondemand\] `sizes.0.cpu` is not a key of this table"),
    ],
)
def test_what_is_wrong_in_a_table_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refusal, match=says) as caught:
        read(tmp_path, text)
    assert caught.value.code is ExitCode.USAGE
    assert caught.value.what.startswith(str(tmp_path / "7lbd.toml"))
    assert caught.value.hint


def test_a_setting_below_a_table_is_sent_up(tmp_path: Path) -> None:
    with pytest.raises(
        Refusal, match=r"\[slurm\] `accel` is not a key of this table; as a setting it must stand above"
    ):
        read(tmp_path, '[slurm]\naccel = "kvm"')


def test_a_table_that_is_mistyped_or_in_a_users_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"`slrum` is not a setting; did you mean `slurm`\?"):
        from_table({"slrum": {}}, "7lbd.toml", trusted=True)
    with pytest.raises(Refusal, match=r"the table \[slurm\] is for the site's settings file only"):
        from_table({"slurm": {}}, "7lbd.toml", trusted=False)


def test_a_session_does_not_stumble_over_the_portals_tables(tmp_path: Path) -> None:
    with pytest.raises(Refusal):
        read(tmp_path, 'memory = "3G"\n[ondemand]\nclusters = "x"')
    here = sources.look_around({"APPTAINER_CONTAINER": str(tmp_path / "7lbd.sif")})
    assert sources.settings(here, Source("command line", {})).settings.memory == 3 << 30


def test_the_tables_are_those_that_the_settings_leave_alone() -> None:
    assert tuple(site_tables.TABLES) == TABLES


@pytest.mark.parametrize(
    ("kind", "name"), [(kind, name) for kind in site_tables.TABLES.values() for name in kind.model_fields]
)
def test_every_key_says_what_it_is_for(kind: type[Table], name: str) -> None:
    assert str(kind.model_fields[name].description).endswith(".")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["render"], "`render` wants to know what: slurm, condor, command, site, ondemand"),
        (["render", "sites"], r"`sites` is nothing that `render` makes; did you mean `site`\?"),
        (["render", "site", "--fast"], "`--fast` is not an option of 7lbd render site"),
    ],
)
def test_what_cannot_be_rendered_is_refused(words: list[str], says: str) -> None:
    with pytest.raises(Refusal, match=says) as caught:
        dispatch.run(words, 0o077)
    assert caught.value.code is ExitCode.USAGE


def uncommented(text: str) -> str:
    return re.sub(r"^#([a-z_]+ = )", r"\1", text, flags=re.M)


def test_the_rendered_file_has_every_key_with_its_default(tmp_path: Path) -> None:
    text = site_file.text({})
    assert tomllib.loads(text) == {name: {} for name in TABLES}, "as it is, it sets nothing"
    values = tomllib.loads(uncommented(text))
    settings = {name: value for name, value in values.items() if name not in TABLES}
    assert set(settings) == set(Settings.model_fields) - site_file.NOT_FOR_ALL
    assert load([from_table(settings, "7lbd.toml", trusted=True)]).settings == Settings()
    assert all(set(values[name]) == set(kind.model_fields) for name, kind in site_tables.TABLES.items())
    found = read(tmp_path, uncommented(text))
    assert (found.slurm, found.ondemand) == (site_tables.SlurmTable(), OnDemandTable())
    assert set(site_file.GROUPS) <= set(Settings.model_fields)


def test_what_a_site_has_set_is_in_its_new_file() -> None:
    said = {
        "memory": "8G",
        "name": "a mistake",
        "portals": ["https://ondemand.example.edu"],
        "web_plain_http": True,
        "slurm": {"setup": ['echo "$HOME"', "module load x\\y"], "time": "12h"},
        "condor": {"requirements": 'Machine == "a\\\\b"', "commands": ["+a = 1"], "match_images": False},
        "ondemand": {
            "title": "Bücher \u007f\t'",
            "sizes": [{"cpus": 4, "memory": "16G"}],
            "attributes": {"bc_account": {"label": "Who pays", "required": True, "a b": [1, 2.5]}},
        },
        "owner": {"when_used": ["sat-sun 00:00-24:00"], "grace": "2m"},
        "grid": {"slots": 2, "images": ["win11"], "rate": "4M"},
        "pool": {"names": ["pool.example.edu"], "rate": "100M"},
    }
    text = site_file.text(said)
    assert tomllib.loads(text) == said
    assert site_file.text(tomllib.loads(text)) == text
    assert max(map(len, text.splitlines())) <= 120


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("owner = true", "`owner` is a table"),
        (
            '[grid]\ntrusted_keys = ["7lbd-ed25519:mistyped"]',
            "`7lbd-ed25519:mistyped` is not a public key: it is the text",
        ),
        ('[owner]\nwhen_usd = ["daily 17:00-07:00"]', r"not a key of this table; did you mean `when_used`\?"),
        ('[owner]\nwhen_used = ["17-7"]', "hours are DAYS HH:MM-HH:MM"),
        ('[owner]\nwhen_used = ["mon 07:00-07:00"]', "these hours have no length"),
        ("[owner]\nwhen_used = 7", r"`when_used` = 7"),
        ('[owner]\nnot_owners = ["a b"]', "the name or number of a user"),
        ("[owner]\nload = -1", "greater than or equal to 0"),
        ("[owner]\nload = nan", "finite|greater"),
        ('[owner]\ngrace = "soon"', "a duration is a number"),
        ("[owner]\ncpus = -1", "greater than or equal to 0"),
    ],
)
def test_what_is_wrong_about_the_owner_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refusal, match=says):
        read(tmp_path, text)


def test_what_an_owner_grants_is_read(tmp_path: Path) -> None:
    text = '[owner]\nwhen_used = ["sat-sun 00:00-24:00"]\nwhen_empty = []\nidle = "2h"\nmemory = "4G"\ngrace = "2m"'
    found = read(tmp_path, text).owner.policy()
    assert ([one.text for one in found.when_used], found.when_empty) == (["sat-sun 00:00-24:00"], ())
    assert (found.idle, found.memory, found.grace) == (7200, 4 << 30, 120)
