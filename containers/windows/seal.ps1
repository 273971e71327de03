# Once, at the start after first-boot.ps1, as SYSTEM: when the start-up task has done its work as in a session, removes
# what belongs to the installation only, and shuts down. What is on the disk then is the image.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

try {
    Wait-Contract
    # Whoever installs wants to see RDP and the agent answer before it ends.
    Start-Sleep -Seconds 60
    Clear-Installation
    Write-Step 'sealed; shutting down'
    Stop-Computer -Force
} catch {
    Write-Fault $_
    exit 1
}
