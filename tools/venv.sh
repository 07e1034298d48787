# Functions shared by the scripts in this directory, which source it from the root of the
# repository. They make one virtual environment, .venv, and keep it as long as it fits.
#
#     need_python            choose and check the interpreter: PYTHON, else python3
#     need_debian [package]  have these Debian packages installed, and python3-venv if it is missing
#     need_venv <extra>...   have .venv with at least these extras of the package
#
# shellcheck shell=bash

die() {
    printf '%s: %s\n' "$0" "$*" >&2
    exit 1
}

# Run a command whose output is of interest only if it fails.
quietly() {
    local output status=0
    output=$("$@" 2>&1 </dev/null) || status=$?
    ((status == 0)) || printf '%s\n%s: failed (%d): %s\n' "$output" "$0" "$status" "$*" >&2
    return "$status"
}

install_debian() {
    if ((EUID != 0)); then
        printf '%s: some Debian packages are missing. Install them with this command:\n' "$0" >&2
        printf '    sudo apt-get install --no-install-recommends %s\n' "$*" >&2
        exit 1
    fi
    command -v apt-get >/dev/null || die "no apt-get here; what is missing are Debian's $*"
    printf 'Installing Debian packages: %s\n' "$*"
    quietly apt-get update || die 'the package lists could not be updated'
    quietly env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=120 \
        install -y --no-install-recommends "$@" || die 'the packages could not be installed'
}

need_python() {
    local wanted=${PYTHON:-python3} version
    [[ $wanted != python3 ]] || command -v python3 >/dev/null || install_debian python3 python3-venv
    # Of an activated virtual environment only the interpreter below it is of use: the environment
    # may be the very one that is about to be replaced.
    PYTHON=$("$wanted" -c 'import sys; print(getattr(sys, "_base_executable", sys.executable))') ||
        die "$wanted does not run. Set PYTHON to a Python 3.11, 3.12 or 3.13."
    version=$("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    case $version in
    3.11 | 3.12 | 3.13) ;;
    *) die "$wanted is Python $version. Set PYTHON to a Python 3.11, 3.12 or 3.13." ;;
    esac
}

need_debian() {
    local missing=("$@")
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || missing=(python3-venv "${missing[@]}")
    ((${#missing[@]} == 0)) || install_debian "${missing[@]}"
    # Debian's package is for Debian's own Python only.
    "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null ||
        die "$PYTHON cannot make virtual environments. Set PYTHON to a complete Python."
}

# Everything that makes an environment unfit when it changes: the interpreter, the place (an
# environment cannot be moved) and what is to be installed.
venv_fingerprint() {
    {
        "$PYTHON" -c 'import sys; print(sys.version, sys.executable)'
        pwd
        local file
        for file in constraints.txt pyproject.toml requirements.txt setup.cfg setup.py; do
            printf '%s\n' "$file"
            [[ ! -e $file ]] || cat "$file"
        done
    } | sha256sum
}

need_venv() {
    local stamp=.venv/installed fingerprint recorded='' extras='' extra missing=
    fingerprint=$(venv_fingerprint)
    [[ ! -e $stamp ]] || { read -r recorded && read -r extras; } <"$stamp" || true
    if [[ $recorded != "$fingerprint" || ! -x .venv/bin/python ]]; then
        rm -rf .venv
        extras=
    fi
    for extra in "$@"; do
        [[ ,$extras, == *,"$extra",* ]] || missing+=,$extra
    done
    [[ -n $missing ]] || return 0

    extras=${extras:+$extras,}${missing#,}
    printf 'Preparing .venv with the extras %s\n' "$extras"
    # The stamp is there only while the environment is whole.
    rm -f "$stamp"
    [[ -x .venv/bin/python ]] || quietly "$PYTHON" -m venv .venv || die 'no .venv could be made'
    # What an installation from here has left would be found first, with entry points of its time.
    rm -rf cells.egg-info
    # pbr takes the version from git. Without a usable repository, as in an unpacked archive, any
    # version does for running from here.
    git rev-parse --git-dir >/dev/null 2>&1 || export PBR_VERSION="${PBR_VERSION:-0.0.0}"
    PIP_ROOT_USER_ACTION=ignore quietly .venv/bin/python -m pip --disable-pip-version-check \
        install --no-input --quiet -c constraints.txt -e ".[$extras]" ||
        die 'the Python packages could not be installed'
    printf '%s\n%s\n' "$fingerprint" "$extras" >"$stamp"
}
