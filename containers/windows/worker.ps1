# Started by join.ps1: says in C:\ProgramData\7lbd\worker.txt what the worker does, and shuts the machine down when it has left.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    Wait-Worker
} catch {
    Write-Fault $_
    exit 1
}
