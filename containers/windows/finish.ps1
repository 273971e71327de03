# At the two starts after first-boot.ps1, as SYSTEM, when the start-up task has done its work as in a session: first has the
# account log on once, then removes what belongs to the installation only, and shuts down. What is on the disk is the image.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    Wait-Contract
    if (-not (Test-FirstLogon)) {
        Write-Step 'starting anew, for the first log-on of the account'
        Start-FirstLogon -Password (Get-SessionValue)['password']
        Restart-Computer -Force
        return
    }
    Complete-FirstLogon
    # Whoever installs wants to see RDP and the agent answer before it ends.
    Start-Sleep -Seconds 60
    Clear-Installation
    Write-Step 'sealed; shutting down'
    Stop-Computer -Force
} catch {
    Write-Fault $_
    exit 1
}
