# shellcheck shell=bash
# What the host-side scripts share: where the repo is, who does the work, how we speak.
# Sourced, never run. Must do nothing by itself but set names.

REPO=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export REPO

say() { printf '7lbd: %s\n' "$*" >&2; }

die() {
    say "error: $1"
    if [ -n "${2:-}" ]; then say "  $2"; fi
    exit 1
}

# A build takes no input: whoever reads the terminal from the background, or sets it, is stopped there for good, and a
# terminal need not have anybody in front of it. Every script that builds begins with it.
no_input() { exec </dev/null; }

# Runs a command as root: straight away when we are root, by sudo otherwise.
as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "'$1' needs root, and there is no sudo here" "run 'make setup' once as root"
    fi
}

# Asks nothing, waits for another apt to finish, and is quiet unless it fails.
apt_get() {
    local log
    log=$(mktemp)
    if ! as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" \
        </dev/null >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# The ordinary user that builds and runs: whoever called, or, for root, the person behind
# sudo, or else an account of our own. Nothing of the appliance ever runs as root.
ordinary_user() {
    if [ "$(id -u)" != 0 ]; then
        id -un
    elif [ -n "${SUDO_USER:-}" ] && [ "$SUDO_USER" != root ]; then
        printf '%s\n' "$SUDO_USER"
    else
        printf '%s\n' "${SEVENLBD_BUILD_USER:-sevenlbd}"
    fi
}

# appliance VERB...: becomes a call of the appliance. What is meant for the build is no setting of a session's.
appliance() {
    exec env -u SEVENLBD_BUILD_USER -u SEVENLBD_MIRROR -u SEVENLBD_SIF_BASE -u SEVENLBD_SIF_COMPRESSION \
        apptainer run "$REPO/build/7lbd.sif" "$@"
}

# download_debs FOLDER SUITE PACKAGE...: fetches packages of another Debian suite into FOLDER/debs. apt gets a state of
# its own in FOLDER, so that the machine never sees that suite. Debian's signatures are checked as always.
download_debs() {
    local folder=$1 suite=$2 mirror apt
    shift 2
    # shellcheck disable=SC2016  # apt's own variable
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Origin: Debian' 'Label: Debian' | head -n 1)
    [ -n "$mirror" ] || die "this machine's apt knows no Debian mirror" "packages of Debian $suite are wanted: $*"
    mkdir -p "$folder"/{lists/partial,cache/archives/partial,debs}
    : >"$folder/status"
    printf 'deb [signed-by=%s] %s %s main\n' /usr/share/keyrings/debian-archive-keyring.gpg "$mirror" "$suite" \
        >"$folder/sources.list"
    apt=(apt-get -qq -o Dir::Etc::SourceList="$folder/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
        -o Dir::State="$folder" -o Dir::State::Lists="$folder/lists" -o Dir::State::Status="$folder/status"
        -o Dir::Cache="$folder/cache" -o APT::Sandbox::User= -o Acquire::Languages=none)
    "${apt[@]}" update >&2
    (cd "$folder/debs" && "${apt[@]}" download "$@" >&2)
}
