# The share $share: dialect and signing of its connection, and $script run from it as whoever is logged on.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$name = '7lbd accept'
$place = "\\169.254.100.2\$share"
'files.asked=1'
# Users, by its SID: the task runs in the session of the user who is logged on, and with her drives.
$principal = New-ScheduledTaskPrincipal -GroupId 'S-1-5-32-545' -RunLevel Limited
$words = "-NoProfile -NonInteractive -WindowStyle Hidden -ExecutionPolicy Bypass -File $place\$script"
$action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument $words
Register-ScheduledTask -TaskName $name -Action $action -Principal $principal -Force | Out-Null
try {
    Start-ScheduledTask -TaskName $name
    for ($waited = 0; $waited -lt 1500; $waited++) {
        Start-Sleep -Seconds 1
        if ((Get-ScheduledTask -TaskName $name).State -ne 'Running' -and $waited -gt 5) { break }
    }
} finally {
    Unregister-ScheduledTask -TaskName $name -Confirm:$false
}
foreach ($connection in Get-SmbConnection | Where-Object { $_.ShareName -eq $share }) {
    "dialect=$($connection.Dialect)"
    foreach ($property in $connection.PSObject.Properties) {
        if ($property.Name -eq 'Signed') { "signed=$(if ($property.Value) { 'yes' } else { 'no' })" }
    }
}
"signing.required=$((Get-SmbClientConfiguration).RequireSecuritySignature)"
