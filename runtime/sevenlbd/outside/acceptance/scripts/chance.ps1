# What differs between two guests, and what must not be over.
$bytes = New-Object -TypeName byte[] -ArgumentList 16
$source = [Security.Cryptography.RandomNumberGenerator]::Create()
$source.GetBytes($bytes)
"random=$([BitConverter]::ToString($bytes))"
$system = Get-CimInstance -ClassName Win32_OperatingSystem
"boot=$($system.LastBootUpTime.Ticks)"
$address = Get-NetIPAddress -IPAddress '169.254.100.15' -ErrorAction SilentlyContinue
if ($address) {
    if ($address.ValidLifetime.TotalDays -lt 10000) { "lease=$([int]$address.ValidLifetime.TotalSeconds)" } else { 'lease.end=never' }
}
