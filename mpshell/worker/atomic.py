"""Copies that arrive whole or not at all: scripts for a POSIX shell, here and on the node.

    here: sh ─ opens the file, becomes ─► ssh ═════► node: sh RECEIVE ─► DIR/file ─► rename to the target

The receiving side does everything by itself. It writes into a directory of its own beside the target,
checks the size against the expected one, renames the file, and removes its directory in every case. A cut
connection is an end of file there, and a wrong size. So nothing is left on the node, whatever became of
the sending side; only SIGKILL of the receiving shell leaves the directory.

The directory, and not a name that is hard to guess, keeps other users out: every user reads the arguments
of commands in `ps`, and a shell cannot create a file and be sure that it is new (its noclobber opens a FIFO
that is there; `cp` follows a symbolic link). mkdir(2) fails when anything is there, and nobody else makes
an entry in a directory of mode 0700.

Pure: text for commands, and one stat(2). Called by workers in the thread of the task.
"""

from __future__ import annotations

import os
import shlex
import stat
import time

from mpshell.errors import WorkerError
from mpshell.wire.messages import RANK, Template
from mpshell.worker.copy import Copy

#: Beginning of the names of temporary directories.
PREFIX = ".mpshell-"


def _script(text: str) -> str:
    """Return a script as one line, without its comments (lines that begin with #).

    The user's shell on the node, which passes it on to /bin/sh, may be a csh or a fish: so no script holds a
    newline, a backslash or an exclamation mark.
    """
    lines = (line.strip() for line in text.split("\n"))
    return " ".join(line for line in lines if line and not line.startswith("#"))


# In all scripts: $d target, $b its name, $p its directory, $t name of our directory and of the file in it,
# $n size that is expected, $m mode, $o set while our directory may be there.

_HOME = """
# A remote path with ~ is quoted on its way: so it is resolved here.
case $d in
"~") d=$HOME ;;
"~/"*) d=$HOME/${d#"~/"} ;;
/*) ;;
# A slash in it in any case, for $p; and no name that begins with a dash.
*) d=./$d ;;
esac;
"""

_MAKE_DIRECTORY = """
# A target that is a directory gets the file under its own name, as with cp.
if [ -d "$d" ]; then d=${d%/}/$b; fi;
if [ -d "$d" ]; then echo "mpshell: $d: is a directory" >&2; exit 1; fi;
p=${d%/*}; b=${d##*/}; t=$t-$$;
# An exit by a signal runs the EXIT trap too, but only where the signal is trapped (dash).
trap 'if [ -n "$o" ]; then rm -f -- "$p/$t/$t" "$p/$t/${t}x";
if [ -d "$p/$t/${t}d" ]; then rmdir -- "$p/$t/${t}d"; fi; rmdir -- "$p/$t"; fi' EXIT;
trap 'exit 1' HUP INT TERM PIPE;
# Set before: a signal that comes with the end of mkdir must not leave the directory behind.
o=y;
# The umask for a mkdir that makes the directory first and changes its mode then; -m for a directory with a
# default ACL, where the umask does not count.
(umask 077; mkdir -m 700 -- "$p/$t") ||
{ o=; echo "mpshell: $d: a copy in one step needs a directory of its own beside it" >&2; exit 1; };
"""

#: For a subshell: go into our directory. Whatever is done there is done without its name, as another user
#: may put something else under that name: one that owns the directory of the target (root copies to a
#: user's home), or may write there without a sticky bit. So it has to be proved that this is our directory.
#: A failure is status 3, where a file that is not whole is status 1.
_ENTER = """
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

_TAKE = """
(umask 077; set -C; exec cat >"$t") || exit 3;
"""

_SIZE = """
s=$(wc -c <"$t") || exit 1;
if [ "$s" -eq "$n" ]; then :; else echo "mpshell: $d: got $((s)) bytes of $((n))" >&2; exit 1; fi;
"""

_MODE = """
# The mode less the umask, digit by digit: not every shell takes a number with a leading 0 for an octal one.
k=000$k; u=000$(umask); v=;
for i in 1 2 3; do v=$((${k#"${k%?}"} & ~${u#"${u%?}"}))$v; k=${k%?}; u=${u%?}; done;
chmod "$v" "$t" || exit 1;
"""

_RENAME = """
# -T: a directory, or a link to one, that has come to the place of the target meanwhile gets nothing in it.
e=$(mv -fT -- "$t" "../$b" 2>&1) ||
# Not every mv has it. Where it works, this was a failure of the rename.
if mv -T -- "$t" "${t}x" 2>/dev/null; then echo "$e" >&2; exit 1; else mv -f -- "$t" "../$b" || exit 1; fi;
"""

#: stdin to a target. Arguments: target, name in a directory, size, mode, temporary name, and with
#: `preserve` the access and modification time for touch -t.
_RECEIVE = _script(
    "d=$1; b=$2; n=$3; k=$4; t=$5; o=;"
    + _HOME
    + _MAKE_DIRECTORY
    + "("
    + _ENTER
    + _TAKE
    + _SIZE
    + """
if [ -n "$6" ]; then
chmod "$k" "$t" && TZ=UTC0 touch -a -t "$6" "$t" && TZ=UTC0 touch -m -t "$7" "$t" || exit 1;
else
"""
    + _MODE
    + "fi;"
    + _RENAME
    + ") || exit 1;"
)

#: A file to stdout, behind one line with its size, mode and times. Argument: the file.
_SEND = _script(
    "d=$1;"
    + _HOME
    + """
if [ -d "$d" ]; then echo "mpshell: $d: is a directory, which cannot arrive in one step" >&2; exit 1; fi;
exec <"$d" || exit 1;
n=$(wc -c <"$d") && m=$(stat -L -c "%a %X %Y" "$d") || exit 1;
echo "mpshell" $n $m && exec cat
"""
)

#: What `_SEND` writes over a program to a target here. Arguments: target, temporary name, y to preserve,
#: the program and its arguments. The program's own failure is the exit status.
_FETCH = _script(
    "d=$1; t=$2; q=$3; shift 3; b=; o=;"
    + _MAKE_DIRECTORY
    + """
# Three things come of the pipeline: what is to be shown (descriptor 3, our stdout), the exit status of the
# program (descriptor 4, into $c), and that of the receiving side ($r).
exec 3>&1; r=0;
c=$({
# The program runs where we are, for its own relative paths, and holds neither descriptor.
{ "$@" 3>&- 4>&-; echo "$?" >&4; } | {
# Anything else in front of the file, of a start-up file on the node, is shown and ends the copy.
read -r h n k x y || exit 1;
# Numbers only: some shells expand a $(command) within arithmetic, and the node would run it here.
case $h:$n:$k in
mpshell:*[!0-9:]*|mpshell::*|*:) false ;;
mpshell:*) ;;
*) false ;;
esac || { echo "mpshell: $d: $h $n $k" >&2; exit 3; };
a=$x;
"""
    + _ENTER
    + _TAKE
    + _SIZE
    + """
if [ -n "$q" ]; then
chmod "$k" "$t" && touch -a -d "@$a" "$t" && touch -m -d "@$y" "$t" || exit 1;
else
"""
    + _MODE
    + """
fi; } >&3 3>&- 4>&-; } 4>&1) || r=$?;
# Our own failure ends the program as well, which is no failure of its own.
if [ "$r" = 3 ]; then exit 1; fi;
# A program that failed may have sent everything: then it is not known to be everything.
if [ "$c" != 0 ]; then exit "${c:-1}"; fi;
[ "$r" = 0 ] || exit 1;
("""
    + _ENTER
    + _RENAME
    + ") || exit 1;"
)

#: A file here to a target here. Arguments: file, target, name in a directory, temporary name, -p or not.
_LOCAL = _script(
    """
f=$1; d=$2; b=$3; t=$4; k=$5; o=;
case $d in /*) ;; *) d=./$d ;; esac;
case $f in /*) ;; *) f=./$f ;; esac;
"""
    + _MAKE_DIRECTORY
    + """
if [ -d "$f" ]; then echo "mpshell: $f: is a directory, which cannot arrive in one step" >&2; exit 1; fi;
# cp is started elsewhere. A file below a directory that can only be reached from within has no full path.
exec 3<"$f" || exit 1;
case $f in /*) ;; *) f=$PWD/$f; [ -e "$f" ] || f=/dev/fd/3 ;; esac;
n=$(wc -c <"$f") || exit 1;
("""
    + _ENTER
    + """
cp $k -- "$f" "$t" || exit 1;
"""
    + _SIZE
    + _RENAME
    + ") || exit 1;"
)

#: A program with a file as its stdin. Arguments: the file, the program and its arguments.
_OPEN = 'f=$1; shift; exec "$@" <"$f"'


def _remote(script: str, *words: str | Template) -> Template:
    """Return the text of a command for a node: the script with its arguments, each quoted."""
    parts: list[str | int] = ["exec /bin/sh -c ", shlex.quote(script), " sh"]
    for word in words:
        parts.append(" ")
        parts += [shlex.quote(word)] if isinstance(word, str) else word
    return tuple(parts)


def temporary() -> Template:
    """Return a name that no other copy has, on no node: many may share one file system.

    It need not be secret: see the top.
    """
    return (f"{PREFIX}{os.urandom(8).hex()}-", RANK)


def check_names(copy: Copy) -> None:
    """Raise WorkerError for names that would not reach a node as they are."""
    path = copy.source if copy.reverse else copy.dest
    if path.startswith("~") and path != "~" and not path.startswith("~/"):
        raise WorkerError(f"{path!r}: another user's home is not known here; say ./~ for a name")
    _check_quoted(path)
    if not copy.reverse:
        _check_quoted(copy.name)


def _check_quoted(path: str) -> None:
    if "\\" in path or "!" in path:
        # What a shell other than sh would make of it is not sure.
        raise WorkerError(f"{path!r}: a backslash or exclamation mark cannot be in an atomic copy")


def receiver(copy: Copy) -> Template:
    """Return the command for a node that makes the target of a copy of its input."""
    try:
        found = os.stat(copy.source)
        size, mode = found.st_size, stat.S_IMODE(found.st_mode)
        times = [_stamp(seconds) for seconds in (found.st_atime, found.st_mtime)]
    except OSError:
        # Each node's copy will say so, as one does that finds it gone later.
        size, mode, times = 0, 0, ["", ""]
    if not copy.preserve:
        times = ["", ""]
    return _remote(_RECEIVE, copy.dest, copy.name, str(size), f"{mode:o}", temporary(), *times)


def send(copy: Copy, program: tuple[Template, ...]) -> tuple[Template, ...]:
    """Return the words that copy a file over `program`, which takes a command for the node at its end."""
    return (*_words("/bin/sh", "-c", _OPEN, "sh", copy.source), *program, receiver(copy))


def fetch(copy: Copy, program: tuple[Template, ...], target: Template) -> tuple[Template, ...]:
    """Return the words that copy a node's file over `program` to a target here."""
    before = (*_words("/bin/sh", "-c", _FETCH, "sh"), target, temporary())
    preserve = "y" if copy.preserve else ""
    return (*before, (preserve,), *program, _remote(_SEND, copy.source))


def local(source: Template, dest: Template, name: Template, preserve: bool) -> tuple[Template, ...]:
    """Return the words that copy a file here to a target here."""
    before = _words("/bin/sh", "-c", _LOCAL, "sh")
    return (*before, source, dest, name, temporary(), ("-p" if preserve else "",))


def _stamp(seconds: float) -> str:
    """Return a time as touch -t takes it, of UTC."""
    return time.strftime("%Y%m%d%H%M.%S", time.gmtime(seconds))


def _words(*words: str) -> tuple[Template, ...]:
    return tuple((word,) for word in words)
