"""The scripts that run in Windows, as far as they can be tried without one.

A real grammar reads them, and what they call, note and undo fits together. That they do it, only Windows can show
(docs/untested.md).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import pytest
import tree_sitter
import tree_sitter_powershell
from hypothesis import given, settings
from hypothesis import strategies as st
from sevenlbd.outside.imaging import answers, build_windows
from test_windows_answers import TEMPLATES, wishes
from tree_sitter import Node

LANGUAGE = tree_sitter.Language(tree_sitter_powershell.language())
MODULE = "SevenLBD.psm1"
FIRST_BOOT = "first-boot.ps1"
ENTRIES = ["start.ps1", "drives.ps1", "session.ps1", "seal.ps1", "prepare.ps1", FIRST_BOOT]

# Cmdlets of Windows PowerShell 5.1 and of the modules that every Windows 10, 11 and Server 2016 to 2025 brings along.
KNOWN = {
    *(
        "Add-Content",
        "Add-LocalGroupMember",
        "ConvertFrom-Json",
        "ConvertTo-Json",
        "ConvertTo-SecureString",
        "Copy-Item",
    ),
    *(
        "Export-ModuleMember",
        "ForEach-Object",
        "Get-ChildItem",
        "Get-CimInstance",
        "Get-Content",
        "Get-Date",
        "Get-Item",
    ),
    *("Get-ItemProperty", "Get-LocalGroupMember", "Get-LocalUser", "Get-NetFirewallRule", "Get-ScheduledTask"),
    *("Get-ScheduledTaskInfo", "Get-Service", "Get-SmbMapping", "Import-Module", "Join-Path", "Move-Item", "New-Item"),
    *("New-ItemProperty", "New-LocalUser", "New-Object", "New-ScheduledTaskAction", "New-ScheduledTaskPrincipal"),
    *("New-ScheduledTaskSettingsSet", "New-ScheduledTaskTrigger", "New-SmbMapping", "Optimize-Volume", "Out-Null"),
    *("Register-ScheduledTask", "Remove-Item", "Remove-ItemProperty", "Remove-LocalGroupMember", "Remove-LocalUser"),
    *("Remove-SmbMapping", "Restart-Computer", "Restart-Service", "Set-Acl", "Set-LocalUser", "Set-NetFirewallRule"),
    *("Set-StrictMode", "Split-Path", "Start-Process", "Start-ScheduledTask", "Start-Sleep", "Stop-Computer"),
    *("Stop-ScheduledTask", "Test-Path", "Unregister-ScheduledTask", "Where-Object", "Write-Debug", "Write-Host"),
    "powercfg.exe",
}
# Of these, what changes the machine.
CHANGING = {
    *("Add-LocalGroupMember", "Copy-Item", "New-Item", "New-ItemProperty", "New-LocalUser", "powercfg.exe", "Set-Acl"),
    *("Set-LocalUser", "Set-NetFirewallRule", "Register-ScheduledTask", "Start-Process"),
}


def source(name: str) -> str:
    """A script as it reaches Windows."""
    if name == FIRST_BOOT:
        return answers.render(wishes(), TEMPLATES)[answers.FIRST_BOOT]
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


@pytest.mark.parametrize("name", [MODULE, *ENTRIES])
def test_a_powershell_grammar_reads_it(name: str) -> None:
    root = parsed(source(name))
    wrong = [(node.type, node.start_point) for node in nodes(root, "ERROR")]
    assert not root.has_error, wrong
    assert list(nodes(root, "command")), "nothing was recognised in it"


def test_the_grammar_would_find_a_mistake() -> None:
    text = source(MODULE)
    for broken in (text.replace("{", "", 1), text.replace("try {", "try", 1), text.replace("param(", "param", 1)):
        assert parsed(broken).has_error


@pytest.mark.parametrize("name", [MODULE, *ENTRIES])
def test_it_stays_within_windows_powershell(name: str) -> None:
    # PowerShell 7 has these, 5.1 has not. learn.microsoft.com, "Differences between Windows PowerShell 5.1 and 7.x".
    text = "\n".join(line for line in source(name).splitlines() if not line.lstrip().startswith("#"))
    assert not re.search(r"\?\?|\?\.|&&|\|\||-Parallel|ForEach-Object -AsJob|\bclean \{", text)


@pytest.mark.parametrize("name", [MODULE, *ENTRIES])
def test_it_calls_only_what_there_is(name: str) -> None:
    known = KNOWN | (set(FUNCTIONS) if name == MODULE else exported())
    assert called(parsed(source(name))) <= known


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
    helpers = {"Undo-Change", "Protect-Folder", "Install-Package", "New-Password"}
    in_sessions = {"Set-SessionPassword", "Save-Credential", "Clear-Logon", "Restart-Drive"}
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
        ("BitLocker", "PreventDeviceEncryption"): 1,
        # Sleep after, hibernate after: learn.microsoft.com, "Power Policy Settings".
        ("29f6c1db-86da-48c5-9fdb-f2b67b1f44da", "ACSettingIndex"): 0,
        ("9d7815a6-7ee4-497e-8888-515a05f02364", "ACSettingIndex"): 0,
    }
    found = values()
    assert {key: found.get(key) for key in wanted} == wanted


def test_no_secret_gets_into_a_line_that_others_see() -> None:
    for script in (MODULE, *ENTRIES):
        for node in nodes(parsed(source(script)), "command"):
            text = words(node)
            if text.startswith(("Write-", "Start-Process", "New-ScheduledTaskAction", "Add-Content", "&")):
                assert not re.search(r"\$\w*(password|session|secret)", text, re.IGNORECASE), text


def test_the_scripts_are_where_the_image_says() -> None:
    assert build_windows.HOOK[-1] == r"C:\ProgramData\7lbd\session.ps1"
    disc = answers.render(wishes(), TEMPLATES)
    lasting = re.findall(r"'([\w.-]+)'", re.findall(r"^\$LastingFiles = (.+)$", source(MODULE), re.MULTILINE)[0])
    once = re.findall(r"'([\w.-]+)'", re.findall(r"^\$InstallationFiles = (.+)$", source(MODULE), re.MULTILINE)[0])
    assert {f"7lbd/{name}" for name in lasting} <= set(disc)
    assert {f"7lbd/{name}" for name in (*lasting, *once)} >= set(disc) - {answers.ANSWER}
    assert {"start.ps1", "drives.ps1", "session.ps1"} <= set(lasting)


@settings(max_examples=30)
@given(st.text(max_size=60).filter(str.isprintable))
def test_a_literal_is_one_string_whatever_is_in_it(text: str) -> None:
    root = parsed(f"Write-Step {answers.literal(text)}")
    strings = list(nodes(root, "verbatim_string_characters"))
    assert not root.has_error
    assert len(strings) == 1
    assert words(strings[0]) == answers.literal(text)


@pytest.mark.parametrize("quote", ["'", "\u2018", "\u2019", "\u201a", "\u201b"])
def test_every_quote_that_powershell_knows_is_doubled(quote: str) -> None:
    assert (
        answers.literal(f"a{quote}; Remove-Item C:\\{quote}b") == f"'a{quote}{quote}; Remove-Item C:\\{quote}{quote}b'"
    )


def test_a_hostile_title_runs_nothing() -> None:
    text = answers.render(wishes(title="'; Stop-Computer; '$(calc) \u2019`"), TEMPLATES)[answers.FIRST_BOOT]
    assert called(parsed(text)) == called(parsed(source(FIRST_BOOT)))
