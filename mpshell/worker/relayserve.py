"""The scripts that serve another node in a relay copy, and that receive the head's feed. Pure.

See `mpshell.worker.relay`, which has the receiving script.
"""

from __future__ import annotations

from mpshell.worker.parts import HOME, TARGET, script
from mpshell.worker.relayunpack import TREE_PLACE

# Variables as in the scripts of atomic copies: $d target, $b its name, $p its directory, $t the name of ours.
# In an argument list $d and $b are encoded (`relay.encode`).

DECODE = """
LC_ALL=C; export LC_ALL;
# The parameter with the last pid, and a backslash: both for eval and printf, as they may not be written.
pid='$'$(echo 1 | tr 0-3 " -#");
e=$(echo 2 | tr 0-7 Z-a);
d=$(printf "%b." "$(printf %s "$d" | tr @ "$e$e")"); d=${d%.};
b=$(printf "%b." "$(printf %s "$b" | tr @ "$e$e")"); b=${b%.};
"""

#: Not every sleep accepts a fraction.
_NAP = "{ sleep .05 2>/dev/null || sleep 1; }"

#: The part or target of this node to stdout, behind a line "mpshell begin". Arguments: target, name in a
#: directory, TOKEN, size, rank, `part`, `done` or `tree` (the part of a tree, which stays), the first byte,
#: counted from 1, and the number of bytes. With - for the rank the target is the directory in /proc of a
#: RECEIVE, whose descriptor 9 is the file.
#: The sum protects the child from whatever is read here, so our directory needs no proof as in ENTER.
SERVE = script(
    "d=$1; b=$2; t=$3; n=$4; k=$5; kind=$6; from=$7; left=$8; a=; c=; w=; v=;"
    + DECODE
    + """
if [ "$k" = - ]; then f=$d/fd/9; g=$d/cwd; d=$f; kind=part;
else
"""
    + HOME
    + """
if [ "$kind" = tree ]; then kind=part;
"""
    + TREE_PLACE
    + "else"
    + TARGET
    + """
fi;
g=$p/$t-$k; f=$g/part;
fi;
if [ "$kind" = done ]; then f=$d; fi;
size() { set -- $(ls -lnL /dev/fd/5); s=$5; };
exec 3<&0;
if [ -f "$f" ]; then {
size;
# Another file may have come to the place of the target.
if [ "$kind" = part ] || [ "$s" = "$n" ]; then
echo "mpshell serving" >&2; echo "mpshell begin";
# It is whole: there is nothing to wait for, and a child that has gone ends this with the pipe.
if [ "$kind" = done ]; then exec tail -c "+$from" <&5; fi;
mkfifo "$g/serve.$$" || exit 1;
# The source. Only GNU tail polls as often as it is wanted to; where another one is, this shell does. The part
# may be shorter than the first byte, which tail takes for a file that was cut.
( while [ "$(expr "$s" + 1 ">=" "$from")" = 0 ] && kill -0 $$; do """
    + _NAP
    + """; size; done;
# With this name it polls, which is quicker than its inotify was found to be, and the file may be renamed.
case $(tail --version) in *"GNU coreutils"*) exec tail -s .02 --pid=$$ -c "+$from" -f /dev/fd/5 ;; esac;
tail -c "+$from" <&5;
# What follows reads on from where tail has ended: the offset is the descriptor's.
while kill -0 $$; do """
    + _NAP
    + """; cat <&5; done ) </dev/null >"$g/serve.$$" 2>/dev/null & eval "a=$pid";
head -c "$left" <"$g/serve.$$" 2>/dev/null & eval "c=$pid";
# The end of the child's connection.
( while read -r x; do :; done; kill $a $c ) <&3 >/dev/null 2>&1 & eval "w=$pid";
# The end of this node's RECEIVE. When the part has come to its place, the child still gets the rest.
( read -r x <"$g/life"; [ "$d" -ef /dev/fd/5 ] || kill $a $c ) </dev/null >/dev/null 2>&1 & eval "v=$pid";
# Not before: a signal for a child that still has the traps of its parent would be lost.
trap 'trap "" HUP INT TERM PIPE; kill $a $c $w $v 2>/dev/null; rm -f -- "$g/serve.$$"' EXIT;
trap 'exit 1' HUP INT TERM PIPE;
wait $c 2>/dev/null; exit 0;
fi; } 5<"$f"; fi;
echo "mpshell gone" >&2; exit 1
"""
)

#: stdin to the fifo of a node. Arguments: target, name in a directory, TOKEN, rank, SEQ, `tree` or nothing.
FEED = script(
    "d=$1; b=$2; t=$3; k=$4; q=$5; x=$6; a=; v=;"
    + DECODE
    + HOME
    + """
if [ "$x" = tree ]; then
"""
    + TREE_PLACE
    + "else"
    + TARGET
    + """
fi;
g=$p/$t-$k;
[ -p "$g/in.$q" ] || { echo "mpshell: $d: no feed is waited for" >&2; exit 1; };
exec 3<&0;
cat <&3 >"$g/in.$q" 2>/dev/null & eval "a=$pid";
( read -r x <"$g/life"; kill $a ) </dev/null >/dev/null 2>&1 & eval "v=$pid";
trap 'kill $a $v 2>/dev/null' EXIT; trap 'exit 1' HUP INT TERM PIPE;
wait $a 2>/dev/null; exit $?
"""
)
