# How Windows itself is licensed (SoftwareLicensingProduct; the number is that of Windows among its products).
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$windows = "ApplicationID = '55c92734-d682-4d71-983e-d6ec3f16059f' AND PartialProductKey IS NOT NULL"
Get-CimInstance -ClassName SoftwareLicensingProduct -Filter $windows | ForEach-Object {
    "licence.name=$($_.Name)"
    "licence.status=$($_.LicenseStatus)"
    "licence.minutes=$($_.GracePeriodRemaining)"
}
