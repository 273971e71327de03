# The account that sessions log in with: $account. Groups by their SIDs: names are in the guest's language.
Set-StrictMode -Version 3.0
$ErrorActionPreference = 'Stop'
$user = Get-CimInstance -ClassName Win32_UserAccount -Filter "LocalAccount = TRUE AND Name = '$account'"
if (-not $user -or $user.Disabled) {
    'account.enabled=no'
    return
}
'account.enabled=yes'
"account.id=$($user.SID)"
if ($user.PasswordExpires) { 'account.expires=some day' } else { 'account.expires=never' }
Get-CimAssociatedInstance -InputObject $user -ResultClassName Win32_Group |
    ForEach-Object { "account.group=$($_.SID)" }
