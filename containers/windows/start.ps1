# At every start, as SYSTEM: takes the session's password, then says that the desktop is ready.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    $session = Get-SessionValue
    if ($session.ContainsKey('password')) {
        Set-SessionPassword -Password $session['password']
        Save-Credential -Session $session
    } else {
        Write-Step 'no password in the SMBIOS strings: it stays as it is'
    }
    Wait-RemoteDesktop
    Send-Ready
} catch {
    Write-Fault $_
    exit 1
}
