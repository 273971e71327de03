"""A saved desktop goes on where all is as it was, and nowhere else: QEMU itself would not say."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import time
from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import signed_image
from conftest import MakeQcow2
from sevenlbd.base import heartbeat
from sevenlbd.base.errors import ExitCode, Refusal
from sevenlbd.config import sources
from sevenlbd.config.settings import Settings
from sevenlbd.images import layout, warm
from sevenlbd.images.lookup import image as images
from sevenlbd.outside.cli.command import CommandContext
from sevenlbd.outside.commands import saved_verbs
from sevenlbd.outside.job import allocation
from sevenlbd.outside.saved import claims, keys, layers, passphrases, places, writing
from sevenlbd.outside.saved.claims import Claim
from sevenlbd.outside.saved.facts import Facts, HostCpu, Opening, Secrets
from sevenlbd.outside.session.preflight import at_rest, prepare, resuming, warmth
from sevenlbd.outside.session.preflight.checker import Answer, Checker
from sevenlbd.outside.session.preflight.prepared import Prepared

PASSWORD = "Pw0" * 8


class Site:
    """A user with an image, a key, and a desktop that was suspended."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = sources.look_around({"HOME": str(folder), "TMPDIR": str(folder)}).environment
        self.settings = Settings.model_validate(
            {"image": str(folder), "accel": "tcg", "network": "user", "min_space": 0, "home_share": False}
        )
        self.saved = places.folder("", self.environment) or folder
        places.made(self.saved)
        keys.own(self.saved)

    def prepared(self, **changes: Any) -> Prepared:
        settings = self.settings.model_copy(update=changes)
        return prepare.prepare(settings, self.environment, 0o077, [])

    def facts(self) -> Facts:
        """What the session of now would be saved as."""
        savable = self.prepared(name="wanderer").savable
        assert savable
        files = tuple(layers.fact(Path(file.path), file.name, file.format, None) for file in savable.layers)
        return replace(savable.facts, layers=files)

    def save(self, facts: Facts, secrets: Secrets | None = None) -> Path:
        path = self.saved / f"wanderer{places.SUFFIX}"
        with writing.new_file(path) as file:
            opening = Opening(facts, secrets or Secrets(PASSWORD, "ann"))
            writing.write(file, opening, [], keys.recipients([keys.own(self.saved)]))
        return path

    def resume(self, saved: str = "wanderer", *, copied: bool = False, **changes: Any) -> Prepared:
        settings = self.settings.model_copy(update=changes)
        desktop = resuming.opened(saved, settings, self.environment, copied=copied)
        like_then, notes = resuming.settings_for(settings, desktop)
        as_saved = resuming.machine_of(desktop)
        prepared = prepare.prepare(like_then, self.environment, 0o077, [], as_saved=as_saved)
        return resuming.fitted(prepared, desktop, notes)


@pytest.fixture
def site(tmp_path: Path, make_qcow2: MakeQcow2) -> Site:
    make_qcow2(tmp_path / "disk.qcow2")
    described = 'name = "demo"\nos = "linux"\nmemory = "64M"\ncpus = 1\ndisk_bus = "virtio"\nchannels = ["agent"]\n'
    (tmp_path / "image.toml").write_text(f'{described}warm_hook = ["/usr/lib/hook"]\n')
    return Site(tmp_path)


def test_it_goes_on_with_its_own_name_password_machine_and_hook(site: Site) -> None:
    path = site.save(site.facts())
    prepared = site.resume(memory=128 << 20)
    plan = prepared.plan
    assert (plan.session, plan.password, plan.user) == ("wanderer", PASSWORD, "ann")
    assert plan.guest.memory == 64 << 20
    assert plan.resumed
    assert plan.resumed.hook == ("/usr/lib/hook",)
    assert plan.goes_on
    assert prepared.resume
    assert prepared.resume.source == str(path)
    assert [note for note in prepared.notes if note.startswith("memory is as the desktop was suspended")]


def test_a_copy_of_the_file_is_the_same_desktop_and_a_copy_that_is_wanted_is_another(site: Site) -> None:
    path = site.save(site.facts())
    number = site.resume().savable.facts.desktop  # type: ignore[union-attr]
    shutil.copy(path, site.saved / "twin.7lbd")
    assert site.resume("twin").savable.facts.desktop == number  # type: ignore[union-attr]
    with Claim(path, "wanderer", number, site.saved).held():
        with pytest.raises(Refusal, match="a session goes on from a copy of it already"):
            site.resume("twin")
        copied = site.resume("twin", copied=True).savable
    assert copied
    assert copied.facts.desktop not in ("", number)


def test_what_a_passphrase_closes_goes_on_with_it_and_is_closed_with_it_again(site: Site) -> None:
    (site.folder / "words").write_text("some words\n")
    (site.folder / "words").chmod(0o600)
    lock = passphrases.lock("some words")
    path = site.saved / "wanderer.7lbd"
    with writing.new_file(path) as file:
        opening = Opening(site.facts(), Secrets(PASSWORD, "ann"))
        writing.write(file, opening, [], keys.recipients([lock.recipient]), passphrase=lock.how)
    with pytest.raises(Refusal, match="no terminal to ask for it"):
        checked(site, "resume", "--image", "gone", "wanderer")
    again = checked(site, "resume", "wanderer", "--passphrase-file", str(site.folder / "words"))
    assert again.resume
    assert again.resume.identity.startswith("AGE-SECRET-KEY-1")
    assert again.resume.identity not in repr(again)
    assert again.savable
    assert again.savable.lock == lock
    fresh = checked(site, "run", "--passphrase-file", str(site.folder / "words"))
    assert fresh.savable
    assert fresh.savable.lock
    (site.folder / "words").write_text("others\n")
    with pytest.raises(Refusal, match="does not open: the passphrase is another"):
        checked(site, "resume", "wanderer", "--passphrase-file", str(site.folder / "words"))


WAY = ("tcp://192.0.2.7:27000",)


@pytest.mark.parametrize(("then", "now"), [(WAY, ()), (WAY, ("tcp://192.0.2.8:1",)), ((), WAY)])
def test_it_has_the_ways_out_that_the_site_has_now(site: Site, then: tuple[str, ...], now: tuple[str, ...]) -> None:
    first = site.prepared(name="wanderer", egress_allow=then)
    assert bool(first.plan.egress) == bool(then)
    site.save(site.facts())
    again = site.resume(egress_allow=now)
    assert again.plan.resumed
    shown = [f"tcp://{host}:{port}" for host, port in again.egress.tcp] if again.egress else []
    assert shown == list(now)
    assert bool(again.plan.egress) == bool(now)


def test_a_desktop_from_the_future_goes_on(site: Site) -> None:
    """The node's clock has gone back, or the other one's was ahead."""
    facts = replace(site.facts(), saved_at=time.time() + 10 * 86400)
    path = site.save(facts)
    os.utime(path, (facts.saved_at, facts.saved_at))
    assert site.resume().plan.resumed
    assert time.strftime("%Y-%m-%d", time.localtime(facts.saved_at)) in saved_verbs.line(path)


def test_an_image_that_is_gone_is_named_as_what_the_desktop_was_suspended_from(site: Site) -> None:
    path = site.save(replace(site.facts(), image="gone", version="3", title="gone@3"))
    with pytest.raises(Refusal, match=f"{path}: was suspended from gone@3: ") as refused:
        checked(site, "resume", "--image", "gone", "wanderer")
    assert refused.value.code == ExitCode.IMAGE


def test_it_is_not_said_that_somebody_asked_for_emulation(site: Site) -> None:
    site.save(site.facts())
    assert any(text.startswith("the desktop was suspended in software emul") for text in site.resume().warnings)


def test_what_is_damaged_or_newer_can_be_removed_and_what_is_something_else_not(
    site: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    path = site.save(site.facts())
    context = cast("CommandContext", Namespace(options=Namespace(saved=str(path)), settings=site.settings, here=site))
    for content in (b"7lbd saved desktop, format 9\n", path.read_bytes()[:100]):
        path.write_bytes(content)
        saved_verbs.remove(context)
        assert not path.exists()
    path.write_bytes(b"a letter")
    with pytest.raises(Refusal, match="does not begin as a saved desktop does"):
        saved_verbs.remove(context)
    assert path.exists()
    capsys.readouterr()


def test_where_images_have_to_be_signed_it_goes_on_on_the_signed_one_alone(site: Site, tmp_path: Path) -> None:
    """The file says which digests it was suspended on; whether those may be started from, the site says."""
    image = tmp_path / "lab" / "1"
    image.mkdir(parents=True)
    for name in ("disk.qcow2", "image.toml"):
        (tmp_path / name).rename(image / name)
    public = signed_image.new_key(tmp_path / "key")
    strict: dict[str, Any] = {"require_signed": True, "trusted_keys": (public,), "image": str(image)}
    site.settings = site.settings.model_copy(update={"image": str(image)})
    site.save(site.facts())
    with pytest.raises(Refusal, match="is not signed"):
        site.resume(**strict)
    signed_image.sign(image, tmp_path / "key")
    assert site.resume(**strict).plan.resumed
    another = signed_image.new_key(tmp_path / "another")
    with pytest.raises(Refusal, match="is not a trusted key"):
        site.resume(**strict | {"trusted_keys": (another,)})
    with (image / "disk.qcow2").open("r+b") as disk:
        disk.seek(-1, os.SEEK_END)
        disk.write(b"x")
    with pytest.raises(Refusal, match="was altered"):
        site.resume(**strict)


def test_a_copy_has_a_name_of_its_own(site: Site) -> None:
    path = site.save(site.facts())
    with Claim(path, "wanderer").held():
        with pytest.raises(Refusal, match="a session goes on from it already"):
            site.resume()
        assert site.resume(copied=True).plan.session != "wanderer"


UNLIKE: dict[str, tuple[Callable[[Facts], Facts], str]] = {
    "a machine type that QEMU has not": (lambda facts: machine(facts, machine="pc-q35-0.1"), "machine type pc-q35-0.1"),
    "another card": (lambda facts: machine(facts, nic="e1000e"), "network card e1000e when suspended, virtio here"),
    "a machine type that is newer than QEMU": (lambda facts: machine(facts, machine="pc-q35-99.0"), "does not have"),
    "another MAC address": (lambda facts: machine(facts, mac="52:54:00:00:00:01"), "MAC address 52:54"),
    "another disk bus": (lambda facts: machine(facts, disk_bus="ahci"), "disk bus ahci when suspended, virtio here"),
    "a TPM": (lambda facts: machine(facts, tpm=True), "TPM True when suspended, False here"),
    "BIOS": (lambda facts: machine(facts, firmware="bios"), "firmware bios when suspended"),
    "a larger disk": (lambda facts: machine(facts, disk_size=1 << 40), "size of the disk"),
    "a newer QEMU": (lambda facts: machine(facts, qemu="1:99.1+ds-1"), "QEMU 1:99.1+ds-1 when suspended"),
    "a warm state": (lambda facts: replace(facts, memory=facts.layers[0]), "it began in the image's warm state"),
    "another image": (
        lambda facts: replace(facts, layers=(replace(facts.layers[0], root="00" * 32),)),
        "its content is another",
    ),
    "an image of another size": (
        lambda facts: replace(facts, layers=(replace(facts.layers[0], size=1),)),
        "its size or format is another",
    ),
    "a deeper image": (lambda facts: replace(facts, layers=facts.layers * 2), "stood on 2 files"),
}


def machine(facts: Facts, **changes: Any) -> Facts:
    return replace(facts, machine=replace(facts.machine, **changes))


@pytest.mark.parametrize("case", UNLIKE)
def test_unlike_is_named(site: Site, case: str) -> None:
    change, says = UNLIKE[case]
    site.save(change(site.facts()))
    with pytest.raises(Refusal) as refused:
        site.resume()
    assert refused.value.code is ExitCode.IMAGE
    assert "cannot go on here" in refused.value.what
    assert says in refused.value.what
    assert "saved show" in refused.value.hint


def test_an_older_qemu_and_its_machine_type_are_read(site: Site) -> None:
    site.save(machine(site.facts(), qemu="1:7.2+dfsg-7", machine="pc-q35-7.2"))
    plan = site.resume().plan
    assert plan.resumed
    assert plan.guest.machine == "pc-q35-7.2", "as it was, whatever a new session of this image has"


def test_what_is_suspended_again_says_which_qemu_writes_it(site: Site) -> None:
    """One that is older than that must not take it for its own."""
    now = site.facts().machine.qemu
    site.save(machine(site.facts(), qemu="1:7.2+dfsg-7", machine="pc-q35-7.2"))
    savable = site.resume().savable
    assert savable
    assert (savable.facts.machine.qemu, savable.facts.machine.machine) == (now, "pc-q35-7.2")


def freeze(site: Site, *, qemu: str, egress: str = "") -> warm.WarmState:
    """Give the image a warm state that this QEMU has made, for these ways out."""
    image = images.resolve(str(site.folder), [])
    plan = site.prepared().plan
    needs = warmth.needs(image, plan.guest, plan.accel, plan.network, "max")
    folder = site.folder / layout.WARM
    folder.mkdir()
    with (folder / layout.WARM_MEMORY).open("wb") as memory:
        memory.truncate(needs.memory)
    shutil.copy(site.folder / "disk.qcow2", folder / layout.DISK)
    for name in (layout.WARM_STATE, layout.VARIABLES):
        (folder / name).write_bytes(b"not looked at")
    warm.write(warm.WarmState(folder, replace(needs, qemu=qemu, egress=egress), ""))
    found = warm.read(site.folder)
    assert found
    return found


def test_a_desktop_that_began_warm_goes_on_when_qemu_is_newer_and_ways_out_are_others(site: Site) -> None:
    """It stands on the files of the warm state: no machine is thawed from them."""
    cold = site.facts()
    state = freeze(site, qemu="1:10.0.0", egress="ipv6")
    assert site.prepared().plan.warm is None, "nobody else could begin in it now"
    disk = layers.fact(state.disk, "warm/disk.qcow2", "qcow2", None)
    memory = layers.fact(state.memory, "warm/memory", "raw", None)
    site.save(replace(machine(cold, qemu="1:10.0.0"), layers=(disk, *cold.layers), memory=memory))
    prepared = site.resume()
    assert prepared.resume
    assert prepared.resume.memory == str(state.memory)
    assert [layer.path for layer in prepared.plan.layers] == [str(state.disk), str(site.folder / "disk.qcow2")]


@pytest.mark.parametrize(
    ("host", "says"),
    [
        (HostCpu("GenuineIntel", "Other", ""), "CPU Other (GenuineIntel) when suspended"),
        (None, "this CPU lacks a-flag-of-tomorrow"),
    ],
)
def test_the_nodes_own_cpu_must_be_the_same_one(site: Site, host: HostCpu | None, says: str) -> None:
    """With KVM, which this node may lack: so what is compared is looked at, not what is started."""
    facts = site.facts()
    here = facts.machine.host
    then = host or replace(here, flags=f"{here.flags} a-flag-of-tomorrow")
    was = replace(facts.machine, accel="kvm", cpu="host", host=then)
    now = replace(was, host=here)
    assert says in "; ".join(resuming.differences(was, now))
    assert resuming.differences(now, now) == []


def test_a_movable_desktop_stays_with_the_vendor_of_its_cpu(site: Site) -> None:
    facts = site.prepared().savable
    assert facts
    intel, amd = (
        replace(facts.facts.machine, accel="kvm", enforced=True, host=HostCpu(vendor, "any", ""))
        for vendor in ("GenuineIntel", "AuthenticAMD")
    )
    assert resuming.differences(intel, amd) == ["a CPU of GenuineIntel when suspended, of AuthenticAMD here"]
    assert resuming.differences(amd, amd) == []


HOSTILE: dict[str, Callable[[Facts], Facts]] = {
    "a name that leads elsewhere": lambda facts: replace(facts, session="../../x"),
    "an image that is a path": lambda facts: replace(facts, image="/etc"),
    "a version that leads elsewhere": lambda facts: replace(facts, version="../1"),
    "a CPU with features": lambda facts: machine(facts, cpu="max,host-cache-info=on"),
    "a machine type with options": lambda facts: machine(facts, machine="pc-q35-10.0,dump-guest-core=off"),
    "a machine type of another board": lambda facts: machine(facts, machine="microvm"),
    "an accelerator of its own": lambda facts: machine(facts, accel="tcg,thread=single"),
    "a network of its own": lambda facts: machine(facts, network="bridge"),
    "a memory that begins beyond": lambda facts: replace(facts, memory_at=1 << 40),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_what_would_reach_a_command_is_refused(site: Site, case: str) -> None:
    site.save(HOSTILE[case](site.facts()))
    with pytest.raises(Refusal, match="what it says of its machine makes no sense"):
        site.resume()


@pytest.mark.parametrize(
    ("password", "user"), [("short", "ann"), (PASSWORD, "ann\nroot"), (PASSWORD, "%u"), ("a b" * 9, "ann")]
)
def test_credentials_are_such_as_we_make(site: Site, password: str, user: str) -> None:
    site.save(site.facts(), Secrets(password, user))
    with pytest.raises(Refusal, match="makes no sense"):
        site.resume()


def test_sizes_that_no_node_has_are_refused(site: Site) -> None:
    site.save(machine(site.facts(), memory=1 << 45))
    with pytest.raises(Refusal) as refused:
        site.resume()
    assert refused.value.code is ExitCode.RESOURCES


def test_without_a_folder_for_the_key_there_is_nothing_to_resume(site: Site) -> None:
    site.save(site.facts())
    with pytest.raises(Refusal, match="no saved desktop"):
        site.resume(state_dir="off")


def test_a_job_that_is_started_again_goes_on_if_there_is_something_to_go_on_from(site: Site) -> None:
    target = site.folder / "desk.7lbd"
    fresh = checked(site, "run", "--resume-if-there", str(target))
    assert fresh.resume is None
    assert fresh.savable
    assert fresh.savable.target == str(target)
    site.save(site.facts()).rename(target)
    again = checked(site, "run", "--resume-if-there", str(target))
    assert again.resume
    assert again.resume.source == str(target)
    assert again.savable
    assert again.savable.target == str(target)


def test_a_file_that_no_desktop_could_be_suspended_into_is_refused_before_it_begins(site: Site) -> None:
    readonly = site.folder / "readonly"
    readonly.mkdir(mode=0o500)
    for folder, why in ((site.folder / "gone", "is no folder to write to"), (readonly, "you cannot write there")):
        with pytest.raises(Refusal, match=f"{folder}: {why}") as refused:
            checked(site, "run", "--resume-if-there", str(folder / "desk.7lbd"))
        assert refused.value.code is ExitCode.USAGE


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--at-end", "suspend", "--state-dir", "off"], "no folder for your key"),
        (["--checkpoint-every", "30m", "--state-dir", "off"], "no folder for your key"),
        (["--at-end", "suspend", "--state-dir", "{}/readonly/x"], "readonly: you cannot write there"),
        (["--at-end", "suspend"], ""),
        (["--state-dir", "off"], ""),
    ],
)
def test_a_desktop_that_could_not_be_suspended_at_its_end_is_told_when_it_begins(
    site: Site, words: list[str], why: str
) -> None:
    (site.folder / "readonly").mkdir(mode=0o500)
    warnings = checked(site, "run", *(word.format(site.folder) for word in words)).warnings
    told = [text for text in warnings if "cannot be saved" in text]
    assert len(told) == (1 if why else 0)
    assert why in "".join(told)


def test_a_disk_whose_state_qemu_cannot_save_is_told_when_it_begins(site: Site) -> None:
    image = site.folder / "image.toml"
    image.write_text(image.read_text().replace('disk_bus = "virtio"', 'disk_bus = "nvme"'))
    warnings = checked(site, "run", "--at-end", "suspend").warnings
    assert any("at its end it is shut down, not suspended: its disk is on NVMe" in text for text in warnings)


def test_what_goes_on_from_a_file_that_cannot_be_written_again_says_so(site: Site) -> None:
    elsewhere = site.folder / "elsewhere"
    elsewhere.mkdir()
    file = site.save(site.facts()).rename(elsewhere / "desk.7lbd")
    elsewhere.chmod(0o500)
    warnings = checked(site, "run", "--resume", str(file), "--at-end", "suspend").warnings
    assert any(f"not suspended: {elsewhere}: you cannot write there" in text for text in warnings)


def checked(site: Site, verb: str, *words: str) -> Prepared:
    """What the checker comes to."""
    from sevenlbd.outside.cli import command_line
    from sevenlbd.outside.cli.parser import source
    from sevenlbd.outside.session.preflight import checker

    image = ["--image", str(site.folder), "--accel", "tcg", "--network", "user", "--min-space", "0", "--no-home-share"]
    _, options = command_line.parse([verb, *image, *words])
    # As if this process were in that job.
    here = replace(sources.look_around({}), environment=site.environment)
    chosen = sources.settings(here, source(options)).settings
    return checker.prepared(options, chosen, here, 0o077, allocation.of(site.environment))


def test_a_movable_desktop_has_a_cpu_that_others_have(site: Site) -> None:
    own = site.prepared(movable=True)
    assert own.plan.guest.portable
    assert own.savable
    assert own.savable.facts.machine.enforced
    site.save(replace(site.facts(), machine=own.savable.facts.machine))
    assert site.resume().plan.guest.portable, "whatever is set where it goes on"


def test_a_requeued_job_goes_on_from_what_its_earlier_life_was_suspended_into(site: Site) -> None:
    site.environment = {**site.environment, "SLURM_JOB_ID": "77", "SLURMD_NODENAME": "node1"}
    facts = replace(site.facts(), session="job77")
    site.save(facts).rename(site.saved / "job77.7lbd")
    assert checked(site, "run", "--at-end", "suspend").resume is None, "its first life"
    site.environment["SLURM_RESTART_COUNT"] = "1"
    assert checked(site, "run").resume is None, "nobody wants it"
    # The node of the earlier life was lost, and its lease is younger than an hour.
    said = {"host": "n2", "user": heartbeat.user_name(), "boot": "b", "space": 1, "pid": 7}
    lease = claims.beside(site.saved / "job77.7lbd")
    lease.write_text(json.dumps(said | {"note": "session job77 in job 77"}))
    again = checked(site, "run", "--at-end", "suspend")
    assert again.started_again
    assert checked(site, "run", "--checkpoint-every", "30m").resume
    lease.write_text(json.dumps(said | {"note": "session job77"}))
    with pytest.raises(Refusal, match="a session goes on from it already: session job77 of"):
        checked(site, "run", "--at-end", "suspend")
    assert again.resume
    assert again.plan.session == "job77"
    assert again.options.suspend_seconds > 5


def test_an_image_says_what_becomes_of_it_at_its_end_where_nobody_else_does(site: Site) -> None:
    assert checked(site, "run").options.suspend_seconds == 0
    with (site.folder / "image.toml").open("a") as described:
        described.write('at_end = "suspend"\n')
    assert checked(site, "run").options.suspend_seconds > 5
    assert checked(site, "run", "--at-end", "shutdown").options.suspend_seconds == 0
    site.environment = {**site.environment, "SLURM_JOB_ID": "77", "SLURMD_NODENAME": "n1", "SLURM_RESTART_COUNT": "1"}
    site.save(replace(site.facts(), session="job77")).rename(site.saved / "job77.7lbd")
    assert checked(site, "run").resume, "a requeued job goes on, too"
    assert checked(site, "run", "--at-end", "shutdown").resume is None


@pytest.mark.parametrize("words", [("resume", "wanderer"), ("run", "--resume", "wanderer")])
def test_both_verbs_come_to_a_session_that_goes_on(
    site: Site, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(site.folder))
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    site.save(site.facts())
    image = (
        "--image",
        str(site.folder),
        "--session-dir",
        str(site.folder / "s"),
        "--min-space",
        "0",
        "--no-home-share",
    )

    async def answer() -> Answer:
        return await Checker([*words, *image], 0o077).answer()

    came = asyncio.run(answer())
    came.raise_trouble()
    assert came.prepared
    assert came.prepared.resume
    assert came.prepared.plan.session == "wanderer"


def test_what_was_encrypted_goes_on_encrypted_with_its_own_key_whatever_is_set(site: Site) -> None:
    key = "ab" * 32
    site.save(site.facts(), Secrets(PASSWORD, "ann", key))
    for encrypt in (False, True):
        prepared = site.resume(encrypt=encrypt)
        assert prepared.plan.disk_key == key
        assert prepared.resume
        assert prepared.resume.most[-1] == prepared.plan.guest.memory, "its memory is a part of its own"


@pytest.mark.parametrize("encrypt", [False, True])
def test_what_was_encrypted_is_warned_of_the_nodes_swap_whatever_is_set(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encrypt: bool
) -> None:
    (tmp_path / "swaps").write_text("Filename\n/dev/sda2 partition 1 2 3\n")
    monkeypatch.setattr(at_rest, "_SWAPS", tmp_path / "swaps")
    site.save(site.facts(), Secrets(PASSWORD, "ann", "ab" * 32))
    warnings = site.resume(encrypt=encrypt, checkpoint_every=60.0).warnings
    for words in ("the node swaps to /dev/sda2", "stands still while it is saved"):
        assert sum(words in text for text in warnings) == 1


def test_what_was_not_encrypted_is_refused_where_everything_has_to_be(site: Site) -> None:
    site.save(site.facts())
    with pytest.raises(Refusal, match="its disk is not encrypted") as told:
        site.resume(encrypt=True)
    assert "--no-encrypt" in (told.value.hint or "")
    resumed = site.resume().resume
    assert resumed
    assert resumed.most[-1] == 0, "and has no such part"


@pytest.mark.parametrize("key", ["x" * 64, "ab", "ab" * 33, "secret,id=k,file=/etc/passwd"])
def test_a_disks_key_that_makes_no_sense_is_not_taken(site: Site, key: str) -> None:
    site.save(site.facts(), Secrets(PASSWORD, "ann", key))
    with pytest.raises(Refusal, match="makes no sense"):
        site.resume()
