"""The answer file is what Microsoft documents, and says what was asked for."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import jinja2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sevenlbd.images.media.setup_media import DRIVERS
from sevenlbd.images.media.wim import Edition
from sevenlbd.outside.imaging import setup_answers
from sevenlbd.outside.imaging.setup_answers import ANSWER, SetupOptions

TEMPLATES = Path(__file__).parents[4] / "containers" / "windows"
NAMESPACE = "{urn:schemas-microsoft-com:unattend}"
WCM = "{http://schemas.microsoft.com/WMIConfig/2002/State}"
KEY = "NPPR9-FWDCX-D2C8J-H872K-2YT43"

# learn.microsoft.com, Windows Setup, "How Configuration Passes Work": in the order in which Setup goes through them.
PASSES = ["windowsPE", "offlineServicing", "generalize", "specialize", "auditSystem", "auditUser", "oobeSystem"]

# learn.microsoft.com, "Unattended Windows Setup Reference": of each component that we use, the passes in which it is
# valid, and its settings in the order of its page. Where the page lists more of them than concern us, ours are kept.
REFERENCE: dict[str, tuple[set[str], list[str]]] = {
    "Microsoft-Windows-International-Core-WinPE": (
        {"windowsPE"},
        [
            "SetupUILanguage",
            "InputLocale",
            "LayeredDriver",
            "SystemLocale",
            "UILanguage",
            "UILanguageFallback",
            "UserLocale",
        ],
    ),
    "Microsoft-Windows-PnpCustomizationsWinPE": ({"windowsPE"}, ["DriverPaths"]),
    "Microsoft-Windows-Setup": (
        {"windowsPE"},
        [
            *("ComplianceCheck", "Diagnostics", "DiskConfiguration", "Display", "DynamicUpdate", "EnableFirewall"),
            *("EnableNetwork", "ImageInstall", "LogPath", "PageFile", "Restart", "RunAsynchronous", "RunSynchronous"),
            *("UpgradeData", "UseConfigurationSet", "UserData", "WindowsDeploymentServices"),
        ],
    ),
    "Microsoft-Windows-Deployment": (
        {"specialize", "generalize", "auditUser", "oobeSystem"},
        ["ExtendOSPartition", "Generalize", "Reseal", "RunAsynchronous", "RunSynchronous"],
    ),
    "Microsoft-Windows-Shell-Setup": (
        {"offlineServicing", "generalize", "specialize", "auditSystem", "auditUser", "oobeSystem"},
        [
            *(
                "AutoLogon",
                "ComputerName",
                "CopyProfile",
                "DesktopOptimization",
                "DisableAutoDaylightTimeSet",
                "Display",
            ),
            *("DoNotCleanTaskBar", "FirstLogonCommands", "FolderLocations", "LogonCommands", "NotificationArea"),
            *("OEMInformation", "OEMName", "OfflineUserAccounts", "OOBE", "ProductKey", "RegisteredOrganization"),
            *("RegisteredOwner", "StartPanelOff", "TaskbarLinks", "Themes", "TimeZone", "UseConfigurationSet"),
            *("UserAccounts", "VisualEffects", "WindowsFeatures"),
        ],
    ),
    "Microsoft-Windows-TerminalServices-LocalSessionManager": (
        {"offlineServicing", "generalize", "specialize"},
        ["fDenyTSConnections"],
    ),
    "Microsoft-Windows-TerminalServices-RDP-WinStationExtensions": (
        {"offlineServicing", "generalize", "specialize"},
        ["SecurityLayer", "UserAuthentication"],
    ),
    "Networking-MPSSVC-Svc": (
        {"offlineServicing", "generalize", "specialize"},
        [
            "DomainProfile_EnableFirewall",
            "FirewallGroups",
            "PrivateProfile_EnableFirewall",
            "PublicProfile_EnableFirewall",
        ],
    ),
    "Microsoft-Windows-International-Core": (
        {"specialize", "oobeSystem"},
        ["InputLocale", "SystemLocale", "UILanguage", "UILanguageFallback", "UserLocale"],
    ),
}
# The settings inside those, by the reference's own pages; an element that is not here has text only.
CHILDREN: dict[str, set[str]] = {
    "SetupUILanguage": {"UILanguage", "WillShowUI"},
    "DriverPaths": {"PathAndCredentials"},
    "PathAndCredentials": {"Credentials", "Key", "Path"},
    "DiskConfiguration": {"Disk", "DisableEncryptedDiskProvisioning", "WillShowUI"},
    "Disk": {"CreatePartitions", "DiskID", "ModifyPartitions", "WillWipeDisk"},
    "CreatePartitions": {"CreatePartition"},
    "CreatePartition": {"Extend", "Order", "Size", "Type"},
    "ModifyPartitions": {"ModifyPartition"},
    "ModifyPartition": {"Active", "Extend", "Format", "Label", "Letter", "Order", "PartitionID", "TypeID"},
    "DynamicUpdate": {"Enable", "WillShowUI"},
    "ImageInstall": {"DataImage", "OSImage"},
    "OSImage": {"InstallFrom", "InstallTo", "InstallToAvailablePartition", "WillShowUI"},
    "InstallFrom": {"Credentials", "MetaData", "Path"},
    "MetaData": {"Key", "Value"},
    "InstallTo": {"DiskID", "PartitionID"},
    "UserData": {"AcceptEula", "FullName", "Organization", "ProductKey"},
    "ProductKey": {"Key", "WillShowUI"},
    "RunSynchronous": {"RunSynchronousCommand"},
    "RunSynchronousCommand": {"Credentials", "Description", "Order", "Path", "WillReboot"},
    "FirewallGroups": {"FirewallGroup"},
    "FirewallGroup": {"Active", "Group", "Key", "Profile"},
    "AutoLogon": {"Domain", "Enabled", "LogonCount", "Password", "Username"},
    "Password": {"PlainText", "Value"},
    "AdministratorPassword": {"PlainText", "Value"},
    "FirstLogonCommands": {"SynchronousCommand"},
    "SynchronousCommand": {"CommandLine", "Description", "Order", "RequiresUserInput"},
    "OOBE": {
        *("HideEULAPage", "HideLocalAccountScreen", "HideOEMRegistrationScreen", "HideOnlineAccountScreens"),
        *(
            "HideWirelessSetupInOOBE",
            "NetworkLocation",
            "ProtectYourPC",
            "UnattendEnableRetailDemo",
            "VMModeOptimizations",
        ),
    },
    "UserAccounts": {"AdministratorPassword", "DomainAccounts", "LocalAccounts"},
    "LocalAccounts": {"LocalAccount"},
    "LocalAccount": {"Description", "DisplayName", "Group", "Name", "Password"},
}


def wishes(**changes: str) -> SetupOptions:
    chosen = {
        "drivers": "w11",
        "title": "Tools of the lab",
        "account": "user1",
        "language": "en-US",
        "timezone": "W. Europe Standard Time",
        "product_key": "",
    }
    edition = Edition(3, "Windows 11 Enterprise", "Client", "9", 26100, ("en-US",))
    return SetupOptions(edition=edition, **chosen | changes)


@cache
def rendered(**changes: str) -> Element:
    """The answer file as Windows gets it, parsed."""
    return ElementTree.fromstring(setup_answers.encoded(setup_answers.render(wishes(**changes), TEMPLATES))[ANSWER])


def texts(root: Element, path: str) -> list[str]:
    """The texts of all elements that a path of plain names leads to."""
    return [
        node.text or "" for node in root.iterfind("/".join(["."] + [f"{NAMESPACE}{part}" for part in path.split("/")]))
    ]


def text(root: Element, setting: str) -> str:
    """The text of a setting that stands there once: `pass/component/...`."""
    where, component, path = setting.split("/", 2)
    inside = f"./{NAMESPACE}settings[@pass='{where}']/{NAMESPACE}component[@name='{component}']"
    (found,) = root.iterfind(f"{inside}/" + "/".join(f"{NAMESPACE}{part}" for part in path.split("/")))
    return found.text or ""


def components(root: Element) -> Iterator[tuple[str, Element]]:
    """Every component with its pass."""
    for part in root:
        for component in part:
            yield part.attrib["pass"], component


def plain(node: Element) -> str:
    assert node.tag.startswith(NAMESPACE), f"{node.tag} is not in Microsoft's namespace"
    return node.tag.removeprefix(NAMESPACE)


def test_passes_come_in_the_documented_order() -> None:
    root = rendered()
    assert plain(root) == "unattend"
    assert {plain(part) for part in root} == {"settings"}
    found = [part.attrib["pass"] for part in root]
    assert found == [known for known in PASSES if known in found]
    assert found == ["windowsPE", "specialize", "oobeSystem"]


def test_components_carry_the_attributes_that_setup_finds_them_by() -> None:
    for _, component in components(rendered()):
        assert plain(component) == "component"
        assert {name: value for name, value in component.attrib.items() if name != "name"} == {
            "processorArchitecture": "amd64",
            "publicKeyToken": "31bf3856ad364e35",
            "language": "neutral",
            "versionScope": "nonSxS",
        }


def test_components_are_documented_for_their_pass_and_their_settings_in_order() -> None:
    seen = set()
    for where, component in components(rendered(product_key=KEY)):
        name = component.attrib["name"]
        passes, known = REFERENCE[name]
        assert where in passes, f"{name} is not valid in {where}"
        found = [plain(setting) for setting in component]
        assert found == [setting for setting in known if setting in found], f"{name}: {found}"
        assert (where, name) not in seen, f"{name} stands twice in {where}"
        seen.add((where, name))
    assert {name for _, name in seen} == set(REFERENCE)


def test_every_setting_inside_is_documented() -> None:
    for _, component in components(rendered(product_key=KEY)):
        for setting in component:
            for node in setting.iter():
                children = [plain(child) for child in node]
                allowed = CHILDREN.get(plain(node), set())
                assert set(children) <= allowed, f"{plain(node)} has {children}"
                if not children and plain(node) not in ("Password",):
                    assert node.text, f"{plain(node)} is empty"


def test_list_items_are_added_and_keyed() -> None:
    items = {"PathAndCredentials", "Disk", "CreatePartition", "ModifyPartition", "MetaData", "RunSynchronousCommand"}
    items |= {"FirewallGroup", "SynchronousCommand", "LocalAccount"}
    root = rendered()
    for node in root.iter():
        assert (node.get(f"{WCM}action") == "add") == (plain(node) in items), plain(node)
    keys = [node.attrib[f"{WCM}keyValue"] for node in root.iter(f"{NAMESPACE}PathAndCredentials")]
    assert len(keys) == len(set(keys))


def test_the_disk_is_laid_out_for_uefi() -> None:
    disk = next(rendered().iter(f"{NAMESPACE}Disk"))
    made = [tuple(child.text for child in node) for node in disk.iter(f"{NAMESPACE}CreatePartition")]
    assert made == [("1", "EFI", "260"), ("2", "MSR", "16"), ("3", "Primary", "true")]
    assert texts(disk, "WillWipeDisk") == ["true"]
    assert texts(disk, "ModifyPartitions/ModifyPartition/PartitionID") == ["1", "3"]
    assert texts(disk, "ModifyPartitions/ModifyPartition/Format") == ["FAT32", "NTFS"]
    assert text(rendered(), "windowsPE/Microsoft-Windows-Setup/ImageInstall/OSImage/InstallTo/PartitionID") == "3"


def test_the_edition_is_named_by_its_number_on_the_disc() -> None:
    (value,) = rendered().iter(f"{NAMESPACE}MetaData")
    assert [child.text for child in value] == ["/IMAGE/INDEX", "3"]


def test_drivers_are_looked_for_in_every_drive() -> None:
    paths = [node.text or "" for node in rendered(drivers="2k22").iter(f"{NAMESPACE}Path")]
    drivers = {path for path in paths if path.endswith(r"\2k22\amd64")}
    assert drivers == {rf"{letter}:\{folder}\2k22\amd64" for letter in "CDEFGH" for folder in DRIVERS}


def test_remote_desktop_asks_for_a_log_in_before_it_shows_anything() -> None:
    root = rendered()
    manager = "specialize/Microsoft-Windows-TerminalServices-LocalSessionManager"
    stations = "specialize/Microsoft-Windows-TerminalServices-RDP-WinStationExtensions"
    assert text(root, f"{manager}/fDenyTSConnections") == "false"
    assert text(root, f"{stations}/UserAuthentication") == "1"
    assert (
        text(root, "specialize/Networking-MPSSVC-Svc/FirewallGroups/FirewallGroup/Group") == "@FirewallAPI.dll,-28752"
    )


def test_a_product_key_is_given_or_not_asked_for() -> None:
    setting = "windowsPE/Microsoft-Windows-Setup/UserData/ProductKey"
    assert text(rendered(product_key=KEY), f"{setting}/Key") == KEY
    # As answer files do that are known to install evaluations without a key: rgl's windows-vagrant.
    for key in (KEY, ""):
        assert text(rendered(product_key=key), f"{setting}/WillShowUI") == "OnError"
    assert not list(rendered().iter(f"{NAMESPACE}Key"))[1:], "only MetaData has a Key"


def test_commands_are_no_longer_than_setup_takes() -> None:
    # The reference: Path of RunSynchronousCommand 259 characters, CommandLine of SynchronousCommand 1024.
    root = rendered(title="x" * 100)
    assert all(len(node.text or "") <= 259 for node in root.iter(f"{NAMESPACE}Path"))
    assert all(len(node.text or "") <= 259 for node in root.iter(f"{NAMESPACE}Description"))
    assert all(len(node.text or "") <= 1024 for node in root.iter(f"{NAMESPACE}CommandLine"))
    orders = [
        node.text for node in root.iter(f"{NAMESPACE}RunSynchronousCommand") for node in node.iter(f"{NAMESPACE}Order")
    ]
    assert orders == [str(number + 1) for number in range(len(orders))]


def test_what_must_hold_before_windows_starts_is_set_before() -> None:
    commands = [node.text or "" for node in rendered().iter(f"{NAMESPACE}Path")]
    for name in ("PreventDeviceEncryption", "BypassNRO", "NoAutoUpdate", "RealTimeIsUniversal"):
        assert any(re.search(rf"^reg\.exe add HKLM\\\S+ /v {name} /t REG_DWORD /d 1 /f$", line) for line in commands), (
            name
        )
    assert text(rendered(), "windowsPE/Microsoft-Windows-Setup/DynamicUpdate/Enable") == "false"


def test_passwords_are_strong_new_each_time_and_nowhere_else() -> None:
    seen: set[str] = set()
    for _ in range(5):
        files = setup_answers.render(wishes(), TEMPLATES)
        root = ElementTree.fromstring(files[ANSWER].encode())
        accounts = "oobeSystem/Microsoft-Windows-Shell-Setup/UserAccounts"
        administrator = text(root, f"{accounts}/AdministratorPassword/Value")
        user = text(root, f"{accounts}/LocalAccounts/LocalAccount/Password/Value")
        assert text(root, "oobeSystem/Microsoft-Windows-Shell-Setup/AutoLogon/Password/Value") == administrator
        for password in (administrator, user):
            # Windows' complexity rule: three of upper case, lower case, digits, others; not the account's name.
            assert len(password) == 24
            assert re.search("[a-z]", password)
            assert re.search("[A-Z]", password)
            assert re.search("[0-9]", password)
            assert password not in seen
            seen.add(password)
            assert not any(password in content for path, content in files.items() if path != ANSWER)


def test_the_account_may_log_in_and_nothing_more() -> None:
    account = "oobeSystem/Microsoft-Windows-Shell-Setup/UserAccounts/LocalAccounts/LocalAccount"
    root = rendered(account="lab.user")
    assert text(root, f"{account}/Name") == "lab.user"
    assert text(root, f"{account}/Group") == "Users;Remote Desktop Users"


# What may stand in a title: all that can be printed, thus all that XML can say.
PRINTABLE = st.text(min_size=1, max_size=100).filter(str.isprintable)


@settings(max_examples=8)
@given(PRINTABLE)
def test_a_title_comes_through_as_it_is(title: str) -> None:
    root = rendered(title=title)
    first = "oobeSystem/Microsoft-Windows-Shell-Setup/FirstLogonCommands/SynchronousCommand"
    assert text(root, f"{first}/Description") == f"making an image of {title}"
    assert text(root, f"{first}/CommandLine").endswith("first-boot.ps1")


@pytest.mark.parametrize("title", ["<&\"'>", "]]><x/>", "{{ administrator_password }}", "&amp;"])
def test_a_title_is_no_markup_and_no_template(title: str) -> None:
    root = rendered(title=title)
    assert f"making an image of {title}" in [node.text for node in root.iter(f"{NAMESPACE}Description")]


def test_a_blank_that_nobody_fills_is_a_fault(tmp_path: Path) -> None:
    for path in TEMPLATES.iterdir():
        (tmp_path / path.name).write_text(path.read_text())
    template = tmp_path / "autounattend.xml.j2"
    template.write_text(template.read_text().replace("{{ timezone }}", "{{ time_zone }}"))
    with pytest.raises(jinja2.UndefinedError, match="time_zone"):
        setup_answers.render(wishes(), tmp_path)


def test_files_are_written_as_windows_reads_them() -> None:
    encoded = setup_answers.encoded(setup_answers.render(wishes(title="Gerät"), TEMPLATES))
    assert encoded[ANSWER].startswith(b'<?xml version="1.0" encoding="utf-8"?>\r\n')
    for path, content in encoded.items():
        assert b"\n" not in content.replace(b"\r\n", b""), path
        # Windows PowerShell 5.1 takes a script without the mark for the local code page.
        assert content.startswith(b"\xef\xbb\xbf") == (path != ANSWER), path


def test_time_zones_are_windows_own() -> None:
    known = setup_answers.timezones(TEMPLATES)
    assert {"UTC", "Mountain Standard Time", "W. Europe Standard Time", "Tokyo Standard Time"} <= set(known)
    assert known == sorted(set(known))
