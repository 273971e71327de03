# What an image must not hold.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$places = @(
    'C:\autounattend.xml', 'C:\unattend.xml', 'C:\Windows\Panther\unattend.xml', 'C:\Windows\Panther\Unattend\unattend.xml',
    # Of the Setup of 24H2 and later.
    'C:\Windows\Panther\unattend-original.xml',
    'C:\Windows\System32\Sysprep\unattend.xml', 'C:\Windows\System32\Sysprep\Panther\unattend.xml'
)
foreach ($place in $places) {
    if (Test-Path -LiteralPath $place) { "answer_file=$place" }
}
'answer_file.asked=1'
$logon = Get-ItemProperty -LiteralPath 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion\Winlogon'
$names = @($logon.PSObject.Properties | ForEach-Object { $_.Name })
if ($names -contains 'DefaultPassword') { 'password=Winlogon, DefaultPassword' }
if ($names -contains 'AutoAdminLogon' -and $logon.AutoAdminLogon -eq '1') { 'password=Winlogon, AutoAdminLogon' }
'password.asked=1'
# What is written after the logs are cleared, and at the shut-down that closes the image, is some dozens of events.
$boot = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime
foreach ($log in 'System', 'Application', 'Security') {
    $old = @(Get-WinEvent -FilterHashtable @{ LogName = $log; EndTime = $boot } -MaxEvents 500 -ErrorAction SilentlyContinue)
    if ($old.Count -ge 500) { "old_log=$log has hundreds of events of before this start" }
}
'old_log.asked=1'
