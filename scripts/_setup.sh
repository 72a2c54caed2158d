# Sourced by the other scripts: a virtual environment with what they need, made once and
# renewed when setup.cfg changes. Usage: setup_venv EXTRAS
# PYTHON names an interpreter; without it the newest is taken that is found.
set -eu
asked_from=$PWD
script=$(basename "$0")
cd "$(dirname "$0")/.."
root=$PWD
venv=.venv

say() { printf 'scanpush: %s\n' "$*" >&2; }

asks_for_help() {
    for argument in "$@"; do
        case $argument in -h | --help) return 0 ;; esac
    done
    return 1
}

# The comment at the head of the script.
tell_usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "scripts/$script"; }

# What might be a Python, by name or path: on the PATH, and what pyenv keeps. pyenv also puts a
# command for each version on the PATH, which fails for all but those that are switched on.
python_candidates() {
    kept=${PYENV_ROOT:-$(pyenv root 2>/dev/null || echo "${HOME:-}/.pyenv")}
    for version in 3.13 3.12 3.11; do
        echo "python$version"
        for path in "$kept/versions/$version."*/bin/python$version; do
            echo "$path"
        done
    done
    echo python3
}

# One Python of a version, by its path; nothing where there is none.
python_of() {
    for path in "python$1" "${PYENV_ROOT:-$(pyenv root 2>/dev/null || echo "${HOME:-}/.pyenv")}/versions/$1."*/bin/"python$1"; do
        if "$path" -c 'import venv, ensurepip' >/dev/null 2>&1; then
            echo "$path"
            return
        fi
    done
}

# The Pythons that the tests are run on, as far as they are here: version and path, newest first.
tested_pythons() {
    python_candidates | while read -r candidate; do
        "$candidate" -c '
import ensurepip, sys, venv
if (3, 11) <= sys.version_info < (3, 14) and sys.version_info.releaselevel == "final":
    print("%d.%d.%d" % sys.version_info[:3], sys.executable)
' 2>/dev/null </dev/null || :
    done | sort -t . -k 2,2nr -k 3,3nr | awk '{ split($1, part, "."); if (!seen[part[2]]++) print }'
}

# $PYTHON, or the newest that is tested, or any newer one.
find_python() {
    newest=$(tested_pythons | sed -n '1s/[^ ]* //p')
    for candidate in "${PYTHON:-}" "$newest" python3; do
        [ -n "$candidate" ] || continue
        if "$candidate" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    say "needs Python 3.11 or newer with venv (on Debian: apt-get install python3-venv)"
    exit 1
}

minor_version() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

# Whether PYTHON asks for another version than the virtual environment has.
is_of_another_python() {
    [ -n "${PYTHON:-}" ] && asked=$(minor_version "$PYTHON") && [ "$(minor_version $venv/bin/python)" != "$asked" ]
}

setup_venv() {
    extras=$1
    stamp=$venv/installed-$(echo "$extras" | tr , -)
    if is_of_another_python; then
        rm -rf $venv
    fi
    if [ ! -e "$stamp" ] || [ setup.cfg -nt "$stamp" ]; then
        # One that was interrupted while it was made has a python, but no pip yet.
        if ! $venv/bin/python -m pip --version >/dev/null 2>&1; then
            python=$(find_python)
            say "making $venv"
            "$python" -m venv --clear $venv
        fi
        say "installing dependencies${extras:+ for $extras}"
        $venv/bin/python -m pip install --quiet --disable-pip-version-check -e ".${extras:+[$extras]}"
        touch "$stamp"
    fi
}

# A virtual environment with the packages of requirements.lock and no others, each checked by its hash.
setup_locked() {
    venv=.venv-locked
    if [ ! -e $venv/installed ] || [ requirements.lock -nt $venv/installed ]; then
        say "installing requirements.lock"
        "$(find_python)" -m venv --clear $venv
        $venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
        touch $venv/installed
    fi
}

# The npm packages of a folder's package.json, beside it; what needs them asks whether they are there.
npm_packages() {
    modules=$1/node_modules
    [ ! -e "$modules" ] || [ "$1/package.json" -nt "$modules" ] || return 0
    say "installing the packages of $1"
    if command -v npm >/dev/null 2>&1 &&
        npm install --silent --no-audit --no-fund --no-package-lock --prefix "$1" >/dev/null; then
        touch "$modules"
    else
        say "THE NPM PACKAGES OF $1 CANNOT BE HAD: WHAT NEEDS THEM IS SKIPPED"
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
