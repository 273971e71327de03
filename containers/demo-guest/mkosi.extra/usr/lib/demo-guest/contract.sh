# shellcheck shell=bash
# The guest contract's fixed points, and the strings that the host gives by SMBIOS type 11.
# Sourced, never run.
# shellcheck disable=SC2034  # used by whoever sources this
HOST=169.254.100.2
READY_PORT=54321
ACCOUNT=user1

# Prints the value of the OEM string KEY=value; nothing when there is none. Root only.
oem_string() {
    local count i string
    count=$(dmidecode --quiet --oem-string count)
    for ((i = 1; i <= count; i++)); do
        string=$(dmidecode --quiet --oem-string "$i")
        if [[ $string == "$1="* ]]; then
            printf '%s' "${string#*=}"
            return
        fi
    done
}
