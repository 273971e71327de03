"""Installation discs: what is on them is found, and what they pretend is refused."""

from __future__ import annotations

import binascii
from contextlib import suppress
from pathlib import Path

import pycdlib
import pytest
import windows_discs
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sevenlbd.base.errors import Refusal
from sevenlbd.images.media import disc_files, setup_media, wim
from windows_discs import ENTERPRISE, PRO, Image

FILES = {"Autounattend.xml": b"<unattend/>", "7lbd/first-boot.ps1": b"x" * 5000, "7lbd/deep/SevenLBD.psm1": b""}


def edition(image: Image = ENTERPRISE) -> wim.Edition:
    raw = windows_discs.wim(windows_discs.xml([image]))
    return wim.editions(lambda size, offset: raw[offset : offset + size])[0]


@pytest.mark.parametrize(
    ("tree", "names"),
    [
        ("udf_path", {"/Autounattend.xml", "/7lbd/first-boot.ps1", "/7lbd/deep/SevenLBD.psm1"}),
        ("joliet_path", {"/Autounattend.xml", "/7lbd/first-boot.ps1", "/7lbd/deep/SevenLBD.psm1"}),
        ("iso_path", {"/AUTOUNATTEND.XML;1", "/7LBD/FIRST_BOOT.PS1;1", "/7LBD/DEEP/SEVENLBD.PSM1;1"}),
    ],
)
def test_a_disc_has_the_same_files_in_each_of_its_trees(tmp_path: Path, tree: str, names: set[str]) -> None:
    disc_files.write(tmp_path / "disc.iso", "ANSWERS", FILES)
    iso = pycdlib.PyCdlib()
    iso.open(str(tmp_path / "disc.iso"))
    found = {}
    for folder, _, files in iso.walk(**{tree: "/"}):
        for name in files:
            path = f"{folder.rstrip('/')}/{name}"
            with iso.open_file_from_iso(**{tree: path}) as file:
                found[path] = file.read()
    assert set(found) == names
    assert sorted(found.values()) == sorted(FILES.values())
    assert iso.pvd.volume_identifier.strip() == b"ANSWERS"
    iso.close()


def test_a_disc_is_for_its_owner_only_and_never_over_another_file(tmp_path: Path) -> None:
    target = tmp_path / "disc.iso"
    disc_files.write(target, "ANSWERS", FILES)
    assert target.stat().st_mode & 0o777 == 0o600
    with pytest.raises(FileExistsError):
        disc_files.write(target, "ANSWERS", {})
    with disc_files.opened(target) as disc:
        assert "autounattend.xml" in disc


def test_files_are_found_in_any_tree_and_case(tmp_path: Path) -> None:
    windows = windows_discs.windows(tmp_path / "win.iso")
    virtio = windows_discs.virtio(tmp_path / "virtio.iso")
    with disc_files.opened(windows) as disc:
        assert disc.read("EFI/Boot/BootX64.efi", 2) == b"MZ"
        assert disc.read("sources/INSTALL.WIM", 5) == b"MSWIM"
        assert disc.read("sources/install.wim", 10**9, offset=208).startswith(b"a resource")
        assert "sources" not in disc
    with disc_files.opened(virtio) as disc:
        assert "netkvm/W11/amd64/netkvm.inf" in disc
        assert "NetKVM/w11/amd64/other.inf" not in disc


def test_editions_and_drivers_are_read_from_the_discs(tmp_path: Path) -> None:
    files = windows_discs.windows_files(ENTERPRISE, PRO)
    found = setup_media.windows(windows_discs.windows(tmp_path / "win.iso", files))
    assert [(one.index, one.name, one.build, one.languages) for one in found.editions] == [
        (1, "Windows 11 Enterprise", 26100, ("en-US",)),
        (2, "Windows 11 Pro", 26100, ("en-US",)),
    ]
    assert found.edition("windows 11 pro", "en-us").index == 2
    drivers = setup_media.drivers(windows_discs.virtio(tmp_path / "virtio.iso"))
    assert drivers.systems == ("w10", "w11", "2k22")
    assert drivers.check(found.editions[0]) == "w11"


@pytest.mark.parametrize("name", ["install.esd", "install.swm"])
def test_a_disc_may_keep_its_editions_in_another_form(tmp_path: Path, name: str) -> None:
    files = windows_discs.windows_files()
    files[f"sources/{name}"] = files.pop("sources/install.wim")
    found = setup_media.windows(windows_discs.windows(tmp_path / "win.iso", files))
    assert found.editions[0].name == "Windows 11 Enterprise"


# The folders of virtio-win: its own README, and Microsoft's list of builds.
@pytest.mark.parametrize(
    ("image", "folder"),
    [
        (Image("Windows 10 Enterprise LTSC", build=19044), "w10"),
        (Image("Windows 11 Enterprise", build=22000), "w11"),
        (Image("Windows Server 2016", "Server", 14393), "2k16"),
        (Image("Windows Server 2019", "Server", 17763), "2k19"),
        (Image("Windows Server 2022", "Server", 20348), "2k22"),
        (Image("Windows Server 2025", "Server", 26100), "2k25"),
        (Image("Windows Server vNext", "Server", 30000), "2k25"),
    ],
)
def test_each_windows_has_its_drivers(image: Image, folder: str) -> None:
    assert setup_media.driver_folder(edition(image)) == folder


def test_an_edition_is_asked_for_by_its_english_name(tmp_path: Path) -> None:
    two = setup_media.WindowsDisc(Path("win.iso"), (edition(ENTERPRISE), edition(PRO)))
    with pytest.raises(Refusal, match="no edition `Windows 12`.*there are: Windows 11 Enterprise, Windows 11 Pro"):
        two.edition("Windows 12", "en-US")
    with pytest.raises(Refusal, match="several editions"):
        two.edition("", "en-US")
    one = setup_media.WindowsDisc(Path("win.iso"), (edition(),))
    assert one.edition("", "en-US").name == "Windows 11 Enterprise"
    with pytest.raises(Refusal, match="does not speak de-DE; it speaks: en-US"):
        one.edition("", "de-DE")
    for architecture in (0, 12):
        arm = setup_media.WindowsDisc(Path("win.iso"), (edition(Image("Windows 11 Pro", architecture=architecture)),))
        with pytest.raises(Refusal, match="not for x86-64"):
            arm.edition("", "en-US")


@pytest.mark.parametrize("missing", ["sources/boot.wim", "efi/boot/bootx64.efi", "sources/install.wim"])
def test_a_disc_that_lacks_a_part_is_not_windows(tmp_path: Path, missing: str) -> None:
    files = windows_discs.windows_files()
    del files[missing]
    with pytest.raises(Refusal, match=f"no Windows installation disc: `{missing}` is missing"):
        setup_media.windows(windows_discs.windows(tmp_path / "win.iso", files))


def test_a_driver_disc_must_have_drivers_for_that_windows(tmp_path: Path) -> None:
    files = windows_discs.virtio_files(["w10", "w11"])
    del files["NetKVM/w11/amd64/netkvm.inf"]
    disc = setup_media.drivers(windows_discs.virtio(tmp_path / "virtio.iso", files))
    with pytest.raises(Refusal, match="has not all drivers for Windows 11 Enterprise.*complete for: w10"):
        disc.check(edition())
    del files["guest-agent/qemu-ga-x86_64.msi"]
    with pytest.raises(Refusal, match="no virtio-win disc: `guest-agent/qemu-ga-x86_64.msi` is missing"):
        setup_media.drivers(windows_discs.virtio(tmp_path / "other.iso", files))


LISTED = windows_discs.xml([ENTERPRISE])


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "does not begin with a WIM header"),
        (windows_discs.wim(LISTED)[:200], "does not begin with a WIM header"),
        (b"PK" + windows_discs.wim(LISTED)[2:], "does not begin with a WIM header"),
        (windows_discs.wim(LISTED, flags=0x06), "compressed"),
        (windows_discs.wim(LISTED, size=0), "0 bytes"),
        (windows_discs.wim(LISTED, size=1 << 50), "makes no sense"),
        (windows_discs.wim(LISTED, offset=1 << 60), "beyond its end"),
        (windows_discs.wim(LISTED)[:-2], "beyond its end"),
        (windows_discs.wim("<WIM>"), "cannot be read"),
        (windows_discs.wim("<WIM></WIM>"), "holds no Windows"),
        (windows_discs.wim('<WIM><IMAGE INDEX="x"/></WIM>'), "cannot be read"),
        (windows_discs.wim('<!DOCTYPE W [<!ENTITY a "aaaa">]><WIM>&a;</WIM>'), "declares entities"),
    ],
)
def test_a_broken_list_of_editions_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(wim.WimError, match=why):
        wim.editions(lambda size, offset: raw[offset : offset + size])


@given(st.binary(max_size=400), st.integers(0, 207))
def test_no_header_makes_the_reader_do_anything_but_refuse(noise: bytes, at: int) -> None:
    good = windows_discs.wim(LISTED)
    raw = good[:at] + noise + good[at + len(noise) :]
    try:
        found = wim.editions(lambda size, offset: raw[offset : offset + size])
    except wim.WimError:
        return
    assert all(len(one.name) <= 200 for one in found)


@pytest.fixture(scope="module")
def small_disc(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return windows_discs.windows(tmp_path_factory.mktemp("discs") / "win.iso").read_bytes()


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_hostile_disc_is_refused_or_read_and_nothing_else(
    small_disc: bytes, tmp_path: Path, data: st.DataObject
) -> None:
    raw = bytearray(small_disc)
    used = [at for at in range(16 * 2048, len(raw), 64) if any(raw[at : at + 64])]
    for _ in range(data.draw(st.integers(1, 8))):
        at = data.draw(st.sampled_from(used)) + data.draw(st.integers(0, 63))
        raw[at] = data.draw(st.integers(0, 255))
    path = tmp_path / "hostile.iso"
    path.write_bytes(raw[: data.draw(st.sampled_from([len(raw), len(raw) // 2, 40 * 2048]))])
    with suppress(Refusal):
        setup_media.windows(path)


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text"])
def test_what_is_no_disc_is_told_so(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        path.mkdir()
    elif kind != "missing":
        path.write_bytes(b"" if kind == "empty" else b"not a disc " * 10000)
    with pytest.raises(Refusal) as refused:
        setup_media.windows(path)
    assert str(path) in refused.value.what
    assert refused.value.hint


def test_reading_a_disc_has_a_process_of_its_own_with_limits(tmp_path: Path) -> None:
    windows = windows_discs.windows(tmp_path / "win.iso")
    virtio = windows_discs.virtio(tmp_path / "virtio.iso")
    disc, drivers = setup_media.look(windows, virtio)
    assert disc == setup_media.windows(windows)
    assert drivers == setup_media.drivers(virtio)
    with pytest.raises(Refusal, match="no Windows installation disc"):
        setup_media.look(virtio, virtio)


def test_a_disc_that_eats_memory_is_stopped(tmp_path: Path) -> None:
    path = windows_discs.windows(tmp_path / "win.iso")
    raw = bytearray(path.read_bytes())
    # The first entry of a directory that is a file: its ICB says that it is a gigabyte long. ECMA-167 4/14.4 and 3/7.2.
    at = next(
        at for at in range(0, len(raw), 4) if raw[at : at + 2] == b"\x01\x01" and b"setup.exe" in raw[at : at + 60]
    )
    raw[at + 20 : at + 24] = ((1 << 30) - 1).to_bytes(4, "little")
    length = int.from_bytes(raw[at + 10 : at + 12], "little")
    raw[at + 8 : at + 10] = binascii.crc_hqx(raw[at + 16 : at + 16 + length], 0).to_bytes(2, "little")
    raw[at + 4] = (sum(raw[at : at + 16]) - raw[at + 4]) % 256
    path.write_bytes(raw)
    with path.open("r+b") as file:
        file.truncate(3 << 30)
    with pytest.raises(Refusal, match="too much memory"):
        setup_media.look(path, windows_discs.virtio(tmp_path / "virtio.iso"))
