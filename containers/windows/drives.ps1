# At the user's log-on, as the user: maps the session's shares.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    Connect-Drive
} catch {
    Write-Fault $_
    exit 1
}
