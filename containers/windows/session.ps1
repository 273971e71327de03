# After a warm start, by the guest agent: the memory is that of the image, the session is new.
# Standard input has lines `user=` and `password=` of this session, and `shares=` perhaps. The agent itself has set the
# clock, and sets the account's password at the same time.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    $session = ConvertFrom-Line ((Read-Text) -split "`r?`n")
    Save-Credential -Session $session
    Restart-Drive
    Update-Certificate
} catch {
    Write-Fault $_
    exit 1
}
