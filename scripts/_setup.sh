# Sourced by the other scripts: a virtual environment with what they need, made once and
# renewed when setup.cfg changes. Usage: setup_venv EXTRAS
set -eu
asked_from=$PWD
script=$(basename "$0")
cd "$(dirname "$0")/.."
root=$PWD

say() { printf 'scanpush: %s\n' "$*" >&2; }

asks_for_help() {
    for argument in "$@"; do
        case $argument in -h | --help) return 0 ;; esac
    done
    return 1
}

# The comment at the head of the script.
tell_usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "scripts/$script"; }

find_python() {
    for candidate in "${PYTHON:-}" python3.13 python3.12 python3.11 python3; do
        [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    say "needs Python 3.11 or newer with venv (on Debian: apt-get install python3-venv)"
    exit 1
}

setup_venv() {
    extras=$1
    stamp=.venv/installed-$(echo "$extras" | tr , -)
    if [ ! -e "$stamp" ] || [ setup.cfg -nt "$stamp" ]; then
        # One that was interrupted while it was made has a python, but no pip yet.
        if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
            say "making .venv"
            "$(find_python)" -m venv --clear .venv
        fi
        say "installing dependencies${extras:+ for $extras}"
        .venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}"
        touch "$stamp"
    fi
}

# Debian packages by command: debian_packages redis-server:redis-server chromium:chromium
debian_packages() {
    missing=
    for pair in "$@"; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair#*:}"
    done
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        say "not installed, and not ours to install here:$missing (what needs them is skipped)"
        return 0
    fi
    say "installing$missing"
    # Another package manager may be at work: wait for it.
    apt-get update -qq -o DPkg::Lock::Timeout=300 >/dev/null
    # shellcheck disable=SC2086  # a list of packages
    DEBIAN_FRONTEND=noninteractive apt-get install -qq -y -o DPkg::Lock::Timeout=300 --no-install-recommends $missing >/dev/null
}
