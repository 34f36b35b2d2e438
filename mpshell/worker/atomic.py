"""Copies that arrive whole or not at all: scripts for a POSIX shell, here and on the node.

    here: sh ─ opens the file, becomes ─► ssh ═════► node: sh RECEIVE ─► DIR/file ─► rename to the target

The receiving side does everything by itself. It writes into a directory of its own beside the target,
compares the size with the expected one, renames the file, and removes its directory in every case. There a cut
connection is an end of file and a wrong size. So nothing is left on the node, whatever happened to
the sending side; only SIGKILL of the receiving shell leaves the directory.

The directory, and not a name that is hard to guess, keeps other users out: every user can read the arguments
of commands in `ps`, and a shell cannot create a file and be sure that it is new (its noclobber opens an
existing FIFO; `cp` follows a symbolic link). mkdir(2) fails if the name exists, and no other user can make an
entry in a directory of mode 0700.

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
from mpshell.worker.parts import ENTER, HOME, MAKE, MODE, PREFIX, RENAME, TARGET, script

_MAKE_DIRECTORY = (
    TARGET
    + """
t=$t-$$;
# An exit by a signal runs the EXIT trap too, but only where the signal is trapped (dash).
trap 'trap "" HUP INT TERM PIPE; if [ -n "$o" ]; then rm -f -- "$p/$t/$t" "$p/$t/${t}x";
if [ -d "$p/$t/${t}d" ]; then rmdir -- "$p/$t/${t}d"; fi; rmdir -- "$p/$t"; fi' EXIT;
trap 'exit 1' HUP INT TERM PIPE;
# Set before: a signal that comes with the end of mkdir must not leave the directory behind.
o=y;
"""
    + MAKE
    + """
{ o=; echo "mpshell: $d: an atomic copy needs a directory of its own beside it" >&2; exit 1; };
"""
)

_TAKE = """
(umask 077; set -C; exec cat >"$t") || exit 3;
"""

_SIZE = """
s=$(wc -c <"$t") || exit 1;
if [ "$s" -eq "$n" ]; then :; else echo "mpshell: $d: got $((s)) bytes of $((n))" >&2; exit 1; fi;
"""

#: stdin to a target. Arguments: target, name in a directory, size, mode, temporary name, and with
#: `preserve` the access and modification time for touch -t.
_RECEIVE = script(
    "d=$1; b=$2; n=$3; k=$4; t=$5; o=;"
    + HOME
    + _MAKE_DIRECTORY
    + "("
    + ENTER
    + _TAKE
    + _SIZE
    + """
if [ -n "$6" ]; then
chmod "$k" "$t" && TZ=UTC0 touch -a -t "$6" "$t" && TZ=UTC0 touch -m -t "$7" "$t" || exit 1;
else
"""
    + MODE
    + "fi;"
    + RENAME
    + ") || exit 1;"
)

#: A file to stdout, after one line with its size, mode and times. Argument: the file.
_SEND = script(
    "d=$1;"
    + HOME
    + """
if [ -d "$d" ]; then echo "mpshell: $d: is a directory, which cannot be copied atomically" >&2; exit 1; fi;
exec <"$d" || exit 1;
n=$(wc -c <"$d") && m=$(stat -L -c "%a %X %Y" "$d") || exit 1;
echo "mpshell" $n $m && exec cat
"""
)

#: The script to which `_SEND` writes over a program, for a target here. Arguments: target, temporary name, y to
#: preserve, the program and its arguments. The program's own failure is the exit status.
_FETCH = script(
    "d=$1; t=$2; q=$3; shift 3; b=; o=;"
    + _MAKE_DIRECTORY
    + """
# Three things come of the pipeline: the output to be shown (descriptor 3, our stdout), the exit status of the
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
    + ENTER
    + _TAKE
    + _SIZE
    + """
if [ -n "$q" ]; then
chmod "$k" "$t" && touch -a -d "@$a" "$t" && touch -m -d "@$y" "$t" || exit 1;
else
"""
    + MODE
    + """
fi; } >&3 3>&- 4>&-; } 4>&1) || r=$?;
# Our own failure ends the program as well, which is no failure of its own.
if [ "$r" = 3 ]; then exit 1; fi;
# A program that failed may have sent everything: then it is not known to be everything.
if [ "$c" != 0 ]; then exit "${c:-1}"; fi;
[ "$r" = 0 ] || exit 1;
("""
    + ENTER
    + RENAME
    + ") || exit 1;"
)

#: A file here to a target here. Arguments: file, target, name in a directory, temporary name, -p or not.
_LOCAL = script(
    """
f=$1; d=$2; b=$3; t=$4; k=$5; o=;
case $d in /*) ;; *) d=./$d ;; esac;
case $f in /*) ;; *) f=./$f ;; esac;
"""
    + _MAKE_DIRECTORY
    + """
if [ -d "$f" ]; then echo "mpshell: $f: is a directory, which cannot be copied atomically" >&2; exit 1; fi;
# cp is started elsewhere. A file below a directory that can only be reached from within has no full path.
exec 3<"$f" || exit 1;
case $f in /*) ;; *) f=$PWD/$f; [ -e "$f" ] || f=/dev/fd/3 ;; esac;
n=$(wc -c <"$f") || exit 1;
("""
    + ENTER
    + """
cp $k -- "$f" "$t" || exit 1;
"""
    + _SIZE
    + RENAME
    + ") || exit 1;"
)

#: A program with a file as its stdin. Arguments: the file, the program and its arguments.
_OPEN = 'f=$1; shift; exec "$@" <"$f"'


def _remote(text: str, *words: str | Template) -> Template:
    """Return the text of a command for a node: the script with its arguments, each quoted."""
    parts: list[str | int] = ["exec /bin/sh -c ", shlex.quote(text), " sh"]
    for word in words:
        parts.append(" ")
        parts += [shlex.quote(word)] if isinstance(word, str) else word
    return tuple(parts)


def temporary() -> Template:
    """Return a name that no other copy has, on any node, since many may share one file system.

    It need not be secret: see the docstring of this module.
    """
    return (f"{PREFIX}{os.urandom(8).hex()}-", RANK)


def check_names(copy: Copy) -> None:
    """Raise WorkerError for names that would not reach a node as they are."""
    path = copy.source if copy.reverse else copy.dest
    if path.startswith("~") and path != "~" and not path.startswith("~/"):
        raise WorkerError(f"{path!r}: another user's home is not known here; write ./~ for a name")
    _check_quoted(path)
    if not copy.reverse:
        _check_quoted(copy.name)


def _check_quoted(path: str) -> None:
    if "\\" in path or "!" in path:
        # Shells other than sh may interpret it in another way.
        raise WorkerError(f"{path!r}: a backslash or exclamation mark cannot be in an atomic copy")


def receiver(copy: Copy) -> Template:
    """Return the command for a node that makes the target of a copy of its input."""
    try:
        size, mode, *moments = copy.found or _found(copy.source)
        times = [stamp(seconds) for seconds in moments]
    except OSError:
        # The copy to each node reports this, also if the file disappears later.
        size, mode, times = 0, 0, ["", ""]
    if not copy.preserve:
        times = ["", ""]
    return _remote(_RECEIVE, copy.dest, copy.name, str(size), f"{mode:o}", temporary(), *times)


def send(copy: Copy, program: tuple[Template, ...]) -> tuple[Template, ...]:
    """Return the words that copy a file over `program`, which takes a command for the node at its end."""
    return (*_words("/bin/sh", "-c", _OPEN, "sh", copy.source), *program, receiver(copy))


def _found(path: str) -> tuple[int, int, float, float]:
    found = os.stat(path)
    return found.st_size, stat.S_IMODE(found.st_mode), found.st_atime, found.st_mtime


def fetch(copy: Copy, program: tuple[Template, ...], target: Template) -> tuple[Template, ...]:
    """Return the words that copy a node's file over `program` to a target here."""
    before = (*_words("/bin/sh", "-c", _FETCH, "sh"), target, temporary())
    preserve = "y" if copy.preserve else ""
    return (*before, (preserve,), *program, _remote(_SEND, copy.source))


def local(source: Template, dest: Template, name: Template, preserve: bool) -> tuple[Template, ...]:
    """Return the words that copy a file here to a target here."""
    before = _words("/bin/sh", "-c", _LOCAL, "sh")
    return (*before, source, dest, name, temporary(), ("-p" if preserve else "",))


def stamp(seconds: float) -> str:
    """Return a time as touch -t takes it, of UTC."""
    return time.strftime("%Y%m%d%H%M.%S", time.gmtime(seconds))


def _words(*words: str) -> tuple[Template, ...]:
    return tuple((word,) for word in words)
