# What time it is, in seconds since the epoch.
$seconds = ((Get-Date).ToUniversalTime() - [DateTime]::new(1970, 1, 1)).TotalSeconds
"seconds=$($seconds.ToString('F3', [Globalization.CultureInfo]::InvariantCulture))"
