"""Parts of the scripts that receive files: text for a POSIX shell, shared by atomic and relay copies. Pure."""

from __future__ import annotations

#: Beginning of the names of temporary directories.
PREFIX = ".mpshell-"


def script(text: str) -> str:
    """Return a script as one line, without its comments (lines that begin with #).

    The user's shell on the node, which passes it on to /bin/sh, may be a csh or a fish: so no script may
    contain a newline, a backslash or an exclamation mark.
    """
    lines = (line.strip() for line in text.split("\n"))
    return " ".join(line for line in lines if line and not line.startswith("#"))


# In all scripts: $d target, $b its name, $p its directory, $t name of our directory and of the file in it,
# $n expected size, $m mode, $o set while our directory may exist.

HOME = """
# A remote path with ~ is quoted on its way: so it is resolved here.
case $d in
"~") d=$HOME ;;
"~/"*) d=$HOME/${d#"~/"} ;;
/*) ;;
# A slash in it in any case, for $p; and no name that begins with a dash.
*) d=./$d ;;
esac;
"""

TARGET = """
# A target that is a directory gets the file under its own name, as with cp.
if [ -d "$d" ]; then d=${d%/}/$b; fi;
if [ -d "$d" ]; then echo "mpshell: $d: is a directory" >&2; exit 1; fi;
p=${d%/*}; b=${d##*/};
"""

MAKE = """
# The umask for a mkdir that makes the directory first and changes its mode then; -m for a directory with a
# default ACL, where the umask does not count.
(umask 077; mkdir -m 700 -- "$p/$t") ||
"""

#: For a subshell: go into our directory. From then on its name is not used, because another user
#: may put something else under that name: one that owns the directory of the target (root copies to a
#: user's home), or may write there without a sticky bit. So the script verifies that this is our directory.
#: Status 3 is a failure of that, status 1 an incomplete file.
ENTER = """
# -P: with a .. behind a symbolic link, mkdir has gone where the kernel does.
cd -P -- "$p/$t" || exit 3;
u=$(id -u);
# Private and ours: nobody else can make an entry here. (In a ksh, $m $l $w $x are set in this shell too.)
ls -ldn . | { read -r m l w x; case $m in drwx--[-S]---*) [ "$w" = "$u" ] ;; *) false ;; esac; } ||
# The file system shows another owner (NFS for root): then also of a directory that is made now.
{ mkdir -- "${t}d" && { ls -ldn . && ls -ldn -- "${t}d"; } |
{ read -r m l w x; read -r x l v x; case $m in drwx--[-S]---*) [ "$w" = "$v" ] ;; *) false ;; esac; }; } ||
# It has no modes (FAT): only root or we can make an entry beside the target, so nobody has replaced ours.
ls -ldn .. | { read -r m l w x; case $m in d????-??-*) [ "$w" = 0 ] || [ "$w" = "$u" ] ;; *) false ;; esac &&
[ "../$t" -ef . ] && if [ -h "../$t" ]; then false; fi; } ||
{ rmdir -- "${t}d"; echo "mpshell: $d: other users can change what is beside it" >&2; exit 3; };
if [ -d "${t}d" ]; then rmdir -- "${t}d"; fi;
# Not every mkdir -m keeps this bit, by which the file gets the group of the directory of the target.
if [ -g .. ]; then chmod g+s . ; fi;
"""

MODE = """
# The mode less the umask, digit by digit: not every shell takes a number with a leading 0 for an octal one.
k=000$k; u=000$(umask); v=;
for i in 1 2 3; do v=$((${k#"${k%?}"} & ~${u#"${u%?}"}))$v; k=${k%?}; u=${u%?}; done;
chmod "$v" "$t" || exit 1;
"""

RENAME = """
# -T: a directory, or a link to one, that has come to the place of the target meanwhile gets nothing in it.
e=$(mv -fT -- "$t" "../$b" 2>&1) ||
# Not every mv has it. Where it works, this was a failure of the rename.
if mv -T -- "$t" "${t}x" 2>/dev/null; then echo "$e" >&2; exit 1; else mv -f -- "$t" "../$b" || exit 1; fi;
"""
