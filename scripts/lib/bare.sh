# Sourced by scripts/fresh: a bare Debian root, how packages get there, and the way into it.

# Print the URL of the archive of Debian that a root is made from.
debian_mirror() {
    local found=${MIRROR:-}
    [ -n "$found" ] || found=$(apt-get indextargets --format '$(REPO_URI)' \
        'Created-By: Packages' 'Origin: Debian' 'Label: Debian' 2>/dev/null | head -n 1)
    printf '%s\n' "${found:-http://deb.debian.org/debian}"
}

# configure_apt ROOT: proxies, certificates and passwords of apt as on this machine. Prints the local paths they name.
configure_apt() {
    local bare=$1
    if command -v apt-config >/dev/null; then
        apt-config dump --no-empty --format '%f "%v";%n' \
            Acquire::http Acquire::https Acquire::Retries Acquire::Check-Date Acquire::Check-Valid-Until \
            >"$bare/etc/apt/apt.conf.d/90machine"
        for file in /etc/apt/auth.conf /etc/apt/auth.conf.d; do
            [ ! -e "$file" ] || cp -a "$file" "$bare/etc/apt/"
        done
    fi
    for scheme in http https; do
        proxy=${scheme}_proxy
        [ -z "${!proxy:-}" ] || printf 'Acquire::%s::Proxy "%s";\n' "$scheme" "${!proxy}"
    done >"$bare/etc/apt/apt.conf.d/80proxy"
    local_paths <"$bare/etc/apt/apt.conf.d/90machine"
}

# configure_pip ROOT: indexes, certificates and proxy of pip as on this machine. Prints the local paths they name.
configure_pip() {
    local bare=$1 python
    python=$(find_pythons | sed -n 1p)
    # Lines such as global.index-url='https://...'; PIP_* of the environment, :env:., come last here and go first for pip.
    {
        printf '[global]\n'
        {
            [ -z "${https_proxy:-}" ] || printf 'proxy = %s\n' "$https_proxy"
            "$python" -m pip config list 2>/dev/null | "$python" -c '
import ast, sys
found = {}
lines = [line.rstrip("\n").partition("=") for line in sys.stdin]
for key, _, value in sorted(lines, key=lambda line: line[0].startswith(":env:")):
    section, _, name = key.rpartition(".")
    if section in ("global", "install", "download", "wheel", ":env:") and name != "config-file":
        found[name] = ast.literal_eval(value)
for name, value in found.items():
    print(name, "=", value.replace("\n", "\n    "))'
        }
    } >"$bare/etc/pip.conf"
    local_paths <"$bare/etc/pip.conf"
}

# Print the files and directories here that a configuration names, as paths or file: URLs. The files of an index of pip
# lie beside its directory `simple`.
local_paths() {
    local path
    { grep -oE "(file://|[[:space:]=\"'])/[^[:space:]\"';]+" || true; } | sed -E 's,^(file://|.),,; s,/simple/*$,,' |
        while read -r path; do [ ! -e "$path" ] || printf '%s\n' "$path"; done
}

# enter_bare WORK COMMAND: in namespaces of our own, mount what a system has in WORK/root, show what WORK/shown lists, and
# run the command in an empty environment.
enter_bare() {
    local bare=$1/root shown=$1/shown command=$2 path
    set -eu
    mount --bind "$bare" "$bare"
    mount -t proc proc "$bare/proc"
    mount -t sysfs -o ro sysfs "$bare/sys"
    [ ! -d /sys/fs/cgroup ] || mount --rbind -o ro /sys/fs/cgroup "$bare/sys/fs/cgroup"
    mount -t tmpfs -o mode=755 dev "$bare/dev"
    mkdir "$bare/dev/pts" "$bare/dev/shm"
    for path in null zero full random urandom tty; do
        : >"$bare/dev/$path"
        mount --bind "/dev/$path" "$bare/dev/$path"
    done
    mount -t devpts -o newinstance,ptmxmode=0666,mode=620,gid=5 devpts "$bare/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$bare/dev/shm"
    ln -s pts/ptmx "$bare/dev/ptmx"
    ln -s /proc/self/fd "$bare/dev/fd"
    for path in stdin:0 stdout:1 stderr:2; do
        ln -s "/proc/self/fd/${path#*:}" "$bare/dev/${path%:*}"
    done
    while read -r path; do
        if [ -d "$path" ]; then
            mkdir -p "$bare$path"
        else
            mkdir -p "$bare${path%/*}"
            [ -e "$bare$path" ] || : >"$bare$path"
        fi
        mount --bind -o ro "$path" "$bare$path"
    done <"$shown"
    # Not chroot(2): the kernel makes no user namespace for a process with another root than its mount namespace.
    mkdir "$bare/old"
    cd "$bare"
    pivot_root . old
    umount -l /old
    rmdir /old
    # Not exec: this shell is the first process of its namespace, and reaps what nobody else does.
    /usr/bin/env -i /bin/sh -c "cd /srv/mpshell && $command"
}
