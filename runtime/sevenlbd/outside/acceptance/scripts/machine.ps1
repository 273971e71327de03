# Devices, drivers, errors and services; Secure Boot, TPM, BitLocker and sleep.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

function Get-Answer {
    # What one question comes to, or why it could not be asked.
    param([string] $Name, [scriptblock] $Question)
    try {
        & $Question
        "$Name.asked=1"
    } catch {
        "$Name.error=$($_.Exception.Message)"
    }
}

$boot = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime

Get-Answer -Name 'device' -Question {
    # 0 works, 22 is switched off by somebody (MSDN, ConfigManagerErrorCode).
    Get-CimInstance -ClassName Win32_PnPEntity |
        Where-Object { $_.ConfigManagerErrorCode -notin 0, 22 } |
        ForEach-Object { "device=$($_.Name), $($_.PNPDeviceID), code $($_.ConfigManagerErrorCode)" }
}
Get-Answer -Name 'driver' -Question {
    Get-CimInstance -ClassName Win32_PnPSignedDriver |
        Where-Object { $_.DeviceName -and $_.DriverProviderName -match 'Red Hat|VirtIO|QEMU' } |
        ForEach-Object { "driver=$($_.DeviceName) $($_.DriverVersion)" }
}
Get-Answer -Name 'critical' -Question {
    Get-WinEvent -FilterHashtable @{ LogName = 'System'; Level = 1; StartTime = $boot } -ErrorAction SilentlyContinue |
        ForEach-Object { "critical=$($_.ProviderName), event $($_.Id)" }
}
Get-Answer -Name 'service' -Question {
    # 1077 has not been started since; what begins by a trigger, or has done its work, ends with 0.
    Get-CimInstance -ClassName Win32_Service -Filter "StartMode = 'Auto' AND State <> 'Running'" |
        Where-Object { $_.ExitCode -notin 0, 1077 } |
        ForEach-Object { "service=$($_.Name), error $($_.ExitCode)" }
}
Get-Answer -Name 'secure_boot' -Question {
    $state = Get-ItemProperty -LiteralPath 'HKLM:\SYSTEM\CurrentControlSet\Control\SecureBoot\State' -ErrorAction SilentlyContinue
    if ($state -and $state.UEFISecureBootEnabled -eq 1) { 'secure_boot=on' } else { 'secure_boot=off' }
}
Get-Answer -Name 'tpm' -Question {
    $tpm = Get-CimInstance -Namespace 'root/cimv2/Security/MicrosoftTpm' -ClassName Win32_Tpm -ErrorAction SilentlyContinue
    if ($tpm -and $tpm.IsEnabled_InitialValue) { 'tpm=on' } else { 'tpm=off' }
}
Get-Answer -Name 'bitlocker' -Question {
    # Win32_EncryptableVolume: ProtectionStatus 0 is off, ConversionStatus 0 is wholly decrypted.
    $volumes = @(Get-CimInstance -Namespace 'root/cimv2/Security/MicrosoftVolumeEncryption' -ClassName Win32_EncryptableVolume |
            Where-Object { $_.ProtectionStatus -ne 0 -or $_.ConversionStatus -ne 0 })
    if ($volumes.Count) { "bitlocker=on, of $($volumes.Count) volumes" } else { 'bitlocker=off' }
}
Get-Answer -Name 'power' -Question {
    # What it prints is in the guest's language; the last two numbers are the value on mains and on battery. /qh shows hidden
    # settings, too: those of sleep are hidden where the machine has no S3, as here.
    $asked = @{ 'standby' = @('SUB_SLEEP', 'STANDBYIDLE'); 'hibernate' = @('SUB_SLEEP', 'HIBERNATEIDLE'); 'disk' = @('SUB_DISK', 'DISKIDLE') }
    foreach ($name in $asked.Keys) {
        $printed = (& powercfg.exe /qh SCHEME_CURRENT $asked[$name][0] $asked[$name][1]) -join "`n"
        $values = @([regex]::Matches($printed, '0x([0-9a-fA-F]{8})') | ForEach-Object { $_.Groups[1].Value })
        if ($values.Count -ge 2) { "power.$name=$([Convert]::ToUInt32($values[-2], 16))" }
    }
}
