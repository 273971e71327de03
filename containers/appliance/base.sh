#!/bin/sh
# Makes a Debian 13 tree into the appliance's base: its packages, less what nobody needs.
#
# Runs as root inside the tree, either as %post on a site's Debian image or as mmdebstrap's last
# hook, which has the packages installed already. Done once: a tree that has its record is left alone.
set -eu

here=/usr/share/7lbd
record=$here/debian-packages.tsv

main() {
    [ ! -e "$record" ] || return 0
    install_packages
    record_versions
    prune
    compile_stdlib
}

lines() { sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$1"; }

install_packages() {
    # shellcheck disable=SC2046  # a list of names
    dpkg-query -W $(lines $here/packages.txt) >/dev/null 2>&1 && return
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q update
    # shellcheck disable=SC2046
    apt-get -q -y install --no-install-recommends $(lines $here/packages.txt)
}

record_versions() {
    # shellcheck disable=SC2016  # dpkg's own variables
    dpkg-query -W -f '${Package}\t${Version}\n' >"$record"
}

prune() {
    lines $here/prune.txt | while read -r glob; do
        # shellcheck disable=SC2086  # a glob
        rm -rf $glob
    done
    # Licences ask for their text to travel along.
    find /usr/share/doc -not -type d -not -name copyright -delete
    find /usr/share/doc -depth -type d -empty -delete
    # /usr only: the builder's own /tmp and home are mounted while Apptainer runs this.
    find /usr/lib /usr/share -name __pycache__ -prune -exec rm -rf {} +
}

# Unchecked: nothing in a read-only image changes, so nothing needs to be looked at again.
compile_stdlib() {
    python3 -m compileall -q -j 2 --invalidation-mode unchecked-hash /usr/lib/python3.13
}

main
