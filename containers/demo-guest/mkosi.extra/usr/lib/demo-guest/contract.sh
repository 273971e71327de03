# shellcheck shell=bash disable=SC2034  # used by whoever sources this
# The guest contract's fixed points, the strings that the host gives by SMBIOS type 11, and the mount of the share.
# Sourced, never run.
HOST=169.254.100.2
READY_PORT=54321
ACCOUNT=user1
CREDENTIALS=/run/demo-guest/credentials
MOUNT_POINT=/home/$ACCOUNT/Home

# Sets oem_user, oem_password and oem_shares, which the caller has made empty, to what the host gave. Root only.
read_oem_strings() {
    local string
    while IFS= read -r string; do
        case $string in
        *': user='*) oem_user=${string#*: user=} ;;
        *': password='*) oem_password=${string#*: password=} ;;
        *': shares='*) oem_shares=${string#*: shares=} ;;
        esac
    done < <(dmidecode --quiet --type 11)
}

# has_home SHARES: whether the user's home is among the shares, which stand with commas between them.
has_home() { [[ ,$1, == *,home,* ]]; }

# write_credentials USER PASSWORD: for the mount of the share. printf is a builtin: the password is in no argument list.
write_credentials() {
    [ -d "${CREDENTIALS%/*}" ] || mkdir "${CREDENTIALS%/*}"
    (umask 077 && printf 'username=%s\npassword=%s\n' "$1" "$2" >"$CREDENTIALS")
}

# mount_home LOGIN [OPTION]: the share, as LOGIN says (mount.cifs(8)); its own program, since mount(8) would only start it.
mount_home() {
    mount.cifs "//$HOST/home" "$MOUNT_POINT" -o \
        "$1,vers=3.1.1,sign,uid=$ACCOUNT,gid=$ACCOUNT,iocharset=utf8,nosuid,nodev"
}

# mount_patiently: the share with the session's credentials. Gives up after a while: a desktop without files is
# worth more than none.
mount_patiently() {
    local limit=60
    until mount_home "credentials=$CREDENTIALS"; do
        ((SECONDS < limit)) || { echo "gave up on //$HOST/home after $limit s" >&2 && return; }
        sleep 0.2
    done
}
