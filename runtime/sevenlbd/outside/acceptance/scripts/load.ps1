# Every CPU busy for $seconds_of_load seconds.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$work = "`$end = (Get-Date).AddSeconds($seconds_of_load); while ((Get-Date) -lt `$end) { }"
$processors = (Get-CimInstance -ClassName Win32_ComputerSystem).NumberOfLogicalProcessors
$busy = for ($number = 0; $number -lt $processors; $number++) {
    Start-Process -FilePath 'powershell.exe' -ArgumentList '-NoProfile', '-Command', $work -WindowStyle Hidden -PassThru
}
$busy | ForEach-Object { $_.WaitForExit() }
'done=1'
