# Whether Setup and the packages came to their end, and what our own scripts have said since.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

function Get-Value {
    # A value of the registry; nothing where there is none.
    param([string] $Key, [string] $Value)
    $found = Get-ItemProperty -LiteralPath "HKLM:\$Key" -ErrorAction SilentlyContinue
    if ($found) { $found.PSObject.Properties | Where-Object { $_.Name -eq $Value } | ForEach-Object { $_.Value } }
}

"setup.state=$(Get-Value -Key 'SOFTWARE\Microsoft\Windows\CurrentVersion\Setup\State' -Value 'ImageState')"
"setup.running=$(Get-Value -Key 'SYSTEM\Setup' -Value 'SystemSetupInProgress')"

$servicing = 'SOFTWARE\Microsoft\Windows\CurrentVersion\Component Based Servicing\RebootPending'
$updates = 'SOFTWARE\Microsoft\Windows\CurrentVersion\WindowsUpdate\Auto Update\RebootRequired'
if (Test-Path -LiteralPath "HKLM:\$servicing") { 'restart=component based servicing' }
if (Test-Path -LiteralPath "HKLM:\$updates") { 'restart=Windows Update' }
'restart.asked=1'

# The log is in English whatever the guest speaks: our own words.
$log = 'C:\ProgramData\7lbd\log.txt'
if (Test-Path -LiteralPath $log) {
    Get-Content -LiteralPath $log -Encoding UTF8 -Tail 400 | Where-Object { $_ -like '7lbd: error:*' } | ForEach-Object { "trouble=$_" }
    'trouble.asked=1'
} else {
    'trouble.error=the image was not made by our scripts: C:\ProgramData\7lbd has no log'
}
