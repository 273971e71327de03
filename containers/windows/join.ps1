# By the guest agent, for `7lbd run --join`: this machine joins the pool whose record comes on standard input, NAME=VALUE a
# line. HTCondor is installed, its service set to start on demand: docs/worker.md.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    Start-Worker -Record (ConvertFrom-Line ((Read-Text) -split "`r?`n"))
} catch {
    Write-Fault $_
    [Console]::Error.WriteLine($_.Exception.Message)
    exit 1
}
