<#
.SYNOPSIS
Makes an existing Windows in a virtual machine an image for 7lbd, or takes that back.

.DESCRIPTION
Run it as administrator in the machine, from a folder with all files of containers/windows. It does what the unattended
installation does to a new Windows, can be run again at any time, and notes every change that it makes in
C:\ProgramData\7lbd\undo.json. -WhatIf shows the changes and makes none.

Drivers and the guest agent are installed when a virtio-win disc is in a drive; -Undo leaves them, as Windows may start
from them.

.PARAMETER Account
The account that sessions log in to; made when it does not exist.

.PARAMETER Undo
Takes back every change that was noted, the last one first.
#>
#Requires -Version 5.1
#Requires -RunAsAdministrator
[CmdletBinding(SupportsShouldProcess)]
param(
    [ValidatePattern('^[A-Za-z0-9][A-Za-z0-9._-]{0,19}$')]
    [string]$Account = 'user1',
    [switch]$Undo
)
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
Import-Module (Join-Path $PSScriptRoot 'SevenLBD.psm1') -Force

if ($Undo) {
    Undo-Contract -WhatIf:$WhatIfPreference
    return
}
Install-Driver -WhatIf:$WhatIfPreference
Install-Contract -Account $Account -WhatIf:$WhatIfPreference
if (-not $WhatIfPreference) {
    Write-Step 'prepared; now shut down fully: shutdown /s /t 0'
}
