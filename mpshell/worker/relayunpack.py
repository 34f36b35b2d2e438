"""Relay copies of trees: parts of scripts of nodes that unpack an archive and put the tree into place. Pure.

    DIR/part ── checksum ──► tar -x in DIR/tree ──► one rename to the target, where nothing is yet
                                                └─► each file and new directory by a rename, where a tree is

The archive (`mpshell.worker.relaytree`) stays in DIR until the head ends the connection: nodes fetch it from
there also when this node has the tree. DIR has mode 0700, and tar works within it: no symbolic link of another
user leads out. In `mpshell.worker.relay` are the script around these parts, and its variables.
"""

from __future__ import annotations

from mpshell.worker.parts import MODE, RENAME

#: Without the slashes at the end a name has a directory before it, and may be new.
_BARE = """
while :; do case $d in /) break ;; */) d=${d%/} ;; *) break ;; esac; done;
"""

CHECK = """
for i in tar find chmod; do
command -v $i >/dev/null || die "no $i here, which a relay copy of a tree needs"; done;
"""

#: As `parts.TARGET`, for a tree: $into is set where its name is a directory already.
TREE_TARGET = (
    _BARE
    + """
if [ -d "$d" ]; then d=${d%/}/$b; fi;
if [ -h "$d" ]; then die "$d is a symbolic link, through which no tree is copied"; fi;
if [ -d "$d" ]; then into=y; elif [ -e "$d" ]; then die "$d is there and no directory"; fi;
p=${d%/*}; b=${d##*/};
"""
)

#: For SERVE and FEED: where the directory of RECEIVE is, since the target may have come meanwhile.
TREE_PLACE = (
    _BARE
    + """
# Of two directories of that name ours: where others may write one of them may be theirs.
p=${d%/*};
if [ -O "${d%/}/$t-$k" ] || { [ -d "${d%/}/$t-$k" ] && if [ -O "$p/$t-$k" ]; then false; fi; };
then p=${d%/}; fi;
"""
)

# Killed for good: a signal that can be caught would be lost for a child that still has the traps of its parent.
# The fifo is opened both ways at once, so that nobody waits in open(2) for another one that has been killed.
# A tar without --no-same-permissions has unpacked nothing with it; one of root would give modes past the umask.
_UNPACK = """
unpack() {
a=; w=; exec 3<>"err.$seq.t" 6<"err.$seq.t" 7>"err.$seq.t" 3>&-;
# exec, since a redirection of a subshell alone has mksh keep a copy.
( exec 7>&-; v=$(sed -e "/xiting with failure/d" -e "/rror exit delayed/d" <&6 | tail -n 1 | head -c 300);
{ printf %s "$v"; echo; } >&5 ) &
trap 'exec 7>&-; eval "kill -9 $a $w $pid"; wait; exit 1' TERM;
( cd -P tree || exit 1; if [ -n "$atime" ]; then umask 0; fi;
exec tar "$@" -f - <../part ) >/dev/null 2>&7 & eval "a=$pid";
# The end of RECEIVE.
( exec 7>&-; read -r x <&4; kill -9 $a ) & eval "w=$pid";
exec 6<&- 7>&-;
wait $a; s=$?; kill -9 $w; wait $w; trap 'exit 1' TERM; read -r v <&5;
};
trap 'exit 1' TERM;
# An order may have ended this in the middle before.
drop;
(umask 077; mkdir tree) && mkfifo "err.$seq.t" "sum.$seq.t" && exec 5<>"sum.$seq.t" ||
fail "$d: nothing can be unpacked beside it";
if [ -n "$atime" ]; then unpack -xpo; else
unpack --no-same-permissions -xmo;
if [ "$s" = 0 ] || [ -n "$(ls -A tree)" ]; then :; else unpack -xmo; fi;
fi;
if [ "$s" = 0 ]; then :; else
case $v in *"o space left"*) v="no space left for $room bytes" ;; *) v="$d: ${v:-tar has status $s}" ;; esac;
fail "$v"; fi;
kill -0 $$ || exit 1;
"""

# In DIR/tree. By way of this directory, and not its name, modes are those of no other file.
_RENAME = (
    """
( cd -P .. || exit 1;
if [ -e "../$b" ] || [ -h "../$b" ]; then echo "something has come to its place"; exit 1; fi;
t=tree;
"""
    + RENAME
    + """
) || exit 1;
t=.;
if [ -n "$atime" ]; then
chmod "$k" . && TZ=UTC0 touch -a -t "$atime" . && TZ=UTC0 touch -m -t "$mtime" . || exit 1;
else
"""
    + MODE
    + """
fi;
"""
)

# In DIR/tree: all is looked at first. Through a symbolic link the tree would go to where another user wants it.
_MERGE = """
if [ -h "../../$b" ]; then echo "it is a symbolic link"; exit 1; fi;
# Paths are in the environment, since find would take {} in one for its own.
q=../../$b; export q;
c='for i; do j=$q/$i; if [ -h "$j" ]; then echo "${i#./} is a symbolic link there";
elif [ -d "$j" ]; then :; elif [ -e "$j" ]; then echo "${i#./} is no directory there"; fi; done';
m='for i; do j=$q/$i; if [ -h "$j" ]; then :;
elif [ -d "$j" ]; then echo "${i#./} is a directory there"; fi; done';
e=$(find . -type d -exec /bin/sh -c "$c" sh {} + -o -exec /bin/sh -c "$m" sh {} + 2>&1 | head -n 1);
if [ -n "$e" ]; then echo "$e"; exit 1; fi;
# A directory that is there gets the files; another is moved whole, which takes the right to write to it.
# The braces are written apart for the outer find.
m='mv -f -- "$@" "$j/"';
c='j=$q/$1; export j; if [ -d "$j" ]; then chmod u+rwx "$1";
find "$1/." -name . -o -type d -prune -o -exec /bin/sh -c "$2" sh "{""}" +; exit 1; fi;
k=; if [ -w "$1" ]; then :; else k=y; chmod u+w "$1"; fi;
mv -f -- "$1" "$j"; if [ -n "$k" ]; then chmod u-w "$j"; fi';
e=$(find . -type d -exec /bin/sh -c "$c" sh {} "$m" ";" -prune 2>&1 | head -n 1);
if [ -n "$e" ]; then echo "$e"; exit 1; fi;
"""

#: For the shell that reports: the tree into its place, `done` or `fail`, and the end of that shell.
PLACE = (
    """
fail() { say "fail $1"; kill $$; exit 1; };
"""
    + _UNPACK
    + """
# From here on it is not ended in the middle.
trap "" TERM;
if v=$( { cd -P tree || exit 1;
if [ -n "$into" ]; then
"""
    + _MERGE
    + "else"
    + _RENAME
    + """
fi; } 2>&1); then echo "mpshell done"; exit 0; fi;
fail "$d: $v";
"""
)
