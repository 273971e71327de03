# shellcheck shell=bash disable=SC2034  # used by whoever sources this
# The guest contract's fixed points, and the strings that the host gives by SMBIOS type 11.
# Sourced, never run.
HOST=169.254.100.2
READY_PORT=54321
ACCOUNT=user1
CREDENTIALS=/run/demo-guest/credentials

# Sets oem_user and oem_password, which the caller has made empty, to what the host gave. Root only.
read_oem_strings() {
    local string
    while IFS= read -r string; do
        case $string in
        *': user='*) oem_user=${string#*: user=} ;;
        *': password='*) oem_password=${string#*: password=} ;;
        esac
    done < <(dmidecode --quiet --type 11)
}
