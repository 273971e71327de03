# By the guest agent, with a text on standard input: shows it to whoever is logged on.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

Show-Notice (Read-Text)
