"""`image build windows --dry-run`: everything is checked before anything is made, and what is made is whole."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path

import efi_programs
import pytest
import windows_discs
from sevenlbd.__main__ import main
from sevenlbd.images import description
from sevenlbd.images.description import Channel, Clock, DiskBus, Firmware
from sevenlbd.images.media import authenticode, disc_files
from sevenlbd.outside.imaging import build_windows, setup_answers
from windows_discs import ENTERPRISE, PRO

KEY = "NPPR9-FWDCX-D2C8J-H872K-2YT43"
Build = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def discs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both discs."""
    place = tmp_path_factory.mktemp("discs")
    windows_discs.windows(place / "win.iso", windows_discs.windows_files(ENTERPRISE, PRO))
    windows_discs.virtio(place / "virtio.iso")
    (place / "authorities.pem").write_bytes(efi_programs.known().pem())
    return place


@pytest.fixture
def build(discs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Build:
    """Runs the verb as a user would; returns its exit code and what it printed. Options given replace usual ones."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(authenticode, "AUTHORITIES", discs / "authorities.pem")

    def run(**options: str) -> tuple[int, str, str]:
        usual = {
            "iso": str(discs / "win.iso"),
            "virtio": str(discs / "virtio.iso"),
            "name": "win11",
            "version": "2026.11",
            "edition": "Windows 11 Enterprise",
            "dry_run": str(tmp_path / "out"),
        }
        given = {name.replace("_", "-"): value for name, value in (usual | options).items()}
        code = main(["image", "build", "windows", *(f"--{name}={value}" for name, value in given.items())])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_a_dry_run_shows_all_that_would_be_done(build: Build, discs: Path, tmp_path: Path) -> None:
    code, out, errors = build(memory="6G", size="80G")
    assert (code, errors) == (0, "")
    for words in ("Windows 11 Enterprise (number 1", "build 26100", str(discs / "win.iso"), "(w11)", "uefi-secure"):
        assert words in out
    assert "6144 MiB" in out
    assert "80 GiB" in out
    assert "win11@2026.11" in out
    folder = tmp_path / "out"
    found = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    names = ("first-boot", "start", "drives", "session", "notice", "logon", "exec", "finish", "join", "worker")
    scripts = {f"7lbd/{name}.ps1" for name in names} | {"7lbd/SevenLBD.psm1", "7lbd/RunJob.cs"}
    assert found == {"answers.iso", "image.toml", "Autounattend.xml", *scripts}


def test_the_disc_has_the_very_files_that_are_shown(build: Build, tmp_path: Path) -> None:
    build()
    folder = tmp_path / "out"
    with disc_files.opened(folder / "answers.iso") as disc:
        for path in folder.rglob("*"):
            name = str(path.relative_to(folder))
            if path.is_file() and name not in ("answers.iso", "image.toml"):
                assert disc.read(name, 1 << 20) == path.read_bytes()
        assert "image.toml" not in disc


def test_the_description_fits_what_is_installed(build: Build, tmp_path: Path) -> None:
    build(title='Tools of "the lab"', user="lab")
    described = description.read(tmp_path / "out" / "image.toml")
    assert (described.name, described.version, described.title) == ("win11", "2026.11", 'Tools of "the lab"')
    assert described.firmware is Firmware.UEFI_SECURE
    assert described.disk_bus is DiskBus.VIRTIO
    assert described.clock is Clock.UTC
    assert set(described.channels) == {Channel.SMBIOS, Channel.AGENT}
    assert described.user == "lab"
    assert described.administrator == "Administrator", "the one who installs programs in `image maintain`"
    assert described.warm_hook == build_windows.HOOK
    assert described.notice_hook == build_windows.NOTICE
    assert described.logon_hook == build_windows.LOGON
    assert described.exec_hook == build_windows.EXEC


def test_what_is_written_is_for_its_owner_only(build: Build, tmp_path: Path) -> None:
    build()
    for path in [tmp_path / "out", *(tmp_path / "out").rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path


def test_an_empty_folder_may_be_there_and_a_filled_one_is_left_alone(build: Build, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert build()[0] == 0
    before = (tmp_path / "out" / "Autounattend.xml").read_bytes()
    code, _, errors = build()
    assert code == 2
    assert "not empty" in errors
    assert (tmp_path / "out" / "Autounattend.xml").read_bytes() == before


def test_a_product_key_may_come_from_a_file(build: Build, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY.lower() + "\n")
    assert build(product_key=f"@{tmp_path / 'key'}")[0] == 0
    assert KEY in (tmp_path / "out" / "Autounattend.xml").read_text()


def test_a_machine_without_a_tpm_is_warned_of(build: Build, tmp_path: Path) -> None:
    code, out, _ = build(firmware="uefi")
    assert code == 0
    assert "without a TPM" in out
    assert description.read(tmp_path / "out" / "image.toml").firmware is Firmware.UEFI


# What is wrong, the exit code, and words of the refusal.
WRONG = [
    ({"name": "../win11"}, 3, ["cannot be an image's name"]),
    ({"version": "1/../../2"}, 3, ["cannot be a version's name"]),
    ({"edition": "Windows 11 Home"}, 3, ["no edition `Windows 11 Home`", "Windows 11 Enterprise, Windows 11 Pro"]),
    ({"edition": ""}, 3, ["several editions", "Windows 11 Enterprise, Windows 11 Pro"]),
    ({"language": "de-DE"}, 3, ["does not speak de-DE", "en-US"]),
    ({"language": "English"}, 2, ["--language"]),
    ({"user": "a b"}, 2, ["--user"]),
    ({"user": "<user>"}, 2, ["--user"]),
    ({"user": "lab."}, 2, ["--user", "without a dot at the end"]),
    ({"user": "Administrator"}, 2, ["--user Administrator", "Windows has that name for itself"]),
    ({"user": "guest"}, 2, ["--user guest", "Windows has that name"]),
    ({"user": "SevenLBD"}, 2, ["--user SevenLBD", "Windows has that name"]),
    ({"size": "48G"}, 2, ["--size", "not installed with less than 64G"]),
    ({"memory": "2G"}, 2, ["--memory", "not installed with less than 4G"]),
    ({"cpus": "1"}, 2, ["--cpus", "not installed with less than 2"]),
    ({"title": "two\nlines"}, 2, ["--title"]),
    ({"title": "x" * 101}, 2, ["--title"]),
    ({"size": "8G"}, 2, ["--size", "at least 32G"]),
    ({"size": "much"}, 2, ["--size", "for instance 4G"]),
    ({"within": "soon"}, 2, ["--within"]),
    ({"timezone": "W. Europe Standart Time"}, 2, ["did you mean `W. Europe Standard Time`"]),
    ({"timezone": "Europe/Berlin"}, 2, ["none of Windows'"]),
    ({"firmware": "bios"}, 2, ["--firmware"]),
    ({"dry_run": "/nowhere/at/all"}, 2, ["--dry-run", "cannot be made"]),
    ({"product_key": "@/nowhere"}, 2, ["--product-key", "cannot be read"]),
]


@pytest.mark.parametrize(("options", "code", "says"), WRONG, ids=lambda value: str(value)[:40])
def test_what_cannot_be_done_is_refused_first(
    build: Build, tmp_path: Path, options: dict[str, str], code: int, says: list[str]
) -> None:
    got, out, errors = build(**options)
    assert (got, out) == (code, "")
    assert errors.startswith("7lbd: ")
    assert "\n  " in errors, "no hint"
    assert all(words in errors for words in says), errors
    assert not list(tmp_path.iterdir()), "something is left"


@pytest.mark.parametrize(
    "key", ["12345", "NPPR9-FWDCX-D2C8J-H872K", "AAAAA-EEEEE-IIIII-OOOOO-UUUUU", f"{KEY}X", "<&\"'>"]
)
def test_a_wrong_product_key_is_refused_and_not_repeated(build: Build, key: str) -> None:
    code, _, errors = build(product_key=key)
    assert code == 2
    assert "not a product key" in errors
    assert key not in errors


def test_the_discs_are_not_confused(build: Build, discs: Path, tmp_path: Path) -> None:
    code, _, errors = build(iso=str(discs / "virtio.iso"))
    assert code == 3
    assert "no Windows installation disc" in errors
    code, _, errors = build(virtio=str(discs / "win.iso"))
    assert code == 3
    assert "no virtio-win disc" in errors
    (tmp_path / "text.iso").write_text("not a disc")
    code, _, errors = build(iso=str(tmp_path / "text.iso"))
    assert code == 3
    assert "cannot be read as an ISO" in errors
    code, _, errors = build(iso=str(tmp_path / "missing.iso"))
    assert code == 3
    assert "--bind" in errors


def test_the_verb_tells_what_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["image", "build", "windows", "--help"])
    told = " ".join(capsys.readouterr().out.split())
    for option in ("--iso", "--virtio", "--edition", "--product-key", "--dry-run", "--timezone"):
        assert option in told
    assert setup_answers.timezones()


@pytest.mark.parametrize(
    ("edition", "channel", "key"),
    [
        ("Windows 11 Pro", b"", "VK7JG-NPHTM-C97JM-9MPGT-3V66T"),
        ("Windows 11 Pro", b"[Channel]\r\nRetail\r\n", "VK7JG-NPHTM-C97JM-9MPGT-3V66T"),
        ("Windows 11 Pro", b"[EditionID]\r\n\r\n[Channel]\r\nVolume\r\n[VL]\r\n1", "W269N-WFGWX-YVC9B-4J6C9-T83GX"),
        ("Windows Server 2022 Standard", b"[Channel]\r\nVolume", "VDYBN-27WPP-V4HQT-9VMD4-VMK7H"),
        ("Windows 11 Enterprise Evaluation", b"[Channel]\r\neval", ""),
    ],
)
def test_setup_is_given_the_key_that_its_media_want(
    build: Build, tmp_path: Path, edition: str, channel: bytes, key: str
) -> None:
    server = windows_discs.Image("Windows Server 2022 Standard", "Server", 20348, id="ServerStandard")
    evaluation = windows_discs.Image("Windows 11 Enterprise Evaluation", id="EnterpriseEval")
    files = windows_discs.windows_files(PRO, server, evaluation) | ({"sources/ei.cfg": channel} if channel else {})
    windows_discs.windows(tmp_path / "own.iso", files)
    code, out, _ = build(iso=str(tmp_path / "own.iso"), edition=edition)
    assert code == 0
    answer = (tmp_path / "out" / "Autounattend.xml").read_text()
    assert (f"<Key>{key}</Key>" in answer) is bool(key)
    assert ("<Key>" in answer.split("<ProductKey>")[1].split("</ProductKey>")[0]) is bool(key)
    assert ("note: an evaluation, installed today, ends in 90 days" in out) is not bool(key)


def test_an_evaluation_gets_no_key_also_where_only_its_media_say_what_it_is(build: Build, tmp_path: Path) -> None:
    files = windows_discs.windows_files(ENTERPRISE) | {"sources/ei.cfg": b"[Channel]\r\nEval\r\n"}
    windows_discs.windows(tmp_path / "own.iso", files)
    assert build(iso=str(tmp_path / "own.iso"))[0] == 0
    answer = (tmp_path / "out" / "Autounattend.xml").read_text()
    assert "<Key>" not in answer.split("<ProductKey>")[1].split("</ProductKey>")[0]


@pytest.mark.parametrize("edition", ["Core", "CoreN", "CoreSingleLanguage", "CoreCountrySpecific"])
def test_a_home_edition_is_refused_as_nobody_could_log_in(build: Build, tmp_path: Path, edition: str) -> None:
    home = windows_discs.Image("Windows 11 Home", id=edition)
    windows_discs.windows(tmp_path / "own.iso", windows_discs.windows_files(PRO, home))
    code, out, errors = build(iso=str(tmp_path / "own.iso"), edition="Windows 11 Home")
    assert (code, out) == (3, "")
    assert "Windows 11 Home is a Home edition of Windows, which nobody can log in to by Remote Desktop" in errors
    assert "Pro" in errors


@pytest.mark.parametrize(
    ("edition", "options", "warned"),
    [
        ("IoTEnterpriseK", {}, True),
        ("", {}, True),
        ("IoTEnterpriseK", {"product_key": KEY}, False),
        ("EnterpriseEval", {}, False),
        ("Professional", {}, False),
    ],
)
def test_setup_that_may_ask_for_a_key_is_warned_of(
    build: Build, tmp_path: Path, edition: str, options: dict[str, str], warned: bool
) -> None:
    image = windows_discs.Image("An edition", id=edition)
    windows_discs.windows(tmp_path / "own.iso", windows_discs.windows_files(image))
    code, _, errors = build(iso=str(tmp_path / "own.iso"), edition="An edition", **options)
    assert code == 0
    assert ("no product key of Microsoft's own is known for An edition" in errors) is warned


@pytest.mark.parametrize(("language", "warned"), [("fr-FR", True), ("es-MX", True), ("de-DE", False), ("en-GB", False)])
def test_a_language_with_another_name_for_the_administrator_is_warned_of(
    build: Build, tmp_path: Path, language: str, warned: bool
) -> None:
    image = windows_discs.Image("Windows 11 Pro", languages=(language,), id="Professional")
    windows_discs.windows(tmp_path / "own.iso", windows_discs.windows_files(image))
    code, _, errors = build(iso=str(tmp_path / "own.iso"), edition="", language=language)
    assert code == 0
    assert (f"in {language} Windows' own administrator has another name" in errors) is warned


@pytest.mark.parametrize(
    ("image", "channel", "days"),
    [
        (ENTERPRISE, b"[Channel]\r\nRetail\r\n", None),
        (ENTERPRISE, b"[EditionID]\r\nEnterprise\r\n[Channel]\r\nEval\r\n", 90),
        (windows_discs.Image("Windows 11 Enterprise Evaluation", id="EnterpriseEval"), b"", 90),
        (windows_discs.Image("Server 2022", "Server Core", 20348, id="ServerStandardEval"), b"", 180),
    ],
)
def test_an_evaluations_image_knows_its_last_day(
    build: Build, tmp_path: Path, image: windows_discs.Image, channel: bytes, days: int | None
) -> None:
    windows_discs.windows(tmp_path / "own.iso", windows_discs.windows_files(image) | {"sources/ei.cfg": channel})
    assert build(iso=str(tmp_path / "own.iso"), edition="")[0] == 0
    last = date.today() + timedelta(days=days) if days else None
    assert description.read(tmp_path / "out" / "image.toml").last_day == last


UNKNOWN = efi_programs.signed_by(efi_programs.authority("Somebody Else 2024"))
BOTH = efi_programs.signed_by(efi_programs.known(), efi_programs.authority("Known Authority 2023"))


def test_a_dry_run_names_the_authorities_behind_the_discs_boot_loaders(build: Build, tmp_path: Path) -> None:
    files = windows_discs.windows_files(loader=BOTH)
    files["EFI/Microsoft/Boot/cdboot.efi"] = efi_programs.signed_by(efi_programs.known())
    windows_discs.windows(tmp_path / "own.iso", files)
    code, out, _ = build(iso=str(tmp_path / "own.iso"))
    assert code == 0
    assert "boots by  efi/boot/bootx64.efi: signed under Known Authority 2011 and Known Authority 2023\n" in out
    assert "boots by  efi/microsoft/boot/cdboot.efi: signed under Known Authority 2011\n" in out


@pytest.mark.parametrize(
    ("loader", "says"),
    [
        (UNKNOWN, "efi/boot/bootx64.efi: signed under Somebody Else 2024"),
        (efi_programs.with_signatures(), "efi/boot/bootx64.efi: it is not signed"),
        (b"MZ", "efi/boot/bootx64.efi: it is no EFI program"),
    ],
)
def test_a_disc_that_secure_boot_would_not_start_is_refused_unless_there_is_none(
    build: Build, tmp_path: Path, loader: bytes, says: str
) -> None:
    windows_discs.windows(tmp_path / "own.iso", windows_discs.windows_files(loader=loader))
    code, _, errors = build(iso=str(tmp_path / "own.iso"))
    assert code == 3
    assert f"a machine with Secure Boot does not start it: {says}" in errors
    assert "--firmware uefi" in errors
    code, out, _ = build(iso=str(tmp_path / "own.iso"), firmware="uefi")
    assert code == 0
    assert says in out


@pytest.mark.parametrize(
    ("inf", "says"),
    [
        (windows_discs.inf("100.100.104.27100"), "is 100.100.104.27100, of release 0.1.271: those before 0.1.285"),
        (windows_discs.inf("100.100.104.27100").decode().encode("utf-16"), "of release 0.1.271"),
        (windows_discs.inf("100.85.104.20800") + "© Red Hat".encode("latin-1"), "of release 0.1.208"),
        (b"[Version]\r\n", "of a version that its netkvm.inf does not tell"),
        (windows_discs.inf("100.101.104.28500"), ""),
        (windows_discs.inf("100.110.104.29700"), ""),
    ],
)
def test_an_old_network_driver_is_warned_of(build: Build, tmp_path: Path, inf: bytes, says: str) -> None:
    files = windows_discs.virtio_files() | {"NetKVM/w11/amd64/netkvm.inf": inf}
    windows_discs.virtio(tmp_path / "old.iso", files)
    code, _, errors = build(virtio=str(tmp_path / "old.iso"))
    assert code == 0
    assert errors.startswith("7lbd: WARNING: ") is bool(says)
    assert says in errors


def test_a_server_core_gets_a_servers_drivers(build: Build, tmp_path: Path) -> None:
    core = windows_discs.Image("Windows Server 2022 Standard Core", "Server Core", 20348, id="ServerStandard")
    windows_discs.windows(tmp_path / "own.iso", windows_discs.windows_files(core))
    code, out, _ = build(iso=str(tmp_path / "own.iso"), edition=core.name, size="40G")
    assert code == 0
    assert "(2k22)" in out
