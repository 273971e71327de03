# As the user who is logged on: the share $share as Explorer has it; $down is read and $up written, beside $folder and
# $program. What is found goes to the share: this runs where nobody reads what is printed.
$place = "\\169.254.100.2\$share"
$told = "$place\accept-facts.txt"
$copy = Join-Path $env:TEMP 'accept-copy.bin'
$lines = & {
    'files.user=1'
    foreach ($mapping in Get-SmbMapping | Where-Object { $_.RemotePath -eq $place }) {
        "drive=$($mapping.LocalPath)"
        $shell = New-Object -ComObject Shell.Application
        # 17 is ssfDRIVES, what Explorer shows as the computer.
        foreach ($item in $shell.NameSpace(17).Items()) {
            if ($item.Path -like "$($mapping.LocalPath)*") { 'shell=yes' }
        }
    }
    "zone=$([Security.Policy.Zone]::CreateFromUrl("file:$place/$down").SecurityZone)"
    $watch = [Diagnostics.Stopwatch]::StartNew()
    Copy-Item -LiteralPath "$place\$down" -Destination $copy -Force
    "read.milliseconds=$($watch.ElapsedMilliseconds)"
    "read.digest=$((Get-FileHash -LiteralPath $copy -Algorithm SHA256).Hash.ToLower())"
    $watch.Restart()
    Copy-Item -LiteralPath $copy -Destination "$place\$up" -Force
    "write.milliseconds=$($watch.ElapsedMilliseconds)"
    Remove-Item -LiteralPath $copy -Force
    New-Item -ItemType Directory -Path "$place\$folder" -Force | Out-Null
    # By the account's own key (DPAPI), as browsers and mail programs keep their passwords.
    try {
        $kept = ConvertTo-SecureString -String 'kept' -AsPlainText -Force | ConvertFrom-SecureString -ErrorAction Stop
        ConvertTo-SecureString -String $kept -ErrorAction Stop | Out-Null
        'secret=kept'
    } catch { "secret=$($_.Exception.Message)" }
    # A program that nobody has signed, and that was never seen before.
    $source = 'public static class Accept { public static int Main() { return 7; } }'
    Add-Type -TypeDefinition $source -OutputAssembly "$place\$program" -OutputType ConsoleApplication
    $running = Start-Process -FilePath "$place\$program" -PassThru -WindowStyle Hidden
    $handle = $running.Handle # without it the exit code is not kept
    if ($running.WaitForExit(30000) -and $running.ExitCode -eq 7) { 'program=started' } else { 'program=refused' }
}
[IO.File]::WriteAllLines($told, [string[]]$lines)
