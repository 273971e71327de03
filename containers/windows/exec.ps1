# By the guest agent, for `7lbd exec`: runs the job that lies on the share `job`, and returns when it is over. Standard input has
# lines `user=`, `password=` and `shares=` of this session, and `job=`, the job's folder on that share.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    Invoke-Job -Session (ConvertFrom-Line ((Read-Text) -split "`r?`n"))
} catch {
    Write-Fault $_
    [Console]::Error.WriteLine($_.Exception.Message)
    exit 1
}
