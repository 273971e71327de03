"""The scripts that run in Windows, as far as they can be tried without one.

A real grammar reads them, and what they call, note and undo fits together. That they do it, only Windows can show
(docs/untested.md).
"""

from __future__ import annotations

import fnmatch
import re
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest
import tree_sitter
import tree_sitter_powershell
from hypothesis import given, settings
from hypothesis import strategies as st
from sevenlbd.inside.vm import first_logon
from sevenlbd.outside.acceptance import exec_trial, guest_scripts
from sevenlbd.outside.imaging import build_windows, setup_answers
from test_setup_answers import TEMPLATES, wishes
from tree_sitter import Node

LANGUAGE = tree_sitter.Language(tree_sitter_powershell.language())
MODULE = "SevenLBD.psm1"
FIRST_BOOT = "first-boot.ps1"
PROBES = sorted((Path(guest_scripts.__file__).parent / "scripts").glob("*.ps1"))
ENTRIES = [
    "start.ps1",
    "drives.ps1",
    "session.ps1",
    "notice.ps1",
    "logon.ps1",
    "exec.ps1",
    "join.ps1",
    "worker.ps1",
    "finish.ps1",
    "prepare.ps1",
    FIRST_BOOT,
]
SCRIPTS = [MODULE, *ENTRIES, *(path.name for path in PROBES)]

# Each cmdlet with its parameters.
CMDLETS = {
    line.split()[0]: set(line.split()[1:])
    for line in (Path(__file__).parents[2] / "windows-commands.txt").read_text().splitlines()
    if not line.startswith("#")
}
PROGRAMS = {"powercfg.exe", "pnputil.exe", "msg.exe", "logoff.exe", "shutdown.exe", "condor_reconfig.exe"}
KNOWN = set(CMDLETS) | PROGRAMS
COMMON = {"ErrorAction", "WhatIf", "Confirm"}
"""Parameters that every cmdlet has: learn.microsoft.com, about_CommonParameters."""
DYNAMIC = {("Remove-Item", "DeleteKey"): "Cert:", ("Get-Content", "Raw"): "", ("Add-Content", "Encoding"): ""}
"""What only the provider of a path knows, and how such a path begins."""
EXCLUSIVE = {
    "Remove-Item": [{"Path", "LiteralPath"}],
    "New-LocalUser": [{"Password", "NoPassword"}, {"AccountExpires", "AccountNeverExpires"}],
    "Set-LocalUser": [{"Name", "InputObject", "SID"}, {"AccountExpires", "AccountNeverExpires"}],
    "Add-LocalGroupMember": [{"Group", "Name", "SID"}],
    "Remove-LocalGroupMember": [{"Group", "Name", "SID"}],
    "Get-LocalGroup": [{"Name", "SID"}],
    "Get-NetFirewallRule": [{"Name", "DisplayName", "Group", "DisplayGroup"}],
    "Set-NetFirewallRule": [{"Name", "DisplayName", "Group", "DisplayGroup", "InputObject"}],
    "New-ScheduledTaskTrigger": [{"AtStartup", "AtLogOn", "Once", "Daily", "Weekly"}],
    "New-ScheduledTaskPrincipal": [{"UserId", "GroupId"}],
    "Register-ScheduledTask": [{"Action", "InputObject", "Xml"}],
    "Start-Sleep": [{"Seconds", "Milliseconds"}],
    "Copy-Item": [{"Path", "LiteralPath"}],
    "Get-ChildItem": [{"Path", "LiteralPath"}],
}
"""Parameters of different sets: no call may have two of one line. learn.microsoft.com, the page of each cmdlet."""
VALUES = {
    ("New-ItemProperty", "PropertyType"): r"DWord|String|\$type|\$Change\.type",
    ("Set-LocalUser", "PasswordNeverExpires"): r"\$(true|false)",
    ("New-LocalUser", "PasswordNeverExpires"): None,
    ("New-LocalUser", "AccountNeverExpires"): None,
    ("Set-NetFirewallRule", "Enabled"): r"True|False|\$Change\.enabled",
    ("Set-NetFirewallRule", "Profile"): r"Any|\$Change\.profile",
    ("New-ScheduledTaskPrincipal", "LogonType"): r"ServiceAccount|Interactive",
    ("New-ScheduledTaskPrincipal", "RunLevel"): r"Highest|Limited",
    ("New-ScheduledTaskSettingsSet", "Priority"): r"\d",
    ("Start-Sleep", "Seconds"): r"\d+",
    ("Optimize-Volume", "ReTrim"): None,
}
"""What follows a parameter; None is a switch, behind which nothing stands."""
# Of these, what changes the machine.
CHANGING = {
    *("Add-LocalGroupMember", "Copy-Item", "New-Item", "New-ItemProperty", "New-LocalUser", "powercfg.exe", "Set-Acl"),
    *("Set-LocalUser", "Set-NetFirewallRule", "Register-ScheduledTask", "Start-Process", "pnputil.exe"),
}


def source(name: str) -> str:
    """A script as it reaches Windows."""
    if name == FIRST_BOOT:
        return setup_answers.render(wishes(), TEMPLATES)[setup_answers.FIRST_BOOT]
    if asked := [path for path in PROBES if path.name == name]:
        return asked[0].read_text()
    return (TEMPLATES / name).read_text()


@cache
def parsed(text: str) -> Node:
    return tree_sitter.Parser(LANGUAGE).parse(text.encode()).root_node


def nodes(root: Node, *kinds: str) -> Iterator[Node]:
    """All nodes of some kinds, in the order of the text."""
    if root.type in kinds:
        yield root
    for child in root.children:
        yield from nodes(child, *kinds)


def words(node: Node) -> str:
    return (node.text or b"").decode()


def functions(root: Node) -> dict[str, Node]:
    found = {}
    for node in nodes(root, "function_statement"):
        (name,) = [child for child in node.children if child.type == "function_name"]
        found[words(name)] = node
    return found


def called(root: Node) -> set[str]:
    """The names of all commands that stand in a piece of script."""
    return {words(node) for node in nodes(root, "command_name")}


FUNCTIONS = functions(parsed(source(MODULE)))


def exported() -> set[str]:
    (statement,) = re.findall(
        r"^\$public = ((?:.|\n)*?)\nExport-ModuleMember -Function \$public", source(MODULE), re.MULTILINE
    )
    return set(re.findall(r"'([A-Za-z-]+)'", statement))


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_powershell_grammar_reads_it(name: str) -> None:
    root = parsed(source(name))
    wrong = [(node.type, node.start_point) for node in nodes(root, "ERROR")]
    assert not root.has_error, wrong
    assert list(nodes(root, "command")), "nothing was recognised in it"


def test_the_grammar_would_find_a_mistake() -> None:
    text = source(MODULE)
    for broken in (text.replace("{", "", 1), text.replace("try {", "try", 1), text.replace("param(", "param", 1)):
        assert parsed(broken).has_error


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_stays_within_windows_powershell(name: str) -> None:
    # PowerShell 7 has these, 5.1 has not. learn.microsoft.com, "Differences between Windows PowerShell 5.1 and 7.x".
    text = "\n".join(line for line in source(name).splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(r"\?\?|\?\.|&&|\|\||-Parallel|ForEach-Object -AsJob|\bclean \{", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_it_calls_only_what_there_is(name: str) -> None:
    known = KNOWN | set(functions(parsed(source(name)))) | (set() if name == MODULE else exported())
    assert called(parsed(source(name))) <= known


def calls(name: str) -> Iterator[tuple[Node, str, list[tuple[str, str]]]]:
    """Each call of a cmdlet in a script: its node, the cmdlet, its parameters with what follows each."""
    for node in nodes(parsed(source(name)), "command"):
        (command,) = [words(child) for child in node.children if child.type == "command_name"] or [""]
        if command not in CMDLETS:
            continue
        found: list[tuple[str, str]] = []
        for part in (part for child in node.children if child.type == "command_elements" for part in child.children):
            if part.type == "command_parameter":
                flag, _, value = words(part)[1:].partition(":")
                found.append((flag, value))
            elif part.type != "command_argument_sep" and found and not found[-1][1]:
                found[-1] = (found[-1][0], words(part).strip())
        yield node, command, found


@pytest.mark.parametrize("name", SCRIPTS)
def test_every_parameter_is_one_of_its_cmdlet(name: str) -> None:
    for node, command, given_here in calls(name):
        unknown = {flag for flag, _ in given_here} - CMDLETS[command] - COMMON
        assert {(command, flag) for flag in unknown} <= set(DYNAMIC), words(node)


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_a_provider_adds_stands_beside_a_path_and_behind_no_pipe(name: str) -> None:
    # Behind a pipe the path is not known when parameters are bound: the file system's provider is asked, in vain.
    for node, command, given_here in calls(name):
        for flag in {flag for flag, _ in given_here if (command, flag) in DYNAMIC}:
            assert node.prev_sibling is None, words(node)
            path = dict(given_here).get("LiteralPath", "")
            assert path.strip('"').startswith(DYNAMIC[command, flag] or "$"), words(node)


@pytest.mark.parametrize("name", SCRIPTS)
def test_no_call_mixes_what_excludes_each_other(name: str) -> None:
    for node, command, given_here in calls(name):
        for apart in EXCLUSIVE.get(command, ()):
            assert len(apart & {flag for flag, _ in given_here}) <= 1, words(node)


@pytest.mark.parametrize("name", SCRIPTS)
def test_values_are_of_the_kind_that_is_wanted(name: str) -> None:
    for node, command, given_here in calls(name):
        for flag, value in given_here:
            kind = VALUES.get((command, flag), "")
            assert kind == "" or (not value if kind is None else re.fullmatch(kind, value)), words(node)


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (
            "Get-ChildItem Cert: | Remove-Item -DeleteKey",
            test_what_a_provider_adds_stands_beside_a_path_and_behind_no_pipe,
        ),
        ("Remove-Item -LiteralPath $x -DeleteKey", test_what_a_provider_adds_stands_beside_a_path_and_behind_no_pipe),
        ("Remove-Item -Pfad $x", test_every_parameter_is_one_of_its_cmdlet),
        ("Set-LocalUser -Name a -SID b", test_no_call_mixes_what_excludes_each_other),
        ("Set-LocalUser -Name a -PasswordNeverExpires", test_values_are_of_the_kind_that_is_wanted),
        ("New-LocalUser -Name a -PasswordNeverExpires $true", test_values_are_of_the_kind_that_is_wanted),
    ],
)
def test_a_mistake_in_a_call_is_found(
    broken: str, test: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[__name__], "source", lambda _name: broken)
    with pytest.raises(AssertionError):
        test("a script")


def test_every_function_is_used_and_every_exported_one_exists() -> None:
    assert exported() <= set(FUNCTIONS)
    from_outside = {name for script in ENTRIES for name in called(parsed(source(script)))}
    assert exported() <= from_outside, "exported for nobody"
    used = from_outside | called(parsed(source(MODULE)))
    assert set(FUNCTIONS) <= used


def test_parameters_are_given_as_they_are_declared() -> None:
    for script in (MODULE, *ENTRIES):
        for node in nodes(parsed(source(script)), "command"):
            (name,) = [words(child) for child in node.children if child.type == "command_name"] or [""]
            if name not in FUNCTIONS:
                continue
            declared = set(re.findall(r"\$(\w+)", words(next(nodes(FUNCTIONS[name], "param_block"), node))))
            given_here = {
                words(part).lstrip("-").partition(":")[0]
                for element in node.children
                if element.type == "command_elements"
                for part in element.children
                if part.type == "command_parameter"
            }
            assert given_here <= declared | {"WhatIf"}, f"{script}: {words(node)}"


def test_whatif_changes_nothing() -> None:
    # Called by guarded functions only, or not when an image is prepared.
    helpers = {"Undo-Change", "Protect-Folder", "Install-Package", "Install-DriverFolder", "New-Password"}
    in_sessions = {"Set-SessionPassword", "Save-Credential", "Clear-Logon", "Start-FirstLogon", "Restart-Drive"}
    in_sessions |= {"Save-Pool", "Start-Worker"}
    for name, body in FUNCTIONS.items():
        if name in helpers | in_sessions or not CHANGING & called(body):
            continue
        assert "SupportsShouldProcess" in words(body), name
        assert "$PSCmdlet.ShouldProcess(" in words(body), name
        first = min(node.start_byte for node in nodes(body, "command_name") if words(node) in CHANGING)
        assert words(body).encode().index(b"$PSCmdlet.ShouldProcess(") + body.start_byte < first, name
    for name in helpers - {"New-Password"}:
        callers = [caller for caller, body in FUNCTIONS.items() if name in called(body)]
        assert callers
        assert all("$PSCmdlet.ShouldProcess(" in words(FUNCTIONS[caller]) for caller in callers), name


def test_every_change_is_noted_before_it_is_made_and_can_be_undone() -> None:
    noted = set(re.findall(r"@\{ kind = '(\w+)'", source(MODULE)))
    undone = set(re.findall(r"^        '(\w+)' \{", words(FUNCTIONS["Undo-Change"]), re.MULTILINE))
    assert noted == undone
    assert len(noted) > 5
    for name, body in FUNCTIONS.items():
        if "Add-Change" not in called(body) or name == "Add-Change":
            continue
        text = words(body)
        change = re.search(r"^ +(& powercfg|New-LocalUser|New-ItemProperty|Set-LocalUser|Add-LocalGroup|Set-NetFirewall"
                           r"|Register-ScheduledTask)", text, re.MULTILINE)  # fmt: skip
        assert change, name
        assert text.index("Add-Change") < change.start(), name


def values() -> dict[tuple[str, str], int]:
    """The registry values that an image gets, as the module lists them."""
    found = re.findall(r"^    , @\([\"'](.+)[\"'], '(\w+)', (\d+)\)", source(MODULE), re.MULTILINE)
    return {(path.rsplit("\\", 1)[-1], name): int(value) for path, name, value in found}


def test_policies_are_those_of_the_contract() -> None:
    wanted = {
        ("Terminal Server", "fDenyTSConnections"): 0,
        ("RDP-Tcp", "UserAuthentication"): 1,
        ("Terminal Services", "ColorDepth"): 5,
        ("Terminal Services", "fEnableVirtualizedGraphics"): 1,
        ("Power", "HiberbootEnabled"): 0,
        ("AU", "NoAutoUpdate"): 1,
        ("Terminal Services", "SelectTransport"): 1,
        ("Terminal Services", "SelectNetworkDetect"): 3,
        ("TimeZoneInformation", "RealTimeIsUniversal"): 1,
        ("System", "ShutdownWithoutLogon"): 1,
        ("7648efa3-dd9c-4e3e-b566-50f929386280", "ACSettingIndex"): 3,  # power button: shut down
        ("CloudContent", "DisableWindowsConsumerFeatures"): 1,
        ("Edge", "HideFirstRunExperience"): 1,
        ("OneDrive", "DisableFileSyncNGSC"): 1,
        ("BitLocker", "PreventDeviceEncryption"): 1,
        # Sleep after, hibernate after: learn.microsoft.com, "Power Policy Settings".
        ("29f6c1db-86da-48c5-9fdb-f2b67b1f44da", "ACSettingIndex"): 0,
        ("9d7815a6-7ee4-497e-8888-515a05f02364", "ACSettingIndex"): 0,
    }
    found = values()
    assert {key: found.get(key) for key in wanted} == wanted


def test_the_host_counts_as_the_local_intranet() -> None:
    # learn.microsoft.com, "Internet Explorer security zones registry entries for advanced users": a server, with its
    # enhanced security configuration, looks at EscRanges instead. inetres.admx, IZ_Zonemaps: which value says that the
    # list is in force.
    settings = "$Policies\\Windows\\CurrentVersion\\Internet Settings"
    assert f'$InternetSettings = "{settings}"' in source(MODULE)
    assert ", @($InternetSettings, 'ListBox_Support_ZoneMapKey', 1)" in source(MODULE)
    assert """, @("$InternetSettings\\ZoneMapKey", $HostAddress, '1')""" in source(MODULE)
    for ranges in ("Ranges", "EscRanges"):
        place = f'"$InternetSettings\\ZoneMap\\{ranges}\\Range169"'
        assert f", @({place}, ':Range', $HostAddress)" in source(MODULE), ranges
        assert f", @({place}, 'file', 1)" in source(MODULE), ranges


def test_an_account_logs_on_once_before_the_image_is_closed() -> None:
    order = ["Wait-Contract", "Test-FirstLogon", "Start-FirstLogon", "Complete-FirstLogon", "Clear-Installation"]
    assert [
        words(node) for node in nodes(parsed(source("finish.ps1")), "command_name") if words(node) in order
    ] == order
    assert "Stop-AutomaticLogon" in called(FUNCTIONS["Complete-FirstLogon"])
    assert "Stop-AutomaticLogon" in called(parsed(source(FIRST_BOOT)))


def test_an_account_without_a_profile_logs_on_once_before_it_is_frozen() -> None:
    text = source("logon.ps1")
    order = ["Test-FirstLogon", "Complete-FirstLogon", "Test-AccountProfile", "Start-FirstLogon", "Stop-FirstLogon"]
    assert [words(node) for node in nodes(parsed(text), "command_name") if words(node) in order] == order
    assert f"exit {first_logon._START_ANEW}" in text
    assert build_windows.LOGON[-1] == r"C:\ProgramData\7lbd\logon.ps1"
    assert {"Stop-AutomaticLogon"} <= called(FUNCTIONS["Stop-FirstLogon"]), "no password stays in what is frozen"


def test_an_automatic_log_on_comes_also_for_a_session_that_the_screen_gets_later() -> None:
    # Windows looks at AutoAdminLogon once after each start; for later sessions, as that of `exec --desktop`, it must be
    # forced. learn.microsoft.com, "Turn on automatic logon in Windows".
    assert "ForceAutoLogon = '1'" in words(FUNCTIONS["Set-AutomaticLogon"])
    assert "Set-AutomaticLogon" in called(FUNCTIONS["Start-Desktop"])


def test_nothing_of_an_automatic_log_on_stays() -> None:
    given_there = set(re.findall(r"(\w+) = ", words(FUNCTIONS["Set-AutomaticLogon"]).split("@{")[1].split("}")[0]))
    taken_away = set(re.findall(r"'(\w+)'", words(FUNCTIONS["Stop-AutomaticLogon"])))
    assert {"AutoAdminLogon", "DefaultPassword"} < given_there <= taken_away


def test_keys_of_a_password_that_is_over_do_not_stay_in_the_profile() -> None:
    # Each session has another password, set by SYSTEM: what was locked by the last one never opens again.
    body = words(FUNCTIONS["Complete-FirstLogon"])
    assert body.index("logoff.exe") < body.index("Clear-AccountKey") < body.index("Remove-Item")
    assert {"'Protect'", "'Credentials'", "'Vault'"} <= set(re.findall(r"'\w+'", words(FUNCTIONS["Clear-AccountKey"])))


def test_a_session_after_one_with_another_password_does_not_get_its_keys() -> None:
    # As of an image that was maintained. A guest that starts anew within its session keeps them, and so does a user who
    # is logged on in a desktop that goes on.
    assert words(FUNCTIONS["Save-Credential"]).index("Clear-OldKey") < words(FUNCTIONS["Save-Credential"]).index(
        "$new ="
    )
    body = words(FUNCTIONS["Clear-OldKey"])
    assert "if ($last -cne $Password -and -not (Get-Desktop)) { Clear-AccountKey }" in body
    assert re.search(r"if \(-not \(Test-Path -LiteralPath \$CredentialFile\)\) \{ return \}", body)
    assert "catch_clause" in {node.type for node in nodes(FUNCTIONS["Clear-OldKey"], "catch_clause")}, "a start goes on"


def test_an_account_without_a_profile_has_no_keys_to_clear() -> None:
    # Of nothing there is no property, in the strict mode that the scripts run in.
    assert "Win32_UserProfile" in words(FUNCTIONS["Clear-AccountKey"])
    assert ").LocalPath" not in words(FUNCTIONS["Clear-AccountKey"])


def test_a_server_without_explorer_has_a_desktop() -> None:
    assert "InstallationType -eq 'Server Core'" in words(FUNCTIONS["Get-Desktop"])
    others = [name for name, body in FUNCTIONS.items() if name != "Get-Desktop" and "explorer.exe" in words(body)]
    assert not others, "by Get-Desktop, which knows of Server Core"


def test_a_server_without_explorer_is_not_said_to_give_commands_no_desktop() -> None:
    asked = exec_trial._ON_DESKTOP[True][-1]
    assert not parsed(asked).has_error
    assert "Get-Process -Name explorer -ErrorAction SilentlyContinue" in asked
    assert "$mine -eq 0 -or ($shells.Count -and $mine -notin $shells)" in asked


def test_the_service_that_makes_certificates_makes_the_new_one() -> None:
    body = words(FUNCTIONS["Clear-Certificate"])
    assert body.index("Remove-Certificate") < body.index("-Name SessionEnv") < body.index("-Name TermService")


def test_a_job_is_on_no_desktop_of_systems() -> None:
    # Null is the caller's own window station, which another account may not open: 0xC0000142. An empty name is one of
    # its own.
    code = (TEMPLATES / "RunJob.cs").read_text()
    assert re.findall(r"start\.Desktop = (.+);", code) == [r'desktop ? "winsta0\\default" : ""']


def test_a_certificate_that_was_frozen_is_renewed_before_it_lapses() -> None:
    assert "Update-Certificate" in called(parsed(source("session.ps1")))
    assert "$_.NotAfter -lt $soon" in words(FUNCTIONS["Update-Certificate"])
    for name in ("Reset-Certificate", "Update-Certificate"):
        assert "Clear-Certificate" in called(FUNCTIONS[name])


@pytest.mark.parametrize("name", SCRIPTS)
def test_what_was_written_in_utf_8_is_read_so(name: str) -> None:
    """Windows PowerShell reads a file without a byte order mark in the code page of the machine."""
    for node in nodes(parsed(source(name)), "command"):
        if "Get-Content" in called(node):
            assert "-Encoding UTF8" in words(node), words(node)


def test_a_group_with_a_member_that_is_gone_can_be_looked_at() -> None:
    """PowerShell, issue 2996: Get-LocalGroupMember fails over it."""
    assert not [name for name in SCRIPTS if "Get-LocalGroupMember" in called(parsed(source(name)))]


def test_what_is_put_back_is_what_stood_there() -> None:
    assert "DoNotExpandEnvironmentNames" in words(FUNCTIONS["Set-Value"])


def test_one_package_that_fails_does_not_end_all() -> None:
    text = words(FUNCTIONS["Install-Driver"])
    assert re.search(r"try \{ Install-Package \(Join-Path \$root \$drivers\) \} catch", text)
    assert re.search(r"\{ Install-Package \$path \}\n\}$", text), "the agent has no other way"
    assert re.search(r"try \{ Optimize-Volume .* \} catch", source(MODULE))


@pytest.mark.parametrize("name", [name for name in ENTRIES if name not in ("prepare.ps1", "notice.ps1")])
def test_a_script_that_nobody_watches_tells_what_went_wrong(name: str) -> None:
    """Those of whom somebody sees the standard error need not: prepare.ps1 is run by hand, notice.ps1 by a session."""
    (caught,) = nodes(parsed(source(name)), "catch_clause")
    assert "Write-Fault" in called(caught), name


def test_a_home_edition_is_refused_before_anything_is_changed() -> None:
    assert words(FUNCTIONS["Install-Contract"]).index("Assert-Edition") < words(FUNCTIONS["Install-Contract"]).index(
        "Install-File"
    )
    assert "$edition -like 'Core*'" in words(FUNCTIONS["Assert-Edition"])


def test_an_error_whose_place_is_not_known_is_told_all_the_same() -> None:
    # Split-Path binds no empty name: what went wrong while an error was being told would be all, and go nowhere.
    body = words(FUNCTIONS["Write-Fault"])
    assert body.index("if ($at -and $at.ScriptName)") < body.index("(Split-Path")


def test_a_connection_without_a_letter_keeps_no_drive_from_being_mapped() -> None:
    # Such as a share that was opened by its path: RemoveNetworkDrive wants its path then, and fails with an empty name.
    body = words(FUNCTIONS["Connect-Drive"])
    assert "if ($mapping.LocalPath) { $mapping.LocalPath } else { $mapping.RemotePath }" in body
    assert re.search(r"try \{ \$network\.RemoveNetworkDrive\(\$name", body)


def test_a_key_that_we_made_goes_with_its_last_value() -> None:
    # That NewNetworkWindowOff is there is what counts, whatever is in it.
    assert "made = -not $key" in words(FUNCTIONS["Set-Value"])
    assert "Remove-EmptyKey" in called(FUNCTIONS["Undo-Change"])
    assert "-not $key.ValueCount -and -not $key.SubKeyCount" in words(FUNCTIONS["Remove-EmptyKey"])


def test_what_an_acceptance_looks_for_is_taken_away() -> None:
    """The answers' copies of Windows' own Setup."""
    looked_for = set(re.findall(r"'C:\\Windows\\(Panther[^']*)'", source("hygiene.ps1")))
    assert {r"Panther\unattend.xml", r"Panther\unattend-original.xml"} <= looked_for
    taken = [
        pattern.replace("$env:SystemRoot\\", "")
        for pattern in re.findall(r'"([^"]+)"', words(FUNCTIONS["Clear-Installation"]))
    ]
    assert [place for place in looked_for if not any(fnmatch.fnmatch(place, pattern) for pattern in taken)] == []


def test_settings_of_sleep_are_asked_for_also_where_windows_hides_them() -> None:
    assert re.search(r"powercfg\.exe /qh SCHEME_CURRENT", source("machine.ps1"))


def test_no_share_is_no_drive() -> None:
    assert "-split ',' | Where-Object { $_ }" in words(FUNCTIONS["Connect-Drive"])


def test_text_for_the_guest_is_utf_8_whatever_its_code_page() -> None:
    assert "UTF8Encoding" in words(FUNCTIONS["Read-Text"])
    for script in ("session.ps1", "notice.ps1", "logon.ps1", "exec.ps1", "join.ps1"):
        assert "Read-Text" in called(parsed(source(script)))
        assert "[Console]::In" not in source(script)


def test_no_secret_gets_into_a_line_that_others_see() -> None:
    for script in (MODULE, *ENTRIES):
        for node in nodes(parsed(source(script)), "command"):
            text = words(node)
            if text.startswith(("Write-", "Start-Process", "New-ScheduledTaskAction", "Add-Content", "&")):
                assert not re.search(r"\$\w*(password|session|secret)", text, re.IGNORECASE), text


def test_the_scripts_are_where_the_image_says() -> None:
    assert build_windows.HOOK[-1] == r"C:\ProgramData\7lbd\session.ps1"
    disc = setup_answers.render(wishes(), TEMPLATES)
    lasting = re.findall(r"'([\w.-]+)'", re.findall(r"^\$LastingFiles = (.+)$", source(MODULE), re.MULTILINE)[0])
    once = re.findall(r"'([\w.-]+)'", re.findall(r"^\$InstallationFiles = (.+)$", source(MODULE), re.MULTILINE)[0])
    assert {f"7lbd/{name}" for name in lasting} <= set(disc)
    assert {f"7lbd/{name}" for name in (*lasting, *once)} >= set(disc) - {setup_answers.ANSWER}
    assert {"start.ps1", "drives.ps1", "session.ps1"} <= set(lasting)


@settings(max_examples=30)
@given(st.text(max_size=60).filter(str.isprintable))
def test_a_literal_is_one_string_whatever_is_in_it(text: str) -> None:
    root = parsed(f"Write-Step {setup_answers.literal(text)}")
    strings = list(nodes(root, "verbatim_string_characters"))
    assert not root.has_error
    assert len(strings) == 1
    assert words(strings[0]) == setup_answers.literal(text)


@pytest.mark.parametrize("quote", ["'", "\u2018", "\u2019", "\u201a", "\u201b"])
def test_every_quote_that_powershell_knows_is_doubled(quote: str) -> None:
    assert (
        setup_answers.literal(f"a{quote}; Remove-Item C:\\{quote}b")
        == f"'a{quote}{quote}; Remove-Item C:\\{quote}{quote}b'"
    )


def test_a_hostile_title_runs_nothing() -> None:
    text = setup_answers.render(wishes(title="'; Stop-Computer; '$(calc) \u2019`"), TEMPLATES)[setup_answers.FIRST_BOOT]
    assert called(parsed(text)) == called(parsed(source(FIRST_BOOT)))
