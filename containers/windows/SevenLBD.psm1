# What 7lbd asks of a Windows image, each thing in one place. The scripts beside this one only call it:
# first-boot.ps1 and finish.ps1 during an unattended installation, prepare.ps1 in an existing Windows, and in every session
# start.ps1 (as SYSTEM), drives.ps1 (as the user), and by the guest agent session.ps1 (after a warm start), notice.ps1 (with a
# text for whoever is logged on), logon.ps1 (before a machine is frozen) exec.ps1 (a command as a job, by RunJob.cs) and
# join.ps1 (this machine becomes a worker of a pool, watched by worker.ps1).
#
# For Windows PowerShell 5.1, which every Windows 10, 11 and Server 2016 to 2025 has. Secrets are never written to the log,
# to the serial port or to a command line. Accounts and groups of Windows' own are named by SID: their names are translated.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'

$Folder = Join-Path $env:ProgramData '7lbd'
$LogFile = Join-Path $Folder 'log.txt'
$SettingsFile = Join-Path $Folder 'settings.json'
$CredentialFile = Join-Path $Folder 'credentials.json'
$UndoFile = Join-Path $Folder 'undo.json'
$JobLibrary = Join-Path $Folder 'RunJob.dll'
$FirstLogonFile = Join-Path $Folder 'first-logon'
$PoolFolder = Join-Path $Folder 'pool'
$TokenFolder = Join-Path $PoolFolder 'tokens'
$PoolFile = Join-Path $PoolFolder 'condor_config'
$WorkerFile = Join-Path $Folder 'worker.txt'
$LastingFiles = 'SevenLBD.psm1', 'start.ps1', 'drives.ps1', 'session.ps1', 'notice.ps1', 'logon.ps1', 'exec.ps1', 'RunJob.cs', 'join.ps1', 'worker.ps1'
$InstallationFiles = 'first-boot.ps1', 'finish.ps1', 'prepare.ps1'

$HostAddress = '169.254.100.2'
$ReadyPort = 54321
$StartTask, $DrivesTask, $SealTask = '7lbd start', '7lbd drives', '7lbd seal'

# Security identifiers: learn.microsoft.com, "Well-known SIDs".
$System, $Administrators, $Users, $RemoteDesktopUsers = 'S-1-5-18', 'S-1-5-32-544', 'S-1-5-32-545', 'S-1-5-32-555'
$RemoteDesktopRules = '@FirewallAPI.dll,-28752'

$Machine = 'HKLM:\SYSTEM\CurrentControlSet'
$Policies = 'HKLM:\SOFTWARE\Policies\Microsoft'
$PowerSettings = "$Policies\Power\PowerSettings"
$SystemPolicies = 'HKLM:\SOFTWARE\Microsoft\Windows\CurrentVersion\Policies'
$InternetSettings = "$Policies\Windows\CurrentVersion\Internet Settings"
$CurrentVersion = 'HKLM:\SOFTWARE\Microsoft\Windows NT\CurrentVersion'
$Winlogon = "$CurrentVersion\Winlogon"
# Of the driver disc, by the build that a server's folder begins with: the newest first.
$ServerDrivers = @(26100, '2k25'), @(20348, '2k22'), @(17763, '2k19'), @(0, '2k16')
# Path, name, value: a number is REG_DWORD, a text REG_SZ.
$Values = @(
    # Remote Desktop, with network-level authentication over TLS.
    , @("$Machine\Control\Terminal Server", 'fDenyTSConnections', 0)
    , @("$Machine\Control\Terminal Server\WinStations\RDP-Tcp", 'UserAuthentication', 1)
    , @("$Machine\Control\Terminal Server\WinStations\RDP-Tcp", 'SecurityLayer', 2)
    # RemoteFX, which the client in the browser asks for.
    , @("$Policies\Windows NT\Terminal Services", 'ColorDepth', 5)
    , @("$Policies\Windows NT\Terminal Services", 'fEnableVirtualizedGraphics', 1)
    # No guess about the line and no UDP: both have frozen log-ons of Windows 11 24H2 and Server 2025, and all that there is
    # goes through one TCP connection. TerminalServer.admx: TS_SELECT_TRANSPORT (TCP only), TS_SELECT_NETWORK_DETECT (off).
    , @("$Policies\Windows NT\Terminal Services", 'SelectTransport', 1)
    , @("$Policies\Windows NT\Terminal Services", 'SelectNetworkDetect', 3)
    # The machine's clock is UTC, whatever time zone its node has.
    , @("$Machine\Control\TimeZoneInformation", 'RealTimeIsUniversal', 1)
    # A machine that sleeps looks dead; fast start-up would freeze one session's kernel for the next.
    , @("$PowerSettings\29f6c1db-86da-48c5-9fdb-f2b67b1f44da", 'ACSettingIndex', 0) # sleep after
    , @("$PowerSettings\9d7815a6-7ee4-497e-8888-515a05f02364", 'ACSettingIndex', 0) # hibernate after
    , @("$PowerSettings\3c0bc021-c8a8-4e07-a973-6b14cbcb2b7e", 'ACSettingIndex', 0) # screen off after
    # The power button shuts down, also when nobody is logged on: the agent must not be the only way.
    , @("$PowerSettings\7648efa3-dd9c-4e3e-b566-50f929386280", 'ACSettingIndex', 3)
    , @("$SystemPolicies\System", 'ShutdownWithoutLogon', 1)
    , @("$Machine\Control\Session Manager\Power", 'HiberbootEnabled', 0)
    # Nothing to update from, and nothing to keep an update in.
    , @("$Policies\Windows\WindowsUpdate\AU", 'NoAutoUpdate', 1)
    , @("$Policies\Windows\WindowsUpdate", 'SetDisableUXWUAccess', 1)
    , @("$Policies\WindowsStore", 'AutoDownload', 2)
    , @("$Machine\Services\wuauserv", 'Start', 4)
    , @("$Machine\Services\UsoSvc", 'Start', 4)
    # The TPM is empty in each session: a key that it holds is lost.
    , @("$Machine\Control\BitLocker", 'PreventDeviceEncryption', 1)
    # No Internet, no router: do not look for one. No questions at the first log-on.
    , @("$Policies\Windows\NetworkConnectivityStatusIndicator", 'NoActiveProbe', 1)
    , @("$Policies\Windows\OOBE", 'DisablePrivacyExperience', 1)
    , @("$SystemPolicies\System", 'EnableFirstLogonAnimation', 0)
    , @("$Policies\Windows\CloudContent", 'DisableWindowsConsumerFeatures', 1)
    , @("$Policies\Edge", 'HideFirstRunExperience', 1)
    , @("$Policies\Windows\OneDrive", 'DisableFileSyncNGSC', 1)
    # No pane that asks about a new network: that there is the key is what counts.
    , @("$Machine\Control\Network\NewNetworkWindowOff", '7lbd', 1)
    # No question about a drive that appears.
    , @("$SystemPolicies\Explorer", 'NoDriveTypeAutoRun', 255)
    # An address with dots counts as the Internet: programs would ask, Office would open read-only, scripts would be refused.
    # All that the policy leaves in the registry (inetres.admx, IZ_Zonemaps): the list, that it is in force, and what Windows makes
    # of it. learn.microsoft.com, "Internet Explorer security zones registry entries for advanced users": 1 is the local intranet,
    # and with the enhanced security configuration, as each Windows Server has it, EscRanges is looked at in place of Ranges.
    , @($InternetSettings, 'ListBox_Support_ZoneMapKey', 1)
    , @("$InternetSettings\ZoneMapKey", $HostAddress, '1')
    , @("$InternetSettings\ZoneMap\Ranges\Range169", ':Range', $HostAddress)
    , @("$InternetSettings\ZoneMap\Ranges\Range169", 'file', 1)
    , @("$InternetSettings\ZoneMap\EscRanges\Range169", ':Range', $HostAddress)
    , @("$InternetSettings\ZoneMap\EscRanges\Range169", 'file', 1)
)

# --- what is told -----------------------------------------------------------------------------------------------------

# One line for people: on the screen, in the log, and on the first serial port, which 7lbd keeps.
function Write-Step {
    param([Parameter(Mandatory)][string]$Text)
    $line = '7lbd: ' + ($Text -replace '\s+', ' ')
    Write-Host $line
    try { Add-Content -LiteralPath $LogFile -Value $line -WhatIf:$false } catch { Write-Debug 'this account may not write the log' }
    try {
        $port = New-Object IO.Ports.SerialPort 'COM1', 115200
        $port.WriteTimeout = 2000
        $port.Open()
        try { $port.WriteLine($line) } finally { $port.Close() }
    } catch { Write-Debug 'there is no free serial port' }
}

function Write-Fault {
    param([Parameter(Mandatory)][Management.Automation.ErrorRecord]$Fault)
    # Of some errors it is not known where they were made; Split-Path takes no empty name, and its own error would be all.
    $at = $Fault.InvocationInfo
    $place = if ($at -and $at.ScriptName) { " ($(Split-Path -Leaf $at.ScriptName) line $($at.ScriptLineNumber))" } else { '' }
    Write-Step "error: $($Fault.Exception.Message)$place"
}

# Try something until it says yes. Throws when it does not in time.
function Wait-Until {
    param([Parameter(Mandatory)][string]$What, [Parameter(Mandatory)][scriptblock]$Test, [int]$Seconds = 300)
    $end = (Get-Date).AddSeconds($Seconds)
    while (-not (& $Test)) {
        if ((Get-Date) -gt $end) { throw "$What did not happen within $Seconds seconds" }
        Start-Sleep -Milliseconds 500
    }
}

# --- every change, and its undoing ------------------------------------------------------------------------------------

# Never a half file, even when the machine is switched off.
function Save-Text {
    param([Parameter(Mandatory)][string]$Path, [Parameter(Mandatory)][string]$Text)
    [IO.File]::WriteAllText("$Path.new", $Text, (New-Object Text.UTF8Encoding $false))
    Move-Item -LiteralPath "$Path.new" -Destination $Path -Force
}

function Read-Change {
    if (-not (Test-Path -LiteralPath $UndoFile)) { return }
    (Get-Content -LiteralPath $UndoFile -Raw -Encoding UTF8 | ConvertFrom-Json).changes
}

function Save-Change {
    param([AllowEmptyCollection()][object[]]$Changes = @())
    Save-Text -Path $UndoFile -Text (ConvertTo-Json @{ changes = @($Changes) } -Depth 4)
}

# Noted before it is made: what was noted and not made is undone without harm.
function Add-Change {
    param([Parameter(Mandatory)][hashtable]$Change)
    Save-Change (@(Read-Change) + [pscustomobject]$Change)
}

function Undo-Change {
    param([Parameter(Mandatory)][object]$Change)
    switch ($Change.kind) {
        'value' {
            if ($Change.existed) {
                New-ItemProperty -LiteralPath $Change.path -Name $Change.name -Value $Change.value -PropertyType $Change.type -Force | Out-Null
            } elseif (Test-Path -LiteralPath $Change.path) {
                Remove-ItemProperty -LiteralPath $Change.path -Name $Change.name -ErrorAction SilentlyContinue
                if ($Change.PSObject.Properties['made'] -and $Change.made) { Remove-EmptyKey -Path $Change.path }
            }
        }
        'hibernate' { & powercfg.exe /hibernate on }
        'rule' { Set-NetFirewallRule -Name $Change.name -Enabled $Change.enabled -Profile $Change.profile }
        'task' { Unregister-ScheduledTask -TaskName $Change.name -Confirm:$false -ErrorAction SilentlyContinue }
        'member' { Remove-LocalGroupMember -SID $Change.group -Member $Change.account -ErrorAction SilentlyContinue }
        'expiry' { Set-LocalUser -Name $Change.account -PasswordNeverExpires $false }
        'account' { Remove-LocalUser -Name $Change.account -ErrorAction SilentlyContinue }
        default { throw "$UndoFile notes a change of an unknown kind: $($Change.kind)" }
    }
}

# One that we made: of some, that they are there is what counts.
function Remove-EmptyKey {
    param([Parameter(Mandatory)][string]$Path)
    $key = Get-Item -LiteralPath $Path
    if (-not $key.ValueCount -and -not $key.SubKeyCount) { Remove-Item -LiteralPath $Path }
}

# Take back all that was noted, the last change first; can be interrupted and run again.
function Undo-Contract {
    [CmdletBinding(SupportsShouldProcess)]
    param()
    $left = [Collections.ArrayList]@(Read-Change)
    while ($left.Count) {
        $last = $left[$left.Count - 1]
        if ($PSCmdlet.ShouldProcess((ConvertTo-Json $last -Compress), 'undo')) {
            Undo-Change $last
            Save-Change ($left.GetRange(0, $left.Count - 1))
        }
        $left.RemoveAt($left.Count - 1)
    }
    if ($PSCmdlet.ShouldProcess($Folder, 'remove')) {
        Write-Step 'undone; drivers and the guest agent stay'
        Remove-Item -LiteralPath $Folder -Recurse -Force
    }
}

function Set-Value {
    [CmdletBinding(SupportsShouldProcess)]
    param([Parameter(Mandatory)][string]$Path, [Parameter(Mandatory)][string]$Name, [Parameter(Mandatory)][object]$Value)
    $type = if ($Value -is [string]) { 'String' } else { 'DWord' }
    $key = Get-Item -LiteralPath $Path -ErrorAction SilentlyContinue
    $change = @{ kind = 'value'; path = $Path; name = $Name; existed = $false; made = -not $key; value = $null; type = $null }
    if ($key -and $key.GetValueNames() -contains $Name) {
        $change.existed, $change.value, $change.type = $true, $key.GetValue($Name, $null, 'DoNotExpandEnvironmentNames'), [string]$key.GetValueKind($Name)
        if ($change.type -eq $type -and $change.value -eq $Value) { return }
    }
    if ($PSCmdlet.ShouldProcess("$Path\$Name", "set to $Value")) {
        Add-Change $change
        if (-not $key) { New-Item -Path $Path -Force | Out-Null }
        New-ItemProperty -LiteralPath $Path -Name $Name -Value $Value -PropertyType $type -Force | Out-Null
    }
}

# --- making an image --------------------------------------------------------------------------------------------------

# The root of the drive that has a file; which letter a disc gets is not ours to know.
function Find-Medium {
    param([Parameter(Mandatory)][string]$File)
    foreach ($drive in [IO.DriveInfo]::GetDrives()) {
        if ($drive.IsReady -and (Test-Path -LiteralPath (Join-Path $drive.Name $File))) { return $drive.Name }
    }
}

function Install-Package {
    param([Parameter(Mandatory)][string]$Path)
    Write-Step "installing $(Split-Path -Leaf $Path)"
    $log = Join-Path $env:TEMP "$(Split-Path -Leaf $Path).log"
    $words = '/i', "`"$Path`"", '/qn', '/norestart', '/l*v', "`"$log`""
    $done = Start-Process -FilePath msiexec.exe -ArgumentList $words -Wait -PassThru
    # 3010 and 1641: done, and Windows wants to start anew. learn.microsoft.com, "MsiExec.exe and InstMsi.exe error messages".
    if ($done.ExitCode -notin 0, 3010, 1641) { throw "$(Split-Path -Leaf $Path): msiexec ended with $($done.ExitCode); see $log" }
}

# The virtio drivers and the guest agent, from the virtio-win disc. Only the agent has no other way than its package.
function Install-Driver {
    [CmdletBinding(SupportsShouldProcess)]
    param([switch]$Required)
    $drivers, $agent = 'virtio-win-gt-x64.msi', 'guest-agent\qemu-ga-x86_64.msi'
    $root = Find-Medium $drivers
    if (-not $root) {
        if ($Required) { throw 'there is no virtio-win disc in any drive' }
        Write-Step 'no virtio-win disc: the drivers and the guest agent stay as they are'
        return
    }
    if ($PSCmdlet.ShouldProcess($root, 'install the drivers')) {
        try { Install-Package (Join-Path $root $drivers) } catch {
            Write-Step "$($_.Exception.Message); taking the drivers one by one"
            Install-DriverFolder -Root $root
        }
    }
    $path = Join-Path $root $agent
    if ($PSCmdlet.ShouldProcess($path, 'install')) { Install-Package $path }
}

# What the package would have done: each driver of the disc that is for this system. Those of missing devices wait for them.
function Install-DriverFolder {
    param([Parameter(Mandatory)][string]$Root)
    $system = Get-DriverFolder
    foreach ($file in Get-ChildItem -Path (Join-Path $Root "*\$system\amd64\*.inf")) {
        & pnputil.exe /add-driver $file.FullName /install | Out-Null
        # 259: it is in the store, and no device wants it now; 3010: Windows wants to start anew. learn.microsoft.com, "PnPUtil
        # Return Values".
        if ($LASTEXITCODE -notin 0, 259, 3010) { Write-Step "$($file.Name): pnputil ended with $LASTEXITCODE" }
    }
}

# How the driver disc calls this Windows.
function Get-DriverFolder {
    $windows = Get-CimInstance -ClassName Win32_OperatingSystem
    $build = [int]$windows.BuildNumber
    if ($windows.ProductType -eq 1) { if ($build -ge 22000) { return 'w11' } else { return 'w10' } }
    foreach ($server in $ServerDrivers) { if ($build -ge $server[0]) { return $server[1] } }
}

# All that the contract asks for (docs/images.md). What is so already stays untouched.
function Install-Contract {
    [CmdletBinding(SupportsShouldProcess)]
    param([Parameter(Mandatory)][string]$Account)
    Assert-Edition
    Install-File
    Install-JobLibrary
    Set-Account -Account $Account
    foreach ($value in $Values) { Set-Value -Path $value[0] -Name $value[1] -Value $value[2] }
    Disable-Hibernation
    Enable-RemoteDesktopRule
    Register-Contract -Account $Account
}

# Core, CoreSingleLanguage and the like: of these nothing listens for Remote Desktop, whatever is set.
function Assert-Edition {
    $edition = (Get-ItemProperty -LiteralPath $CurrentVersion).EditionID
    if ($edition -like 'Core*') { throw "a Home edition of Windows ($edition) lets nobody log in by Remote Desktop" }
}

function New-Rule {
    param([Parameter(Mandatory)][string]$Sid, [Parameter(Mandatory)][string]$Right, [string]$Inherit = 'None')
    $who = New-Object Security.Principal.SecurityIdentifier $Sid
    New-Object Security.AccessControl.FileSystemAccessRule $who, $Right, $Inherit, 'None', 'Allow'
}

# Scripts that SYSTEM runs must not be anybody's to change; C:\ProgramData lets everybody make files.
function Protect-Folder {
    New-Item -ItemType Directory -Path $Folder -Force | Out-Null
    $inherit = 'ContainerInherit, ObjectInherit'
    $rights = New-Object Security.AccessControl.DirectorySecurity
    $rights.SetAccessRuleProtection($true, $false)
    foreach ($sid in $System, $Administrators) { $rights.AddAccessRule((New-Rule $sid 'FullControl' $inherit)) }
    $rights.AddAccessRule((New-Rule $Users 'ReadAndExecute' $inherit))
    Set-Acl -LiteralPath $Folder -AclObject $rights
}

function Install-File {
    [CmdletBinding(SupportsShouldProcess)]
    param()
    if (-not $PSCmdlet.ShouldProcess($Folder, 'put the scripts there')) { return }
    Protect-Folder
    if ($PSScriptRoot -eq $Folder) { return }
    foreach ($name in $LastingFiles) {
        Copy-Item -LiteralPath (Join-Path $PSScriptRoot $name) -Destination $Folder -Force
    }
}

# Compiled once, in the image: a job would pay seconds for it.
function Install-JobLibrary {
    [CmdletBinding(SupportsShouldProcess)]
    param()
    if (-not $PSCmdlet.ShouldProcess($JobLibrary, 'compile')) { return }
    Add-Type -Path (Join-Path $Folder 'RunJob.cs') -OutputAssembly $JobLibrary -OutputType Library
}

function New-Password {
    $bytes = New-Object byte[] 24
    $source = [Security.Cryptography.RandomNumberGenerator]::Create()
    try { $source.GetBytes($bytes) } finally { $source.Dispose() }
    # The end is for Windows' rule of complexity; the strength is in the bytes.
    ConvertTo-SecureString ([Convert]::ToBase64String($bytes) + 'aA1') -AsPlainText -Force
}

# The account that sessions log in to: may use Remote Desktop, and nothing more.
function Set-Account {
    [CmdletBinding(SupportsShouldProcess)]
    param([Parameter(Mandatory)][string]$Account)
    $known = Get-LocalUser -Name $Account -ErrorAction SilentlyContinue
    if (-not $known) {
        if (-not $PSCmdlet.ShouldProcess($Account, 'make the account')) { return }
        Add-Change @{ kind = 'account'; account = $Account }
        New-LocalUser -Name $Account -Password (New-Password) -PasswordNeverExpires -AccountNeverExpires | Out-Null
    } elseif ($known.PasswordExpires -and $PSCmdlet.ShouldProcess($Account, 'let its password never expire')) {
        Add-Change @{ kind = 'expiry'; account = $Account }
        Set-LocalUser -Name $Account -PasswordNeverExpires $true
    }
    foreach ($group in $Users, $RemoteDesktopUsers) {
        if (Test-Member -Group $group -Account $Account) { continue }
        if ($PSCmdlet.ShouldProcess($Account, "add to the group $group")) {
            Add-Change @{ kind = 'member'; account = $Account; group = $group }
            Add-LocalGroupMember -SID $group -Member $Account
        }
    }
}

# By ADSI: Get-LocalGroupMember fails in a group with a member that no longer exists, as one of a domain that was left
# (PowerShell, issue 2996).
function Test-Member {
    param([Parameter(Mandatory)][string]$Group, [Parameter(Mandatory)][string]$Account)
    $sid = (Get-LocalUser -Name $Account).SID
    $name = (Get-LocalGroup -SID $Group).Name
    foreach ($member in ([ADSI]"WinNT://$env:COMPUTERNAME/$name,group").Invoke('Members')) {
        $bytes = [byte[]]([ADSI]$member).InvokeGet('objectSid')
        if ($sid -eq (New-Object Security.Principal.SecurityIdentifier $bytes, 0)) { return $true }
    }
    $false
}

function Disable-Hibernation {
    [CmdletBinding(SupportsShouldProcess)]
    param()
    $power = Get-ItemProperty -LiteralPath "$Machine\Control\Power"
    if (($power.PSObject.Properties.Name -contains 'HibernateEnabled') -and $power.HibernateEnabled -eq 0) { return }
    if ($PSCmdlet.ShouldProcess('hibernation', 'switch off')) {
        Add-Change @{ kind = 'hibernate' }
        & powercfg.exe /hibernate off
    }
}

# For every profile: Windows calls a network without a router public.
function Enable-RemoteDesktopRule {
    [CmdletBinding(SupportsShouldProcess)]
    param()
    foreach ($rule in Get-NetFirewallRule -Group $RemoteDesktopRules) {
        if ("$($rule.Enabled)" -eq 'True' -and "$($rule.Profile)" -eq 'Any') { continue }
        if ($PSCmdlet.ShouldProcess($rule.Name, 'open the firewall for')) {
            Add-Change @{ kind = 'rule'; name = $rule.Name; enabled = "$($rule.Enabled)"; profile = "$($rule.Profile)" }
            Set-NetFirewallRule -Name $rule.Name -Enabled True -Profile Any
        }
    }
}

function Register-Script {
    [CmdletBinding(SupportsShouldProcess)]
    param(
        [Parameter(Mandatory)][string]$Task, [Parameter(Mandatory)][string]$Script,
        [Parameter(Mandatory)][object]$Trigger, [Parameter(Mandatory)][object]$Principal
    )
    if (-not $PSCmdlet.ShouldProcess($Task, 'register the task')) { return }
    if (-not (Get-ScheduledTask -TaskName $Task -ErrorAction SilentlyContinue)) { Add-Change @{ kind = 'task'; name = $Task } }
    $words = "-NoProfile -NonInteractive -WindowStyle Hidden -ExecutionPolicy Bypass -File `"$(Join-Path $Folder $Script)`""
    $action = New-ScheduledTaskAction -Execute 'powershell.exe' -Argument $words
    # Tasks wait and run at low priority by default; a session waits for this one.
    $how = New-ScheduledTaskSettingsSet -AllowStartIfOnBatteries -DontStopIfGoingOnBatteries -Priority 4 -ExecutionTimeLimit ([TimeSpan]::Zero)
    Register-ScheduledTask -TaskName $Task -Action $action -Trigger $Trigger -Principal $Principal -Settings $how -Force | Out-Null
}

function Register-Contract {
    [CmdletBinding(SupportsShouldProcess)]
    param([Parameter(Mandatory)][string]$Account)
    if ($PSCmdlet.ShouldProcess($SettingsFile, 'write')) { Save-Text -Path $SettingsFile -Text (ConvertTo-Json @{ account = $Account }) }
    $system = New-ScheduledTaskPrincipal -UserId $System -LogonType ServiceAccount -RunLevel Highest
    Register-Script -Task $StartTask -Script 'start.ps1' -Trigger (New-ScheduledTaskTrigger -AtStartup) -Principal $system
    $user = New-ScheduledTaskPrincipal -UserId "$env:COMPUTERNAME\$Account" -LogonType Interactive -RunLevel Limited
    $logon = New-ScheduledTaskTrigger -AtLogOn -User "$env:COMPUTERNAME\$Account"
    Register-Script -Task $DrivesTask -Script 'drives.ps1' -Trigger $logon -Principal $user
}

function Register-Seal {
    $system = New-ScheduledTaskPrincipal -UserId $System -LogonType ServiceAccount -RunLevel Highest
    Register-Script -Task $SealTask -Script 'finish.ps1' -Trigger (New-ScheduledTaskTrigger -AtStartup) -Principal $system
}

# --- in every session -------------------------------------------------------------------------------------------------

# `name=value` lines as a table; what is none is passed over.
function ConvertFrom-Line {
    param([AllowEmptyCollection()][AllowEmptyString()][AllowNull()][string[]]$Lines)
    $table = @{}
    foreach ($line in $Lines) {
        $name, $value = "$line" -split '=', 2
        if ($null -ne $value) { $table[$name] = $value }
    }
    $table
}

# All of the standard input, which the agent writes in UTF-8 whatever the code page is.
function Read-Text {
    $reader = New-Object IO.StreamReader ([Console]::OpenStandardInput()), (New-Object Text.UTF8Encoding $false)
    try { $reader.ReadToEnd() } finally { $reader.Dispose() }
}

# A box in front of everything, for whoever is logged on, until OK is pressed or an hour. By an argument: msg.exe reads its
# input in the code page of a console, and the agent has none.
function Show-Notice {
    param([Parameter(Mandatory)][AllowEmptyString()][string]$Text)
    $line = ($Text -replace '\s+', ' ').Trim()
    if ($line) { & msg.exe * /time:3600 $line }
}

# The job that lies in a folder of the share `job`, by the contract of docs/exec.md. As SYSTEM: the account sees nothing of that.
function Invoke-Job {
    param([Parameter(Mandatory)][hashtable]$Session)
    if ("$($Session['job'])" -notmatch '^[0-9]{1,12}$' -or -not $Session['user'] -or -not $Session['password']) {
        throw 'user=, password= and job= are wanted'
    }
    if (-not (Test-Path -LiteralPath $JobLibrary)) { Install-JobLibrary }
    Add-Type -Path $JobLibrary
    # What was looked for in vain is looked for again: a new name is all that this waits for.
    $none = @{ DirectoryCacheLifetime = 0; FileInfoCacheLifetime = 0; FileNotFoundCacheLifetime = 0 }
    Set-SmbClientConfiguration @none -Force
    $root = "\\$HostAddress"
    [SevenLBD.Share]::Connect("$root\job", $null, $Session['user'], $Session['password'])
    # A folder without a letter is none for cmd.exe, and CreateProcess looks at it as who calls.
    [SevenLBD.Share]::Connect("$root\work", 'W:', $Session['user'], $Session['password'])
    [Environment]::CurrentDirectory = 'W:\'
    $at = "$root\job\$($Session['job'])"
    $order = [IO.File]::ReadAllText("$at\order.json") | ConvertFrom-Json
    $variables = New-Object 'Collections.Generic.Dictionary[string,string]'
    foreach ($one in $order.environment.PSObject.Properties) { $variables[$one.Name] = $one.Value }
    $seen = 0
    $ended = ''
    if ($order.PSObject.Properties['desktop'] -and $order.desktop) {
        try {
            $seen = Start-Desktop -Password $Session['password']
        } catch {
            $ended = ConvertTo-Json @{ failed = 'no-desktop'; said = $_.Exception.Message } -Compress
        }
    }
    if (-not $ended) {
        $ended = [SevenLBD.GuestJob]::Run($at, $order.line, $variables, $order.input, (Get-Account), $Session['password'], 'W:',
            "$root\work", [string[]]@(Get-OtherShare -Root $root -Shares "$($Session['shares'])"), $Session['user'], $seen)
    }
    [IO.File]::WriteAllText("$at\ended.json.part", $ended)
    [IO.File]::Move("$at\ended.json.part", "$at\ended.json")
}

# The number of the session with the account's desktop. Where there is none, the machine's own screen logs it on: its session
# is ended, and the new one that Windows makes for the screen finds that somebody is to be logged on. Nobody comes by RDP.
function Start-Desktop {
    [CmdletBinding(SupportsShouldProcess)]
    param([Parameter(Mandatory)][string]$Password)
    if (-not (Get-Desktop) -and $PSCmdlet.ShouldProcess((Get-Account), 'log on')) {
        Set-AutomaticLogon -Password $Password
        try {
            & logoff.exe ([SevenLBD.Screen]::Session())
            Wait-Until -Seconds 300 -What "a desktop of the account's" -Test { Get-Desktop }
        } finally {
            Stop-AutomaticLogon
        }
    }
    [int]@(Get-Desktop)[0]
}

# Those that the session has beside a job's own.
function Get-OtherShare {
    param([Parameter(Mandatory)][string]$Root, [Parameter(Mandatory)][AllowEmptyString()][string]$Shares)
    $Shares -split ',' | Where-Object { $_ -and $_ -notin 'job', 'work' } | ForEach-Object { "$Root\$_" }
}

# What 7lbd tells by SMBIOS strings of type 11: `user`, `password`, and `shares` perhaps.
function Get-SessionValue {
    ConvertFrom-Line (Get-CimInstance -ClassName Win32_ComputerSystem).OEMStringArray
}

function Get-Account { (Get-Content -LiteralPath $SettingsFile -Raw -Encoding UTF8 | ConvertFrom-Json).account }

function Set-SessionPassword {
    param([Parameter(Mandatory)][string]$Password)
    Set-LocalUser -Name (Get-Account) -Password (ConvertTo-SecureString $Password -AsPlainText -Force)
}

# What the drives are mapped with; for SYSTEM, administrators and the session's account only.
function Save-Credential {
    param([Parameter(Mandatory)][hashtable]$Session)
    $kept = @{ user = ''; password = ''; shares = 'home' }
    foreach ($name in @($kept.Keys)) { if ($Session.ContainsKey($name)) { $kept[$name] = $Session[$name] } }
    $rights = New-Object Security.AccessControl.FileSecurity
    $rights.SetAccessRuleProtection($true, $false)
    foreach ($sid in $System, $Administrators) { $rights.AddAccessRule((New-Rule $sid 'FullControl')) }
    $rights.AddAccessRule((New-Rule (Get-LocalUser -Name (Get-Account)).SID.Value 'Read'))
    Clear-OldKey -Password $kept['password']
    # Empty until nobody else can read it.
    $new = "$CredentialFile.new"
    [IO.File]::WriteAllText($new, '')
    Set-Acl -LiteralPath $new -AclObject $rights
    [IO.File]::WriteAllText($new, (ConvertTo-Json $kept))
    Move-Item -LiteralPath $new -Destination $CredentialFile -Force
}

# Who maintains an image logs on as the account, by a password that is over in the next version's sessions: a machine whose last
# session had another one has keys that never open again. Nobody is logged on yet, or goes on with keys that are open.
function Clear-OldKey {
    param([Parameter(Mandatory)][AllowEmptyString()][string]$Password)
    if (-not (Test-Path -LiteralPath $CredentialFile)) { return }
    try {
        $last = (Get-Content -LiteralPath $CredentialFile -Raw -Encoding UTF8 | ConvertFrom-Json).password
        if ($last -cne $Password -and -not (Get-Desktop)) { Clear-AccountKey }
    } catch { Write-Step "the last session's keys stay: $($_.Exception.Message)" }
}

function Test-Port {
    param([Parameter(Mandatory)][string]$Address, [Parameter(Mandatory)][int]$Port)
    $client = New-Object Net.Sockets.TcpClient
    try { $client.Connect($Address, $Port); $true } catch { $false } finally { $client.Close() }
}

# A certificate that came with the image is everybody's: Windows makes a new one when there is none.
function Reset-Certificate {
    $start = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime
    Clear-Certificate { $_.NotBefore -lt $start }
}

# One that was frozen lapses half a year after it was made, and Windows, which has not started since, makes no other.
function Update-Certificate {
    $soon = (Get-Date).AddDays(2)
    Clear-Certificate { $_.NotAfter -lt $soon }
}

function Clear-Certificate {
    param([Parameter(Mandatory)][scriptblock]$Which)
    $old = @(Get-ChildItem 'Cert:\LocalMachine\Remote Desktop' -ErrorAction SilentlyContinue | Where-Object $Which)
    if (-not $old.Count) { return }
    foreach ($one in $old) { Remove-Certificate $one.Thumbprint }
    # The configuration service makes one when it starts and there is none. learn.microsoft.com, "Troubleshoot Azure VM RDP
    # connection issues by Event ID". TermService goes on with the old one until it starts anew.
    try { Restart-Service -Name SessionEnv -Force } catch { Write-Step $_.Exception.Message }
    Restart-Service -Name TermService -Force
}

# By its path: behind a pipe the parameter, which only the certificate provider knows, would not bind.
function Remove-Certificate {
    param([Parameter(Mandatory)][string]$Thumbprint)
    Remove-Item -LiteralPath "Cert:\LocalMachine\Remote Desktop\$Thumbprint" -DeleteKey
}

function Wait-RemoteDesktop {
    Reset-Certificate
    Wait-Until -What 'an answer of Remote Desktop' -Test { Test-Port '127.0.0.1' 3389 }
}

# The contract's third clause: one line to the host.
function Send-Ready {
    Wait-Until -What 'a connection to the host' -Test {
        $client = New-Object Net.Sockets.TcpClient
        try {
            $client.Connect($HostAddress, $ReadyPort)
            $bytes = [Text.Encoding]::ASCII.GetBytes("ready`n")
            $client.GetStream().Write($bytes, 0, $bytes.Length)
            $true
        } catch { $false } finally { $client.Close() }
    }
    Write-Step 'ready'
}

# Map the session's shares: `home` to H:, the others from Z: downwards. Runs as the user, for this log-on only.
function Connect-Drive {
    Wait-Until -What 'the credentials of this session' -Test { Test-Path -LiteralPath $CredentialFile }
    $session = Get-Content -LiteralPath $CredentialFile -Raw -Encoding UTF8 | ConvertFrom-Json
    # Windows Script Host's own: it maps by WNetAddConnection2 and tells the shell, so that Explorer shows the drive at once.
    $network = New-Object -ComObject WScript.Network
    foreach ($mapping in Get-SmbMapping | Where-Object { $_.RemotePath -like "\\$HostAddress\*" }) {
        # A connection without a letter goes by its path: learn.microsoft.com, "RemoveNetworkDrive Method".
        $name = if ($mapping.LocalPath) { $mapping.LocalPath } else { $mapping.RemotePath }
        try { $network.RemoveNetworkDrive($name, $true, $false) } catch {
            Write-Step "$name could not be taken away: $($_.Exception.Message)"
        }
    }
    $free = [Collections.Generic.Queue[string]][string[]]@('Z', 'Y', 'X', 'W', 'V', 'U', 'T', 'S', 'R', 'Q', 'P', 'O', 'N', 'M')
    foreach ($share in $session.shares -split ',' | Where-Object { $_ }) {
        $letter = if ($share -eq 'home') { 'H' } else { $free.Dequeue() }
        try {
            $network.MapNetworkDrive("${letter}:", "\\$HostAddress\$share", $false, $session.user, $session.password)
        } catch {
            Write-Step "the share $share could not be mapped: $($_.Exception.Message)"
        }
    }
}

# After a warm start nobody is logged on as a rule; who is gets the new session's shares at once.
function Restart-Drive {
    Stop-ScheduledTask -TaskName $DrivesTask -ErrorAction SilentlyContinue
    if (Get-Desktop) { Start-ScheduledTask -TaskName $DrivesTask }
}

# --- the end of an installation ---------------------------------------------------------------------------------------

# The start-up task of this very start has ended well, and the agent runs.
function Wait-Contract {
    $start = (Get-CimInstance -ClassName Win32_OperatingSystem).LastBootUpTime
    Wait-Until -What 'the end of the start-up task' -Seconds 900 -Test {
        $task = Get-ScheduledTaskInfo -TaskName $StartTask
        $task.LastRunTime -ge $start -and (Get-ScheduledTask -TaskName $StartTask).State -eq 'Ready'
    }
    $result = (Get-ScheduledTaskInfo -TaskName $StartTask).LastTaskResult
    if ($result -ne 0) { throw "the start-up task ended with $result; see $LogFile" }
    Wait-Until -What 'the start of the guest agent' -Test { (Get-Service -Name 'QEMU-GA').Status -eq 'Running' }
}

# What belongs to the installation only. Windows is not generalised (sysprep): see docs/windows.md.
function Clear-Installation {
    Write-Step 'removing what belongs to the installation only'
    Unregister-ScheduledTask -TaskName $SealTask -Confirm:$false
    Clear-Logon
    # Copies of the answer file, and what Setup wrote.
    $left = @(
        "$env:SystemRoot\Panther\unattend*.xml", "$env:SystemRoot\Panther\Unattend\*", "$env:SystemRoot\System32\Sysprep\unattend.xml"
        "$env:SystemRoot\Temp\*", "$env:SystemRoot\SoftwareDistribution\Download\*"
        "$env:SystemDrive\Users\*\AppData\Local\Temp\*"
        "$env:SystemDrive\Users\*\AppData\Roaming\Microsoft\Windows\PowerShell\PSReadLine\*"
    )
    foreach ($path in $left) { Remove-Item -Path $path -Recurse -Force -ErrorAction SilentlyContinue }
    # The RDP server makes a new key when it has none.
    foreach ($one in Get-ChildItem 'Cert:\LocalMachine\Remote Desktop' -ErrorAction SilentlyContinue) { Remove-Certificate $one.Thumbprint }
    $ours = @($InstallationFiles | ForEach-Object { Join-Path $Folder $_ }) + $CredentialFile, $UndoFile, $LogFile
    Remove-Item -LiteralPath $ours -Force -ErrorAction SilentlyContinue
    Clear-Log
    # Blocks that are free again become holes in the image; without, it is only larger.
    try { Optimize-Volume -DriveLetter $env:SystemDrive[0] -ReTrim } catch { Write-Step "trim failed: $($_.Exception.Message)" }
}

function Clear-Log {
    foreach ($name in [Diagnostics.Eventing.Reader.EventLogSession]::GlobalSession.GetLogNames()) {
        try { [Diagnostics.Eventing.Reader.EventLogSession]::GlobalSession.ClearLog($name) } catch { Write-Debug "$name cannot be cleared" }
    }
}

# No automatic log-on any more, and a password of the Administrator's that nobody has ever known.
function Clear-Logon {
    Stop-AutomaticLogon
    $built_in = Get-LocalUser | Where-Object { "$($_.SID)" -like 'S-1-5-21-*-500' }
    Set-LocalUser -InputObject $built_in -Password (New-Password) -PasswordNeverExpires $true
}

# The answer file's count of log-ons may be one more than it says: nothing is left to count.
function Stop-AutomaticLogon {
    $names = 'AutoAdminLogon', 'ForceAutoLogon', 'AutoLogonCount', 'DefaultPassword', 'DefaultUserName', 'DefaultDomainName'
    foreach ($name in $names) {
        Remove-ItemProperty -LiteralPath $Winlogon -Name $name -ErrorAction SilentlyContinue
    }
}

# Whoever may read that knows the session's password already: the account itself. Gone as soon as it has logged on.
# ForceAutoLogon: without it Windows looks once after each start, and never for the sessions that the screen gets later.
function Set-AutomaticLogon {
    [CmdletBinding(SupportsShouldProcess)]
    param([Parameter(Mandatory)][string]$Password)
    $values = @{
        AutoAdminLogon = '1'; ForceAutoLogon = '1'
        DefaultUserName = (Get-Account); DefaultDomainName = $env:COMPUTERNAME; DefaultPassword = $Password
    }
    foreach ($name in $values.Keys) {
        if ($PSCmdlet.ShouldProcess($name, 'set')) {
            New-ItemProperty -LiteralPath $Winlogon -Name $name -Value $values[$name] -PropertyType String -Force | Out-Null
        }
    }
}

# At the next start the account logs on once by itself, so that its profile is in the image: to make one takes half a minute or
# more of black screen, which each session would pay for. Its password is this session's own, worth nothing afterwards.
function Start-FirstLogon {
    param([AllowEmptyString()][AllowNull()][string]$Password)
    if (-not $Password) { throw 'there is no password of this session to log on with' }
    Set-AutomaticLogon -Password $Password
    Save-Text -Path $FirstLogonFile -Text 'begun'
}

function Test-FirstLogon { Test-Path -LiteralPath $FirstLogonFile }

# Whether the account has a profile already, as in every image that `image build windows` has made.
function Test-AccountProfile {
    $sid = (Get-LocalUser -Name (Get-Account)).SID.Value
    @(Get-CimInstance -ClassName Win32_UserProfile -Filter "SID = '$sid'").Count -gt 0
}

# Until the account's desktop stands and has had a minute for what begins late; then it is logged off, so that the profile is
# written to the disk whole.
function Complete-FirstLogon {
    Wait-Until -Seconds 900 -What "a desktop of the account's" -Test { Get-Desktop }
    Write-Step 'the account has its profile'
    Start-Sleep -Seconds 60
    Stop-AutomaticLogon
    foreach ($id in Get-Desktop) { & logoff.exe $id }
    Wait-Until -What 'the log-off' -Test { -not (Get-Desktop) }
    Clear-AccountKey
    Remove-Item -LiteralPath $FirstLogonFile -Force
}

# What programs keep under the account's key (Edge, Credential Manager, Outlook) is locked by its password, which is another in
# each session: a key of this log-on would never open again. learn.microsoft.com, CryptUpdateProtectedState: keys "could not have
# been decrypted ... when the password of a local user has been administratively reset". Where there is none, Windows makes one.
function Clear-AccountKey {
    $sid = (Get-LocalUser -Name (Get-Account)).SID.Value
    foreach ($place in Get-CimInstance -ClassName Win32_UserProfile -Filter "SID = '$sid'" | ForEach-Object { $_.LocalPath }) {
        foreach ($folder in 'Protect', 'Crypto', 'Credentials', 'Vault') {
            foreach ($part in 'Roaming', 'Local') {
                Remove-Item -LiteralPath "$place\AppData\$part\Microsoft\$folder" -Recurse -Force -ErrorAction SilentlyContinue
            }
        }
    }
}

# A log-on that did not come: nothing of it may stay in what is frozen.
function Stop-FirstLogon {
    Stop-AutomaticLogon
    Remove-Item -LiteralPath $FirstLogonFile -Force -ErrorAction SilentlyContinue
}

# The numbers of the sessions that have a shell: on a Server Core a window of cmd.exe, since 2022 one of PowerShell's.
function Get-Desktop {
    $core = (Get-ItemProperty -LiteralPath $CurrentVersion).InstallationType -eq 'Server Core'
    $shells = if ($core) { 'cmd.exe', 'powershell.exe' } else { 'explorer.exe' }
    $query = "SessionId <> 0 AND (Name = '$($shells -join "' OR Name = '")')"
    Get-CimInstance -ClassName Win32_Process -Filter $query | ForEach-Object { $_.SessionId } | Sort-Object -Unique
}

# --- a worker of an HTCondor pool: docs/worker.md ---------------------------------------------------------------------

# The record as the host has checked it. Looked at once more: its values become HTCondor's configuration.
function Test-Record {
    param([Parameter(Mandatory)][hashtable]$Record)
    foreach ($name in 'collector', 'trust_domain', 'token', 'vm_name', 'machine', 'slot', 'idle_seconds') {
        if (-not $Record[$name]) { throw "the record has no $name=" }
    }
    foreach ($name in $Record.Keys) {
        if ($Record[$name] -notmatch '^[A-Za-z0-9 ._:@/+,=\[\]-]*\z') { throw "$name= has signs that are not let through" }
    }
}

# What HTCondor is told beside its installer's configuration.
function Get-PoolConfiguration {
    param([Parameter(Mandatory)][hashtable]$Record)
    $called = "$($Record.machine)-$($Record.slot)"
    $attributes = @($Record.Keys | Where-Object { $_ -match '^attribute\.SevenLbd[A-Za-z0-9_]+\z' } | Sort-Object)
    $names = @($attributes | ForEach-Object { ($_ -split '\.', 2)[1] })
    @(
        'use SECURITY : recommended_v9_0', 'use POLICY : Always_Run_Jobs', 'DAEMON_LIST = MASTER STARTD'
        "COLLECTOR_HOST = $($Record.collector)", "CONDOR_HOST = $(($Record.collector -split ':\d+\z')[0])"
        'CCB_ADDRESS = $(COLLECTOR_HOST)', 'USE_SHARED_PORT = True', 'UPDATE_COLLECTOR_WITH_TCP = True'
        'CCB_HEARTBEAT_INTERVAL = 60', 'CCB_RECONNECT_TIME = 20', 'UPDATE_INTERVAL = 60'
        'NO_DNS = True', 'DEFAULT_DOMAIN_NAME = worker', "NETWORK_HOSTNAME = $called.worker"
        "PRIVATE_NETWORK_NAME = $called.worker", "UID_DOMAIN = $called.worker", "FILESYSTEM_DOMAIN = $called.worker"
        "TRUST_DOMAIN = $($Record.trust_domain)"
        'SEC_DEFAULT_AUTHENTICATION_METHODS = IDTOKENS', 'SEC_CLIENT_AUTHENTICATION_METHODS = IDTOKENS'
        "SEC_TOKEN_SYSTEM_DIRECTORY = $TokenFolder", "SEC_TOKEN_DIRECTORY = $TokenFolder"
        'NUM_SLOTS = 1', 'NUM_SLOTS_TYPE_1 = 1', 'SLOT_TYPE_1 = 100%', 'SLOT_TYPE_1_PARTITIONABLE = True'
        'STARTER_ALLOW_RUNAS_OWNER = False', 'RUNBENCHMARKS = False'
        'START = ifThenElse(TARGET.vm_name =?= UNDEFINED, True, TARGET.vm_name == MY.vm_name)'
        "STARTD_NOCLAIM_SHUTDOWN = $($Record.idle_seconds)"
        "vm_name = `"$($Record.vm_name)`""
        $attributes | ForEach-Object { "$(($_ -split '\.', 2)[1]) = `"$($Record[$_])`"" }
        "STARTD_ATTRS = `$(STARTD_ATTRS) vm_name $($names -join ' ')"
    ) -join "`r`n"
}

# For SYSTEM, as which HTCondor's service runs, and administrators; the disk is the session's own, and goes with it.
function Save-Pool {
    param([Parameter(Mandatory)][hashtable]$Record)
    New-Item -ItemType Directory -Path $PoolFolder -Force | Out-Null
    $rights = New-Object Security.AccessControl.DirectorySecurity
    $rights.SetAccessRuleProtection($true, $false)
    foreach ($sid in $System, $Administrators) { $rights.AddAccessRule((New-Rule $sid 'FullControl' 'ContainerInherit, ObjectInherit')) }
    Set-Acl -LiteralPath $PoolFolder -AclObject $rights
    # HTCondor reads every file of its folder of tokens.
    New-Item -ItemType Directory -Path $TokenFolder -Force | Out-Null
    [IO.File]::WriteAllText((Join-Path $TokenFolder 'pool'), "$($Record.token)`n")
    [IO.File]::WriteAllText($PoolFile, (Get-PoolConfiguration -Record $Record))
}

# Again after the machine was suspended, with another token: jobs that run go on.
function Start-Worker {
    param([Parameter(Mandatory)][hashtable]$Record)
    Test-Record -Record $Record
    Save-Pool -Record $Record
    if ((Get-Service -Name 'condor').Status -eq 'Running') {
        & condor_reconfig.exe | Out-Null
        return
    }
    Save-WorkerStatus -Text 'joining'
    Start-Service -Name 'condor'
    $words = "-NoProfile -NonInteractive -ExecutionPolicy Bypass -File `"$(Join-Path $Folder 'worker.ps1')`""
    Start-Process -FilePath 'powershell.exe' -ArgumentList $words -WindowStyle Hidden
}

# Seen whole or not at all by the host, which reads it every two seconds.
function Save-WorkerStatus {
    param([Parameter(Mandatory)][string]$Text)
    $new = "$WorkerFile.new"
    [IO.File]::WriteAllText($new, "$Text`r`n")
    Move-Item -LiteralPath $new -Destination $WorkerFile -Force
}

# A starter for each job; and the connection by which the pool calls the startd, which stands as long as it is known there.
function Get-WorkerPhase {
    param([Parameter(Mandatory)][int]$Port)
    if (@(Get-CimInstance -ClassName Win32_Process -Filter "Name = 'condor_starter.exe'").Count) { return 'busy' }
    $all = [Net.NetworkInformation.IPGlobalProperties]::GetIPGlobalProperties().GetActiveTcpConnections()
    $own = @($all | Where-Object { $_.RemoteEndPoint.Port -eq $Port -and $_.State -eq 'Established' })
    if ($own.Count) { 'idle' } else { 'joining' }
}

# Until HTCondor has ended by itself, for nobody wanted it; then the machine does.
function Wait-Worker {
    $port = [int][regex]::Match([IO.File]::ReadAllText($PoolFile), 'COLLECTOR_HOST = .*:(\d+)').Groups[1].Value
    while ((Get-Service -Name 'condor').Status -ne 'Stopped') {
        Save-WorkerStatus -Text (Get-WorkerPhase -Port $port)
        Start-Sleep -Seconds 2
    }
    Save-WorkerStatus -Text 'left'
    Remove-Item -LiteralPath (Join-Path $TokenFolder 'pool') -Force
    Start-Sleep -Seconds 5
    Stop-Computer -Force
}

$public = 'Write-Step', 'Write-Fault', 'Install-Driver', 'Install-Contract', 'Undo-Contract', 'Register-Seal', 'Stop-AutomaticLogon',
    'ConvertFrom-Line', 'Read-Text', 'Show-Notice', 'Get-SessionValue', 'Set-SessionPassword', 'Save-Credential', 'Wait-RemoteDesktop',
    'Update-Certificate', 'Send-Ready', 'Connect-Drive', 'Restart-Drive', 'Wait-Contract', 'Test-FirstLogon', 'Test-AccountProfile',
    'Start-FirstLogon', 'Complete-FirstLogon', 'Stop-FirstLogon', 'Clear-Installation', 'Invoke-Job', 'Start-Worker', 'Wait-Worker'
Export-ModuleMember -Function $public
