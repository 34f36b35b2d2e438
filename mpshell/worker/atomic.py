"""Copies that arrive whole or not at all: scripts for a POSIX shell, here and on the node.

    here: sh ─ opens the file, becomes ─► ssh ═════► node: sh RECEIVE ─► temporary file ─► rename

The receiving side does everything by itself: it writes beside the target, checks the size that it was
told, renames, and removes the temporary file in every other case. A cut connection is an end of file
there, and a wrong size. So it leaves nothing on the node, whatever became of the sending side.
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

#: Beginning of the names of temporary files.
PREFIX = ".mpshell-"

# All on one line in the end, and without a backslash or an exclamation mark: the user's shell on the
# node, which passes it on to /bin/sh, may be a csh or a fish.

_HOME = """\
case $d in
"~") d=$HOME ;;
"~/"*) d=$HOME/${d#"~/"} ;;
/*) ;;
*) d=./$d ;;
esac;
"""

#: From the directory or file $d and the name $b: the target $d, the temporary name $t, and its end.
_TARGET = """\
if [ -d "$d" ]; then d=${d%/}/$b; fi;
if [ -d "$d" ]; then echo "mpshell: $d: is a directory" >&2; exit 1; fi;
t=${d%/*}/$t-$$;
trap 'rm -f -- "$t"' EXIT; trap 'exit 1' HUP INT TERM PIPE;
"""

_SIZE = """\
s=$(wc -c <"$t") || exit 1;
if [ "$s" -ne "$n" ]; then echo "mpshell: $d: got $((s)) bytes of $((n))" >&2; exit 1; fi;
"""

_RENAME = 'mv -f -- "$t" "$d" || exit 1;'

_MODE = 'chmod "$(printf %o "$((0$m & 0777 & ~0$(umask)))")" "$t" || exit 1;'

#: stdin to a target. Arguments: target, name in a directory, size, mode, temporary name, and with
#: `preserve` the access and modification time for touch -t.
_RECEIVE = (
    "d=$1; b=$2; n=$3; m=$4; t=$5;"
    + _HOME
    + _TARGET
    + '(umask 077; set -C; exec cat >"$t") || exit 1;'
    + _SIZE
    + 'if [ -n "$6" ]; then chmod "$m" "$t" && TZ=UTC0 touch -a -t "$6" "$t" &&'
    ' TZ=UTC0 touch -m -t "$7" "$t" || exit 1; else ' + _MODE + " fi;" + _RENAME
)

#: A file to stdout, behind one line with its size, mode and times. Argument: the file.
_SEND = (
    "d=$1;"
    + _HOME
    + 'if [ -d "$d" ]; then echo "mpshell: $d: is a directory, which cannot arrive in one step" >&2;'
    ' exit 1; fi; exec <"$d" || exit 1; n=$(wc -c <"$d") && m=$(stat -L -c "%a %X %Y" "$d") || exit 1;'
    ' echo "mpshell" $n $m && exec cat'
)

#: What `_SEND` says over a program to a target here. Arguments: target, temporary name, y to preserve,
#: the program and its arguments. The program's own failure is the exit status.
_FETCH = (
    "d=$1; t=$2; p=$3; shift 3; b=;" + _TARGET + "exec 3>&1; e=0;"
    ' c=$({ { "$@" 3>&- 4>&-; echo "$?" >&4; } | {'
    ' read -r w n m x y || exit 1; if [ "$w" != mpshell ]; then echo "mpshell: $d: $w $n $m" >&2; exit 1; fi;'
    ' (umask 077; set -C; exec cat >"$t") || exit 1;'
    + _SIZE
    + 'if [ -n "$p" ]; then chmod "$m" "$t" && touch -a -d "@$x" "$t" && touch -m -d "@$y" "$t" || exit 1;'
    " else "
    + _MODE
    + ' fi; } >&3 3>&- 4>&-; } 4>&1) || e=1; if [ "$c" != 0 ]; then exit "${c:-1}"; fi;'
    '[ "$e" = 0 ] || exit 1;' + _RENAME
)

#: A file here to a target here. Arguments: file, target, name in a directory, temporary name, -p or not.
_LOCAL = (
    "f=$1; d=$2; b=$3; t=$4;"
    " case $d in /*) ;; *) d=./$d ;; esac; case $f in /*) ;; *) f=./$f ;; esac;"
    + _TARGET
    + 'if [ -d "$f" ]; then echo "mpshell: $f: is a directory, which cannot arrive in one step" >&2; exit 1;'
    ' fi; n=$(wc -c <"$f") || exit 1; cp $5 -- "$f" "$t" || exit 1;' + _SIZE + _RENAME
)

_OPEN = 'f=$1; shift; exec "$@" <"$f"'


def _one_line(script: str) -> str:
    return " ".join(script.split("\n"))


def _remote(script: str, *words: str | Template) -> Template:
    """Return the text of a command for a node: the script with its arguments, each quoted."""
    parts: list[str | int] = ["exec /bin/sh -c ", shlex.quote(_one_line(script)), " sh"]
    for word in words:
        parts.append(" ")
        parts += [shlex.quote(word)] if isinstance(word, str) else word
    return tuple(parts)


def _temporary() -> Template:
    """Return a name that no other copy has, on no node: many may share one file system."""
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


def send(copy: Copy, program: tuple[Template, ...]) -> tuple[Template, ...]:
    """Return the words that copy a file over `program`, which takes a command for the node at its end."""
    try:
        found = os.stat(copy.source)
        size, mode = found.st_size, stat.S_IMODE(found.st_mode)
        times = [_stamp(seconds) for seconds in (found.st_atime, found.st_mtime)]
    except OSError:
        # Each node's copy will say so, as one does that finds it gone later.
        size, mode, times = 0, 0, ["", ""]
    if not copy.preserve:
        times = ["", ""]
    command = _remote(_RECEIVE, copy.dest, copy.name, str(size), f"{mode:o}", _temporary(), *times)
    return (*_words("/bin/sh", "-c", _OPEN, "sh", copy.source), *program, command)


def fetch(copy: Copy, program: tuple[Template, ...], target: Template) -> tuple[Template, ...]:
    """Return the words that copy a node's file over `program` to a target here."""
    before = (*_words("/bin/sh", "-c", _one_line(_FETCH), "sh"), target, _temporary())
    preserve = "y" if copy.preserve else ""
    return (*before, (preserve,), *program, _remote(_SEND, copy.source))


def local(source: Template, dest: Template, name: Template, preserve: bool) -> tuple[Template, ...]:
    """Return the words that copy a file here to a target here."""
    before = _words("/bin/sh", "-c", _one_line(_LOCAL), "sh")
    return (*before, source, dest, name, _temporary(), ("-p" if preserve else "",))


def _stamp(seconds: float) -> str:
    """Return a time as touch -t takes it, of UTC."""
    return time.strftime("%Y%m%d%H%M.%S", time.gmtime(seconds))


def _words(*words: str) -> tuple[Template, ...]:
    return tuple((word,) for word in words)
