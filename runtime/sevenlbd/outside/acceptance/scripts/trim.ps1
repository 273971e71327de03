# Writes $size MiB that no compression makes smaller ($phase fill), or removes them and gives their room back (free).
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$file = Join-Path $env:SystemRoot 'Temp\accept-trim.bin'
if ($phase -eq 'fill') {
    $source = [Security.Cryptography.RandomNumberGenerator]::Create()
    $piece = New-Object -TypeName byte[] -ArgumentList 1048576
    $stream = [IO.File]::Create($file)
    for ($number = 0; $number -lt [int]$size; $number++) {
        $source.GetBytes($piece)
        $stream.Write($piece, 0, $piece.Length)
    }
    $stream.Flush($true)
    $stream.Dispose()
} else {
    Remove-Item -LiteralPath $file -Force
    Optimize-Volume -DriveLetter $env:SystemDrive.Substring(0, 1) -ReTrim
}
"trim.done=$phase"
