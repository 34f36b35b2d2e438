# Sourced by the scripts beside: a virtual environment of the project's own, made without anything of the
# user's. Needs $root, the top of the checkout.

unset "${!PYTHON@}"
# A shell without a PATH has one of its own, and keeps it from what it starts.
export PATH

say() { printf '%s\n' "$*" >&2; }

# python_version PYTHON: print X.Y.Z and the path of a CPython >= 3.11, or nothing.
python_version() {
    "$1" -c 'import sys
if sys.version_info >= (3, 11) and sys.implementation.name == "cpython":
    print("%d.%d.%d" % sys.version_info[:3], sys.executable)' 2>/dev/null || true
}

# Print the interpreters of CPython >= 3.11 on this machine, one of each version, the default one first.
find_pythons() {
    local seen=" " candidate found default
    # A default Python that pyenv manages has its brothers beside it, in .../versions/X.Y.Z/bin.
    default=$(python3 -c 'import sys; print(sys.base_prefix)' 2>/dev/null || true)
    for candidate in python3 python3.{11..20} /usr/bin/python3 /usr/local/bin/python3 \
        "${PYENV_ROOT:-${HOME:-/nonexistent}/.pyenv}"/versions/*/bin/python3 "${default%/*}"/*/bin/python3; do
        candidate=$(command -v "$candidate" 2>/dev/null) || continue
        found=$(python_version "$candidate")
        case "$seen" in *" ${found%% *} "*) continue ;; esac
        [ -n "$found" ] || continue
        seen="$seen${found%% *} "
        printf '%s\n' "${found#* }"
    done
}

# install_packages PACKAGE...: install Debian packages, where that is possible.
install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        say "These are needed and not here: $*. Install them (as root: apt-get install $*)."
        return 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    say "Installing $* ..."
    # Another apt-get may be at work: its lock is waited for.
    set -- -o DPkg::Lock::Timeout=300 install -qq -y --no-install-recommends "$@"
    apt-get "$@" >/dev/null 2>&1 || { apt-get update -qq && apt-get "$@" >/dev/null; } >&2
}

# make_venv PYTHON EXTRAS: make or reuse the environment; its directory is in $venv afterwards.
make_venv() {
    local python=$1 extras=$2 version stamp
    version=$(python_version "$python")
    version=${version%% *}
    venv=$root/.venv-$version${extras:+-$extras}
    stamp=$(cksum <"$root/pyproject.toml")-$python-$root
    if [ "$(cat "$venv/.stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    rm -rf "$venv"
    say "Making ${venv##*/} ..."
    if ! "$python" -c 'import ensurepip' 2>/dev/null; then
        install_packages "python${version%.*}-venv" || true
    fi
    "$python" -m venv "$venv" >/dev/null 2>&1 || {
        # No ensurepip, and no right to install it: pip can bring virtualenv into a place of ours.
        rm -rf "$venv"
        "$python" -m pip install --quiet --target "$venv-tool" virtualenv
        PYTHONPATH=$venv-tool "$python" -m virtualenv --quiet "$venv"
        rm -rf "$venv-tool"
    }
    "$venv/bin/python" -m pip install --quiet --disable-pip-version-check -e "$root${extras:+[$extras]}" >&2
    printf '%s' "$stamp" >"$venv/.stamp"
}
