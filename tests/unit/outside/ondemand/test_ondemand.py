"""The OnDemand app: its table, what comes back from its form, and how it is written again."""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from conftest import MakeQcow2
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config import sources
from sevenlbd.config.merging import Source
from sevenlbd.config.settings import AtEnd, Settings
from sevenlbd.images.description import Description
from sevenlbd.outside.cli import dispatch
from sevenlbd.outside.ondemand import app_files, form, image_choices, placing
from sevenlbd.outside.ondemand.app_files import File
from sevenlbd.outside.saved import saved_format
from sevenlbd.outside.saved.facts import Facts, MachineFacts, SavedHeader
from sevenlbd.outside.site import ondemand_table, site_tables
from sevenlbd.outside.site.ondemand_table import OnDemandTable

BASE = '[ondemand]\ncluster = "blue"\n'


def site_of(folder: Path, text: str) -> site_tables.Site:
    """What a site says in the file beside its SIF."""
    (folder / "7lbd.toml").write_text(text)
    return site_tables.read(here(folder))


def here(folder: Path, **environment: str) -> sources.Places:
    """A session's places at that site."""
    return sources.look_around({"APPTAINER_CONTAINER": str(folder / "7lbd.sif"), "HOME": str(folder), **environment})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('cluster = "a/b"', "clusters.d"),
        ("hours = 9", "`hours` = 9 is more than `max_hours` = 8"),
        ("hours = 0", "`hours` = 0"),
        ("sizes = []", "`sizes` is empty"),
        ('sizes = [{ cpu = 2 }]', r"`sizes.0.cpu` is not a key"),
        ('sizes = [{ memory = 16 }]', "with M or G"),
        ('sizes = [{ cpus = 2, options = ["gres"] }]', "`sizes.0.options`"),
        ('shares = ["data"]', "NAME=PATH"),
        ('shares = ["data=relative"]', "NAME=PATH"),
        ('shares = ["home=/x"]', "`home` is taken"),
        ('shares = ["a-b=/x", "A_b=/y"]', "`A_b` is taken"),
        ('shares = ["a=/x\\ny"]', "one line"),
        ('images = ["=label"]', "NAME=LABEL"),
        ('share_roots = ["scratch"]', "from the root"),
        ('share_roots = ["/scratch/../etc"]', "from the root"),
        ('proxy = "/node/x"', "one part of an address"),
        ('proxy = "//evil.example.org"', "one part of an address"),
        ('form = ["bc-account"]', "attribute"),
        ('form = ["desktop_image"]', "our own"),
        ('title = ""', "`title`"),
        ('title = "a\\nb"', "one line"),
        ("[ondemand.attributes.x-y]\nlabel = 1", "x-y"),
        ("[ondemand.attributes.x]\nlabel = 1979-05-27", "no text, number"),
        ('imagse = ["a"]', "did you mean `images`?"),
    ],
)  # fmt: skip
def test_a_wrong_key_of_the_table_is_refused_by_name(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(Refusal) as caught:
        site_of(tmp_path, ("[ondemand]\n" if text.startswith("cluster") else BASE) + text)
    assert caught.value.code is ExitCode.USAGE
    assert says in caught.value.what
    assert str(tmp_path) in caught.value.what
    assert caught.value.hint


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"cluster": ()}, "`cluster` is missing"),
        ({"images": ()}, "says what to boot"),
        ({"web": "127.0.0.1:0"}, "cannot reach"),
        ({"web": "off"}, "cannot reach"),
        ({"web": "nowhere:1"}, "`web`"),
        ({"portals": ("https://a.example.edu/pun",)}, "not an origin"),
        ({"portals": ()}, "`portals`"),
        ({"attributes": {"bc_acount": {}}}, "is in no form"),
    ],
)
def test_what_does_not_fit_together_is_told(changes: dict[str, Any], says: str) -> None:
    good = {"cluster": "blue", "images": ("win11",), "portals": ("https://ondemand.example.edu",)}
    assert list(ondemand_table.amiss(OnDemandTable.model_validate(good), Settings())) == []
    [sentence] = ondemand_table.amiss(OnDemandTable.model_validate(good | changes), Settings())
    assert says in sentence


ASKED = """
image = "plain"
[ondemand]
cluster = "blue"
portals = ["https://ondemand.example.edu"]
images = ["win11=Windows 11", "win10"]
shares = ["data={0}/data:ro", "Big-Data={0}/big"]
share_roots = ["{0}/roots"]
"""


def ask(folder: Path, given: object, text: str = ASKED) -> form.FormAnswers:
    """What follows from a form."""
    for name in ("data", "big", "roots/mine", "roots/ro:ro", "elsewhere"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    for name, target in (("out", "../elsewhere"), ("in", "mine"), ("ro", "/etc")):
        link = folder / "roots" / name
        if not link.is_symlink():
            link.symlink_to(target)
    (folder / "7lbd.toml").write_text(text.format(folder))
    file = folder / "form.json"
    file.write_text(json.dumps({"format": 1} | given) if isinstance(given, dict) else str(given))
    return form.read(str(file), here(folder))


def test_a_form_becomes_the_sites_own_settings(tmp_path: Path) -> None:
    found = ask(tmp_path, {"desktop_image": "win10", "desktop_share_big_data": "1", "desktop_share_data": "0",
                           "desktop_folder": f" {tmp_path}/roots/in ", "bc_num_hours": "3", "image": "x"})  # fmt: skip
    assert found.source.trusted
    assert dict(found.source.values) == {
        "image": "win10",
        "shares": (f"Big-Data={tmp_path}/big", f"folder={tmp_path}/roots/mine:rw"),
        "web": "0.0.0.0:20000-20999",
        "web_plain_http": True,
        "web_tls": False,
        "web_certificate": "",
        "web_key": "",
        "portals": ("https://ondemand.example.edu",),
        "report_dir": str(tmp_path / "report"),
    }
    assert found.notes == ()
    assert ask(tmp_path, {}).source.values["image"] == "win11"


FACTS = Facts(
    session="job7", image="win10", version="", title="Windows 10", account="user1", user="me", layers=(),
    machine=MachineFacts(
        qemu="1:10.0.2", machine="pc-q35-10.0", accel="tcg", cpu="max", cpus=1, memory=1 << 30, network="user", mac="",
        firmware="uefi", tpm=False, disk_bus="virtio", nic="virtio", display="std", os="linux", clock="utc",
        disk_size=1,
    ),
)  # fmt: skip


def suspended(home: Path, name: str, at: int, **changes: Any) -> Path:
    """A saved desktop of the user's, written at this time, with the begin that tells what it needs."""
    folder = home / ".local" / "state" / "7lbd" / "saved"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.7lbd"
    path.write_bytes(saved_format.pack_header(SavedHeader(replace(FACTS, **changes), ())))
    os.utime(path, (at, at))
    return path


def test_a_form_goes_on_from_a_suspended_desktop_with_the_image_that_it_stands_on(tmp_path: Path) -> None:
    first, last = suspended(tmp_path, "job7", 10, version="3"), suspended(tmp_path, "job8", 20)
    found = ask(tmp_path, {"desktop_saved": "job7", "desktop_image": "win11"}).source.values
    assert (found["resume"], found["image"]) == (str(first), "win10@3")
    found = ask(tmp_path, {"desktop_saved": "*"}).source.values
    assert (found["resume"], found["image"]) == (str(last), "win10")
    assert "resume" not in ask(tmp_path, {"desktop_saved": ""}).source.values


def test_an_image_that_is_offered_as_a_path_is_known_by_the_name_that_it_has(
    tmp_path: Path, make_qcow2: MakeQcow2
) -> None:
    image = tmp_path / "mine"
    image.mkdir()
    make_qcow2(image / "disk.qcow2")
    (image / "image.toml").write_text('name = "other"\nos = "linux"\nmemory = "64M"\ncpus = 1\n')
    suspended(tmp_path, "job7", 10, image="other")
    text = ASKED.replace('["win11=', '["/nowhere", "{0}/mine", "win11=')
    assert ask(tmp_path, {"desktop_saved": "job7"}, text).source.values["image"] == str(image)


@pytest.mark.parametrize(
    ("wanted", "changes", "text", "says"),
    [
        ("gone", {}, ASKED, "'gone' is not there any more; there are: job7"),
        ("../saved/job7", {}, ASKED, "is not there any more"),
        ("/etc/passwd", {}, ASKED, "is not there any more"),
        ("job7", {"image": "win2000"}, ASKED, "not offered here any more"),
        ("job7", {"image": ""}, ASKED, "not offered here any more"),
        ("job7", {"image": "/etc"}, ASKED, "not offered here any more"),
        ("job7", {}, ASKED + "saved = false\n", "the form asks for a suspended desktop"),
        ("job7", {}, 'state_dir = "off"\n' + ASKED, "there is no suspended desktop of yours"),
    ],
)
def test_a_suspended_desktop_that_cannot_be_gone_on_from_is_refused_in_words(
    tmp_path: Path, wanted: str, changes: dict[str, Any], text: str, says: str
) -> None:
    suspended(tmp_path, "job7", 10, **changes)
    with pytest.raises(Refusal) as refused:
        ask(tmp_path, {"desktop_saved": wanted}, text)
    assert says in refused.value.what
    assert refused.value.hint


@pytest.mark.parametrize(
    ("host", "names"), [("node7.Cluster.example.edu", ("node7.Cluster.example.edu",)), ("$(id)", None), ("", None)]
)
def test_the_name_by_which_the_portal_reaches_the_node_is_known_to_the_page(
    tmp_path: Path, host: str, names: tuple[str] | None
) -> None:
    ask(tmp_path, {})
    assert form.read(str(tmp_path / "form.json"), here(tmp_path, host=host)).source.values.get("web_names") == names


def test_a_form_is_the_sites_word_where_the_site_has_locked_what_it_sets(tmp_path: Path) -> None:
    locks = 'locked = ["web", "image", "shares", "home_share", "web_tls"]\n'
    found = ask(tmp_path, {"desktop_image": "win10", "desktop_share_data": "1"}, locks + ASKED)
    chosen = sources.settings(here(tmp_path), found.source).settings
    assert (chosen.image, chosen.web_plain_http, chosen.web) == ("win10", True, "0.0.0.0:20000-20999")
    with pytest.raises(Refusal, match="site's settings file only"):
        sources.settings(here(tmp_path), Source("command line", {"shares": ["x=/x"]}), found.source)


def test_a_site_without_choices_leaves_the_image_to_its_settings(tmp_path: Path) -> None:
    assert "image" not in ask(tmp_path, {}, BASE).source.values
    with pytest.raises(Refusal, match="offers: none"):
        ask(tmp_path, {"desktop_image": "plain"}, BASE)


def test_a_folder_whose_name_ends_like_an_option_is_that_folder(tmp_path: Path) -> None:
    """`roots/ro` is a link out of the roots, `roots/ro:ro` a folder: the option must not make one of the other."""
    found = ask(tmp_path, {"desktop_folder": f"{tmp_path}/roots/ro:ro"})
    assert found.source.values["shares"] == (f"folder={tmp_path}/roots/ro:ro:rw",)


@pytest.mark.parametrize(
    "asked",
    ["/etc", "/", "roots", "../roots/mine", "~", "{0}", "{0}/roots/../elsewhere", "{0}/roots/out", "{0}/roots/ro",
     "{0}/rootsmine", "{0}/roots/\0", "{0}/roots/mine/../../elsewhere", "//etc", "/proc/self/root", "{0}/roots/none",
     "{0}/roots/$(id)", "{0}/roots/mine\n--share=a=/etc", "x" * 60000],
)  # fmt: skip
def test_a_folder_outside_of_what_the_site_allows_is_refused(tmp_path: Path, asked: str) -> None:
    with pytest.raises(Refusal) as caught:
        ask(tmp_path, {"desktop_folder": asked.replace("{0}", str(tmp_path))})
    assert caught.value.code is ExitCode.SHARE
    assert "\n" not in caught.value.what
    assert str(tmp_path / "roots") in caught.value.hint


PIECES = (
    "..",
    ".",
    "",
    "roots",
    "mine",
    "in",
    "out",
    "ro",
    "ro:ro",
    "elsewhere",
    "etc",
    "~",
    "\0",
    "\n",
    " ",
    "$(id)",
    "é",
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES), max_size=8), st.booleans())
def test_whatever_folder_is_asked_for_it_is_below_the_roots_or_refused(
    tmp_path: Path, pieces: list[str], beside: bool
) -> None:
    if not (tmp_path / "form.json").exists():
        ask(tmp_path, {})
    asked = (f"{tmp_path}/" if beside else "/") + "/".join(pieces)
    (tmp_path / "form.json").write_text(json.dumps({"format": 1, "desktop_folder": asked}))
    try:
        found = form.read(str(tmp_path / "form.json"), here(tmp_path))
    except Refusal:
        return
    shares = found.source.values["shares"]
    assert isinstance(shares, tuple)
    folder = Path(str(shares[0]).removeprefix("folder=").removesuffix(":rw"))
    assert folder.resolve() == folder
    assert folder.is_relative_to(tmp_path / "roots")


def test_a_folder_of_somebody_elses_is_refused(tmp_path: Path) -> None:
    ask(tmp_path, {})
    (tmp_path / "roots" / "mine").chmod(0)
    try:
        with pytest.raises(Refusal, match="not yours to read"):
            ask(tmp_path, {"desktop_folder": f"{tmp_path}/roots/mine"})
    finally:
        (tmp_path / "roots" / "mine").chmod(0o700)


@pytest.mark.parametrize("asked", ["win11=Windows 11", "win11@1", "plain", "/etc", "win11\n", "'", "$(id)", "<%= 1 %>"])
def test_only_images_that_the_site_offers_are_taken(tmp_path: Path, asked: str) -> None:
    if asked.strip() == "win11":
        assert ask(tmp_path, {"desktop_image": asked}).source.values["image"] == "win11"
        return
    with pytest.raises(Refusal, match="the site offers: win11, win10") as caught:
        ask(tmp_path, {"desktop_image": asked})
    assert caught.value.what


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is not a form"),
        ("[]", "no table"),
        ("[" * 50000, "is not a form"),
        ('{"format": 2}', "another version"),
        ("{}", "another version"),
        ('{"format": 1, "desktop_image": "' + "x" * 70000 + '"}', "too long"),
        ("\udcff", "is not a form"),
    ],
)
def test_what_is_no_form_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "7lbd.toml").write_text(BASE)
    (tmp_path / "form.json").write_bytes(os.fsencode(text))
    with pytest.raises(Refusal, match=says):
        form.read(str(tmp_path / "form.json"), here(tmp_path))


def test_a_size_that_is_no_longer_offered_is_told(tmp_path: Path) -> None:
    sizes = ASKED + 'sizes = [{{ cpus = 2, memory = "8G" }}, {{ cpus = 4, memory = "16G" }}]\n'
    [note] = ask(tmp_path, {"desktop_size": "8x32768"}, sizes).notes
    assert note == "the size that you chose is no longer offered; this desktop has 2 cores, 8 GB"
    for size in ("", "2x8192", "4x16384"):
        assert ask(tmp_path, {"desktop_size": size}, sizes).notes == ()
    assert ask(tmp_path, {"desktop_size": "8x32768"}).notes == (), "there is no choice"


def test_values_that_are_no_text_are_passed_over(tmp_path: Path) -> None:
    found = ask(tmp_path, {"desktop_image": ["win10"], "desktop_folder": {"a": 1}, "desktop_share_data": True})
    assert found.source.values["image"] == "win11"
    assert "shares" not in found.source.values


def test_without_the_sites_table_there_is_nothing_to_check_a_form_against(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"no table \[ondemand\]"):
        ask(tmp_path, {}, 'image = "win11"\n')


def test_somebody_without_a_home_gets_a_desktop_and_is_told(tmp_path: Path) -> None:
    ask(tmp_path, {})
    found = form.read(str(tmp_path / "form.json"), here(tmp_path, HOME=str(tmp_path / "nowhere")))
    assert found.source.values["home_share"] is False
    [note] = found.notes
    assert note.startswith("your home is not in the desktop: ")
    assert str(tmp_path / "nowhere") in note


@given(st.text())
def test_no_text_means_anything_to_ruby_or_erb(text: str) -> None:
    literal = app_files.ruby(text)
    assert "<%" not in literal
    assert "%>" not in literal
    assert "#" not in literal
    assert set(literal[1:-1]) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789 ._:/=,+@()-\\{}")
    assert literal[1:-1].count("\\") == literal.count("\\u{")


@given(st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"])))
def test_yaml_in_erb_is_the_same_text(text: str) -> None:
    written = app_files.yaml_in_erb(text)
    assert "<%" not in written
    assert "%>" not in written
    assert written.isprintable()
    assert json.loads(written) == text


def compose(folder: Path, text: str = "", own: dict[str, bytes] | None = None) -> dict[str, File]:
    """The app of a site."""
    return app_files.compose(site_of(folder, BASE + text), Settings(signal_lead=90), "/apps/7lbd/7lbd.sif", own or {})


def test_the_app_asks_for_nothing_that_the_site_does_not_offer(tmp_path: Path) -> None:
    made = compose(tmp_path)
    asked = made["form.yml.erb"].content.decode()
    assert "bc_num_hours" in asked
    assert set(re.findall(r"desktop_[a-z_]+", asked)) == {"desktop_saved"}
    quiet = compose(tmp_path, "saved = false")
    assert "desktop_" not in quiet["form.yml.erb"].content.decode()
    assert "suspend" not in quiet["view.html.erb"].content.decode().lower()
    full = compose(tmp_path, 'images = ["a", "b"]\nshares = ["x=/x"]\nshare_roots = ["/s"]\nform = ["bc_account"]\n'
                             'sizes = [{ cpus = 2 }, { cpus = 4 }]')["form.yml.erb"].content.decode()  # fmt: skip
    for name in ("desktop_image", "desktop_size", "desktop_share_x", "desktop_folder", "bc_account"):
        assert f'- "{name}"' in full


OWN = {
    "cluster": "blue", "images": ("win11", "win10=Old"), "portals": ("https://ondemand.example.edu",),
    "shares": ("x=/x",), "sizes": ({"cpus": 2}, {"cpus": 4}), "share_roots": ("/s",), "form": ("bc_queue",),
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value", "may_be"),
    [
        ("bc_num_hours", 9, "from 1 to `max_hours` = 8"),
        ("bc_num_hours", True, "from 1 to `max_hours` = 8"),
        ("bc_num_hours", "4h", "from 1 to `max_hours` = 8"),
        ("desktop_saved", "mine", "``, a new desktop"),
        ("desktop_image", "win12", "`win11`, `win10`"),
        ("desktop_image", "win10=Old", "`win11`, `win10`"),
        ("desktop_size", 4, "`2x8192`, `4x8192`"),
        ("desktop_share_x", True, "`0`, `1`"),
        ("desktop_folder", ["/s"], "a path"),
    ],
)
def test_a_plain_value_that_no_form_of_ours_takes_is_told_with_those_that_it_does(
    name: str, value: object, may_be: str
) -> None:
    """It would be every user's answer, and each job refused or begun with something else."""
    table = OnDemandTable.model_validate(OWN | {"attributes": {name: value}})
    [sentence] = ondemand_table.amiss(table, Settings())
    assert sentence.startswith(f"[ondemand.attributes] `{name}` = ")
    assert "everybody's answer" in sentence
    assert sentence.endswith(may_be)


def test_a_plain_value_that_a_form_of_ours_takes_is_fine() -> None:
    said = {
        "bc_num_hours": 8, "desktop_saved": "", "desktop_image": "win10", "desktop_size": "4x8192",
        "desktop_share_x": 1, "desktop_folder": "/s/all", "bc_queue": "batch",
    }  # fmt: skip
    assert list(ondemand_table.amiss(OnDemandTable.model_validate(OWN | {"attributes": said}), Settings())) == []


@pytest.mark.parametrize("value", ["4", '"4"', "8"])
def test_a_plain_value_is_the_attributes_as_it_is_and_nobody_is_asked(tmp_path: Path, value: str) -> None:
    """In OnDemand's form.yml it fixes an attribute, and hides it."""
    text = f'form = ["bc_queue"]\n[ondemand.attributes]\nbc_queue = "batch"\nbc_num_hours = {value}\n'
    asked = compose(tmp_path, text)["form.yml.erb"].content.decode()
    assert f"\n  bc_num_hours: {value}\n" in asked
    assert '\n  bc_queue: "batch"\n' in asked
    assert '- "bc_queue"' in asked


def test_the_portals_own_choice_of_queue_and_account_is_not_overruled(tmp_path: Path) -> None:
    slurm = '[slurm]\npartition = "desk"\naccount = "lab"\n'
    made = compose(tmp_path, slurm)["submit.yml.erb"].content.decode()
    assert 'queue_name: "desk"' in made
    assert 'accounting_id: "lab"' in made
    chosen = compose(tmp_path, f'form = ["bc_queue", "bc_account"]\n{slurm}')["submit.yml.erb"].content.decode()
    assert "queue_name" not in chosen
    assert "accounting_id" not in chosen


def test_the_signal_before_the_end_is_the_sites(tmp_path: Path) -> None:
    """Ruby adds what it takes to suspend, where the image says so (tests/session/test_ondemand.py)."""
    submit = compose(tmp_path)["submit.yml.erb"].content.decode()
    of_end = "[[suspending.ceil, (hours * 3600 - 35) / 2].min + 35, 65535].min"
    assert f"lead = suspending.zero? ? 90 : [90, {of_end}].max" in submit
    assert 'ask for #{lead / 3600 + 1} at least" if native.is_a?(Array) && lead >= hours * 3600' in submit
    never = app_files.compose(site_of(tmp_path, BASE), Settings(signal_lead=0), "/apps/7lbd/7lbd.sif", {})
    assert "--signal" not in never["submit.yml.erb"].content.decode()


@pytest.mark.parametrize(
    ("text", "says"),
    [('signal_lead = "8h"\n', "8 h 00 min before (`signal_lead`)"), ('stop_grace = "9h"\n', "(`stop_grace`)")],
)
def test_an_app_whose_jobs_would_all_be_asked_to_end_as_they_begin_is_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, says: str
) -> None:
    monkeypatch.setenv("APPTAINER_CONTAINER", str(tmp_path / "7lbd.sif"))
    good = f'image = "a"\nportals = ["https://p.example.edu"]\n{{}}{BASE}'
    (tmp_path / "7lbd.toml").write_text(good.format(text))
    with pytest.raises(Refusal) as refused:
        dispatch.run(["render", "ondemand", str(tmp_path / "app")], 0o077)
    assert says in refused.value.what
    assert not (tmp_path / "app").exists()
    for fine in (good.format(""), good.format(text) + 'condor_clusters = ["blue"]\n'):
        (tmp_path / "7lbd.toml").write_text(fine)
        assert dispatch.run(["render", "ondemand", str(tmp_path / "app")], 0o077) == ExitCode.OK


@pytest.mark.parametrize("at_end", ["image", "suspend", "shutdown"])
def test_the_app_knows_which_images_desktops_are_suspended_at_their_end(tmp_path: Path, at_end: str) -> None:
    said = {"a": "suspend", "b": "shutdown", "/i/c": "suspend"}
    table = site_of(tmp_path, f'{BASE}images = ["a@7=One", "b", "/i/c", "unseen"]\n').ondemand

    def look(name: str) -> Description | None:
        plain = name.partition("@")[0]
        at_end = said.get(plain)
        return Description.model_validate({"name": "sea", "os": "linux", "at_end": at_end}) if at_end else None

    choices = image_choices.of(table, Settings(at_end=AtEnd(at_end)), look)
    everybody = ["a@7", "b", "/i/c", "unseen"]
    expected = {"image": ["a@7", "/i/c"], "suspend": everybody, "shutdown": []}
    assert [choice.name for choice in choices if choice.suspends] == expected[at_end]
    assert image_choices.called(choices) == {"a": "a@7", "b": "b", "sea": "/i/c", "unseen": "unseen"}


def test_only_the_script_is_a_program(tmp_path: Path) -> None:
    made = compose(tmp_path)
    assert {name for name, file in made.items() if file.mode & 0o111} == {"template/script.sh"}
    assert made["template/script.sh"].content.startswith(b"#!/bin/bash\n")
    assert made["icon.png"].content.startswith(b"\x89PNG")


def test_what_the_site_adds_is_woven_in_as_it_is(tmp_path: Path) -> None:
    text = "echo '@{ version }@ {{ x }} @% if %@' # <%= 1 %>\n"
    made = compose(tmp_path, own={"before.sh": text.encode(), "icon.png": b"mine"})
    assert text in made["template/before.sh"].content.decode()
    assert made["icon.png"].content == b"mine"
    assert text not in made["template/clean.sh"].content.decode()


def test_rendering_again_changes_what_is_ours_and_nothing_else(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    first = {"a": File(b"one"), "template/b.sh": File(b"two", 0o755), "old": File(b"three"), "gone": File(b"four")}
    assert placing.place(folder, first, "1").written == list(first)
    assert (folder / "template/b.sh").stat().st_mode & 0o777 == 0o755
    (folder / "a").write_text("mine")
    (folder / "gone").unlink()
    (folder / "notes").write_text("mine, too")
    second = {"a": File(b"new"), "template/b.sh": File(b"new", 0o755), "gone": File(b"four"), "notes": File(b"ours")}
    done = placing.place(folder, second, "2")
    assert (done.kept, done.written, done.removed) == (["a", "notes"], ["template/b.sh", "gone"], ["old"])
    assert ((folder / "a").read_text(), (folder / "notes").read_text()) == ("mine", "mine, too")
    again = placing.place(folder, second, "2")
    assert (again.kept, again.unchanged) == (["a", "notes"], ["template/b.sh", "gone"])
    assert placing.place(folder, second, "2", force=True).written == ["a", "notes"]
    assert not [path.name for path in folder.rglob(".new-*")]


def test_what_somebody_edited_is_not_removed_when_it_is_no_longer_made(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    placing.place(folder, {"a": File(b"one"), "b": File(b"two")}, "1")
    (folder / "a").write_text("mine")
    done = placing.place(folder, {"b": File(b"two")}, "2")
    assert (done.removed, done.kept) == ([], ["a"]), "it is told, once"
    assert (folder / "a").read_text() == "mine"
    assert placing.place(folder, {"a": File(b"new"), "b": File(b"two")}, "3").kept == ["a"]


def test_the_portals_users_can_read_it_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        placing.place(tmp_path / "app", {"template/a": File(b"x")}, "1")
    finally:
        os.umask(before)
    assert (tmp_path / "app" / "template").stat().st_mode & 0o755 == 0o755
    assert (tmp_path / "app").stat().st_mode & 0o755 == 0o755
    assert (tmp_path / "app" / "template" / "a").stat().st_mode & 0o777 == 0o644


def test_a_folder_of_somebody_elses_is_not_written_into(tmp_path: Path) -> None:
    (tmp_path / "important").write_text("x")
    with pytest.raises(Refusal, match="not empty"):
        placing.place(tmp_path, {"a": File(b"x")}, "1", force=True)
    (tmp_path / "important").unlink()
    (tmp_path / placing.LIST).write_text('{"files": []}')
    with pytest.raises(Refusal, match="damaged"):
        placing.place(tmp_path, {"a": File(b"x")}, "1")
    with pytest.raises(Refusal, match="cannot be written") as caught:
        placing.place(Path("/proc/nowhere"), {"a": File(b"x")}, "1")
    assert "--bind /proc" in caught.value.hint


def test_a_list_that_leads_out_of_the_folder_removes_nothing_there(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    placing.place(folder, {"a": File(b"x")}, "1")
    (tmp_path / "precious").write_text("x")
    listed = json.loads((folder / placing.LIST).read_text())
    listed["files"] |= {"../precious": listed["files"]["a"], str(tmp_path / "precious"): listed["files"]["a"]}
    (folder / placing.LIST).write_text(json.dumps(listed))
    placing.place(folder, {"a": File(b"x")}, "1", force=True)
    assert (tmp_path / "precious").exists()


def test_a_link_in_the_place_of_a_file_is_somebodys(tmp_path: Path) -> None:
    folder = tmp_path / "app"
    placing.place(folder, {"a": File(b"x")}, "1")
    (tmp_path / "precious").write_text("x")
    (folder / "a").unlink()
    (folder / "a").symlink_to("../precious")
    assert placing.place(folder, {"a": File(b"y")}, "1").kept == ["a"]
    assert placing.place(folder, {"a": File(b"y")}, "1", force=True).written == ["a"]
    assert (tmp_path / "precious").read_text() == "x"


def test_what_lies_in_site_must_belong_to_something(tmp_path: Path) -> None:
    own = tmp_path / "site"
    own.mkdir()
    (own / "before.sh").write_text("true\n")
    (own / "before.sh~").write_text("old")
    assert placing.read_own(tmp_path) == {"before.sh": b"true\n"}
    (own / "befor.sh").write_text("x")
    with pytest.raises(Refusal, match="befor.sh") as caught:
        placing.read_own(tmp_path)
    assert "before.sh" in caught.value.hint
    (own / "befor.sh").unlink()
    (own / "before.sh").write_text("if true; then\n")
    with pytest.raises(Refusal, match="is no shell script: .*end of file"):
        placing.read_own(tmp_path)
    (own / "before.sh").write_bytes(b"\xff")
    with pytest.raises(Refusal, match="UTF-8"):
        placing.read_own(tmp_path)
