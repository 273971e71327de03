# Before a machine is frozen, by the guest agent: has the account logged on once, so that its profile is in the warm state.
# Standard input has lines `user=` and `password=` of the machine's own session. Ends with 75 when Windows has to start anew for
# it, after which it is run again.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    $session = ConvertFrom-Line ((Read-Text) -split "`r?`n")
    if (Test-FirstLogon) {
        Complete-FirstLogon
    } elseif (-not (Test-AccountProfile)) {
        Write-Step 'starting anew, for the first log-on of the account'
        Start-FirstLogon -Password $session['password']
        exit 75
    }
} catch {
    Write-Fault $_
    Stop-FirstLogon
    exit 1
}
