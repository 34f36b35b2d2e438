"""Relay copies: the scripts that receive a file on a node and pass it on. Text for commands. Pure.

    head: coordinator ═ orders, answers ═► node: sh RECEIVE ─► DIR/part ─► checksum, rename to the target
                                              │ ssh PARENT SERVE ◄── the parent's part, which may still grow
                                              └ a fifo, when the head feeds this node ◄── sh FEED ◄═ head

RECEIVE has the node's control connection as its stdin and stdout (`mpshell.coordinator.relaywire` has the
orders and answers). Its files are in a directory of its own beside the target, like those of an atomic copy.

One writer: a process that appends to the part is killed *and* reaped before the size of the part is read. So
each of these processes is a direct child of the shell that reads the orders; fifos connect them, because a
shell does not know the pids of a pipeline.

Nothing is left: RECEIVE holds the fifo `life` open for writing, and each process that works for it, here or as
SERVE or FEED of another connection, reads it: the end of that file means that RECEIVE has ended in any way.

Reasons are kept in pipes and variables, never in files, since the disk may be full.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from mpshell.worker.copy import Copy
from mpshell.worker.parts import ENTER, HOME, MAKE, MODE, PREFIX, RENAME, TARGET, script
from mpshell.worker.relayserve import DECODE, FEED, SERVE
from mpshell.worker.relayunpack import CHECK, PLACE, TREE_TARGET

#: The two ways of pulls: over logins from node to node, or over an sshd that each node runs for this copy.
SSH, SSHD = "ssh", "sshd"

#: Bytes that mean the same to every shell; others are sent as @ with their number, see `relayserve.DECODE`.
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./_-")

#: Seconds that a node has to clear away before it is killed, at least: sshd kills the whole group, and what is
#: left then stays.
CLEARING = 10.0

#: Characters of a script in one word of a command, at most.
_LONGEST_WORD = 2500

# In all scripts as in those of atomic copies: $d target, $b its name, $p its directory, $t name of our
# directory; $n is the expected size of the file, $k its mode. In an argument list $d and $b are encoded.

_SAY = """
say() { echo "mpshell $(printf %s "$1" | tr -c " -[]-~" "?" | head -c 310)"; };
# The EXIT trap says it, when nothing is left.
die() { why=$1; exit 1; };
"""

# Our children: $c writes the part, $x is ssh, $g reads the errors of ssh, $r reports the result, and ends
# with status 0 when the file is in its place; $tick is the clock.
_END = """
stop() {
if [ -n "$r" ]; then kill $c $x $g $r; for i in $c $x $g; do wait $i; done; wait $r && z=0; fi;
# A FEED that waits in open for a reader of its fifo would wait for ever.
if [ -n "$fed" ]; then : 9<>"in.$fed"; fi;
c=; x=; g=; r=; fed=; rm -f -- in.* err.* fault.* last.* sum.*;
};
# Directories of a tree may be such that not even their owner may write to them.
drop() { if [ -d tree ]; then chmod -R u+rwx tree; rm -rf -- tree; fi; };
# A SERVE that has just begun makes its fifo here and removes it soon, and a tar that was at work may make
# another file before it ends: then the directory is not empty.
wipe() { for i in 1 2 3 4 5; do rm -f -- ./*; drop; (cd -P .. && rmdir -- "$t") && break;
[ -e "../$t" ] || break; sleep 1; done; };
finish() {
# A signal now would end this before all is cleared away.
trap "" USR1 HUP INT TERM PIPE;
# One in a `wait` before may have taken the status of a child that had just ended, and bash then waits for that
# child as long as it has others: so these end before stop waits again.
kill $sshd $log; kill -9 $tick; for i in $tick $sshd $log; do wait $i; done; stop;
if [ "$o" = in ]; then wipe; elif [ -n "$o" ]; then rmdir -- "$p/$t"; fi;
};
trap 'finish 2>/dev/null; if [ "$why" = directory ]; then why="$d is a directory"; fi;
if [ -n "$why" ]; then say "fail $why"; exit 1; fi; exit $z' EXIT;
trap 'z=0; exit 0' USR1;
# While it forks it has no traps: a signal for a child that still has the traps of its parent would be lost.
# When it is ended then, the clock clears away.
trapped() { trap 'exit 1' HUP INT TERM PIPE; };
untrapped() { trap - HUP INT TERM PIPE; };
trapped;
"""

_CHECK = """
for i in ssh tail head wc mkfifo ls df sed tr expr mv rm; do
command -v $i >/dev/null || die "no $i here, which a relay copy needs"; done;
hash=; algo=sha256;
for i in sha256sum "shasum -a 256" "openssl dgst -sha256" "sha256 -q"; do
# The sum of nothing: a program of that name that does something else is none.
case $($i </dev/null 2>/dev/null) in
*e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855*) hash=$i; break ;; esac; done;
if [ -z "$hash" ]; then hash=cksum; algo=cksum; command -v cksum >/dev/null ||
die "no program for checksums here: sha256sum, shasum, openssl or cksum"; fi;
"""

_SPACE = """
# 1 % more than the size, in units of 1024 bytes; in a mount's name may be spaces.
a=; for i in $(df -Pk . 2>/dev/null | tail -n 1); do case $i in *[0-9]%) break ;; esac; a=$i; done;
case $a in [0-9]*) [ "$(expr "$room" / 1013 "<=" "$a")" = 1 ] || die "no space left for $room bytes" ;; esac;
"""

_SHARED = """
for i in ../"$token"-*; do [ "$i" = "../$t" ] ||
{ say "shared ${i##*-}"; die "$d is on a file system that nodes share"; }; done;
"""

_PART = """
make() { rm -f -- part; (umask 077; set -C; : >part); };
size() { set -- $(ls -ldn part); s=$5; };
make || die "$d: no file can be made beside it";
mkfifo life || die "$d: no named pipe can be made beside it, which a relay copy needs";
# Opened for reading too, since for writing alone it would wait for a reader.
exec 8<>life;
"""

# No other process watches this shell: if it was killed, the clock removes its files. sshd signals the whole
# group: a clock that did not ignore that from its begin would end together with a shell that has no traps.
_CLOCK = """
trap "" HUP INT TERM PIPE;
# Its sleep outlives it, and would keep the connection open with stdout.
( exec 8>&-; l=0; while sleep 1 >/dev/null && kill -0 $$; do
size; [ "${s:-$l}" = "$l" ] || echo "mpshell at $s"; l=${s:-$l}; done;
kill $sshd $log;
# What waits in open for the other end of a fifo would wait for ever. Each gets one, for a second.
for i in *; do if [ -p "$i" ]; then { exec 9<>"$i"; sleep 1; } & fi; done; wait;
wipe;
) </dev/null 2>/dev/null & eval "tick=$pid";
trapped;
"""

#: Parts for trees alone.
_TREE = 'if [ -n "$tree" ]; then room=$(expr "$n" + "$tree");' + CHECK + TREE_TARGET + "fi;"
_UNPACKED = 'if [ -n "$tree" ]; then' + PLACE + "fi;"

#: An sshd for this copy. Its files are named through /proc of this process, because the path of the target may
#: contain bytes that have a meaning in its configuration.
_SSHD = """
if [ "$way" = sshd ]; then
PATH=$PATH:/usr/sbin:/usr/local/sbin:/sbin; here=/proc/$$/cwd; u=$(id -un);
prog=$(command -v sshd) || die "no sshd here, which relay=sshd needs";
[ -d $here ] || die "no /proc here, which relay=sshd needs";
umask=$(umask); umask 077;
for i in host user; do
read -r x kind private type public && [ "$x" = key ] || exit 1;
{ echo "-----BEGIN OPENSSH PRIVATE KEY-----"; echo "$private";
echo "-----END OPENSSH PRIVATE KEY-----"; } >"$kind.key" &&
case $kind in
host) echo "* $type $public" >known ;;
# A home without start-up files of the login shell: one took 1.2 s a pull.
*) echo "restrict,command=@exec /bin/sh $here/serve@,environment=@HOME=$here@ $type $public" |
tr @ '"' >authorized ;;
esac || die "the keys of this run cannot be kept beside $d";
done;
echo "$serve /proc/$$ - $token $n - "'$SSH_ORIGINAL_COMMAND' >serve &&
# Without PAM sshd refuses an account that is locked, as root often is.
pam=no && case $(grep "^$u:" /etc/shadow 2>/dev/null) in
"$u:"[*$./a-zA-Z0-9]*|"$u::"*|"") ;; *) pam=yes ;; esac &&
# A name of a domain, user@domain or domain and user with a backslash, means something else in a pattern.
allow= && case $(printf %s "$u" | tr -d "A-Za-z0-9._-") in "") allow=",AllowUsers $u" ;; esac &&
# Nothing but the key of this run, nothing but SERVE. The client ends the connection when it is cut off, and so
# does the server.
echo "HostKey $here/host.key,AuthorizedKeysFile $here/authorized,PidFile none,StrictModes no,UsePAM $pam,\
UseDNS no,AuthenticationMethods publickey,PermitRootLogin yes,MaxStartups 200,LoginGraceTime 30,\
PrintMotd no,PermitUserRC no,PermitUserEnvironment yes,ClientAliveInterval 3,ClientAliveCountMax 3,\
LogLevel INFO$allow" |
tr , "$(printf "%b" "${e}0012.")" >config ||
die "the files of an sshd cannot be kept beside $d";
umask $umask;
low=${ports%-*}; high=${ports#*-}; low=${low:-20000}; high=${high:-60999};
span=$(expr $high - $low + 1); port=$(expr $low + $$ % $span); last=; cr=$(printf "%b" "${e}0015");
for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do
rm -f -- log; mkfifo log || die "no named pipe can be made beside $d";
"$prog" -D -e -f $here/config -p $port </dev/null >/dev/null 2>log 8>&- & eval "sshd=$pid";
exec 7<log;
up=; bad=; while read -r v; do case $v in
*"listening on"*) if [ -z "$bad" ]; then up=y; break; fi ;;
# On one address of all: there another program would be taken for this one.
**"Bind to port"*) bad=y; last=$v; kill $sshd ;;
*) last=$v ;; esac; done <&7;
[ -z "$up" ] || break;
wait $sshd 2>/dev/null; sshd=; exec 7<&-;
# Only another port helps against one that is taken.
[ -n "$bad" ] || break;
[ $port -lt $high ] && port=$(expr $port + 1) || port=$low;
done;
[ -n "$up" ] || die "sshd cannot be started: ${last%"$cr"}";
# Its log would fill the pipe, and stop it.
cat <&7 >/dev/null 2>&1 8>&- & eval "log=$pid";
exec 7<&-;
fi;
"""

#: The result of a pull or feed. It opens its fifos first: before the trap, a signal ends it while it waits
#: there.
_REPORT = """
( if [ -n "$tree" ]; then exec 4<life; fi; exec 8>&-;
class=cut; bad=; last=;
if [ -n "$more" ]; then
exec 6<"fault.$seq"; if [ "$order" = pull ]; then exec 7<"last.$seq"; fi;
fi;
trap 'eval "kill $pid"; exit 1' TERM;
if [ -n "$more" ]; then
while read -r v; do bad=$v; done <&6;
size;
if [ "$s" = "$n" ]; then :; else
# The writer's words: this node's own fault, and no other source would help.
if [ -n "$bad" ]; then
case $bad in *"o space left"*) bad="no space left for $room bytes" ;; *) bad="$d: ${bad#*: }" ;; esac;
say "fail $bad"; kill $$; exit 1; fi;
if [ "$order" = pull ]; then
class=login;
while read -r v; do case $v in
"mpshell serving") class=cut ;; "mpshell gone") class=gone ;; *) last=$v ;; esac; done <&7;
fi;
say "need $seq $s $class $last"; exit 1;
fi;
fi;
# All bytes are here. The parent may be a while behind.
kill $x $g;
mkfifo "sum.$seq" && exec 5<>"sum.$seq" ||
{ say "fail $d: no named pipe can be made beside it"; kill $$; exit 1; };
$hash <part >&5 & eval "wait $pid"; echo >&5; read -r v <&5;
case $sum:$v in
:*) bad=y ;; *) case $algo:$v in sha256:*"$sum"*|"cksum:$sum "*) ;; *) bad=y ;; esac ;; esac;
if [ -n "$bad" ]; then make; say "bad $seq"; exit 1; fi;
""" + _UNPACKED + """
# From here on it is not ended in the middle.
trap "" TERM; q=$t; t=part;
if v=$( {
if [ -n "$atime" ]; then
chmod "$k" part && TZ=UTC0 touch -a -t "$atime" part && TZ=UTC0 touch -m -t "$mtime" part || exit 1;
else
""" + MODE + """
fi;
""" + RENAME + """
} 2>&1); then echo "mpshell done"; [ "$way" = sshd ] || kill -USR1 $$; exit 0; fi;
say "fail $d: $v"; kill $$; exit 1 ) </dev/null 2>/dev/null & eval "r=$pid";
"""  # fmt: skip

_PULL = """
begin() {
stop 2>/dev/null;
[ "$z" = 0 ] && return;
[ -e part ] || make || die "$d: no file can be made beside it";
exec 9<part;
size; left=$(expr "$n" - "$s"); from=$(expr "$s" + 1); q=;
more=y; if [ "$left" = 0 ]; then more=; fi;
untrapped;
if [ -n "$more" ]; then
if [ "$order" = pull ]; then q="err.$seq last.$seq"; fi;
if [ -n "$tree" ]; then kind=tree; fi;
mkfifo "in.$seq" "fault.$seq" $q || die "$d: no named pipe can be made beside it";
# What comes before that word was written by a start-up file of the parent's login shell.
( if [ "$order" = pull ]; then while read -r v; do case $v in *"mpshell begin") break ;; esac; done; fi;
exec head -c "$left" ) <"in.$seq" >>part 2>"fault.$seq" 8>&- 9<&- & eval "c=$pid";
if [ "$order" = pull ]; then
( cd -- "$home" 2>/dev/null;
if [ "$way" = sshd ]; then
case $node in *@*) ;; *) set -- "$@" -l "$u" ;; esac;
exec "$@" -p "$peer" -i "$here/user.key" -oIdentitiesOnly=yes -oIdentityAgent=none -oStrictHostKeyChecking=yes \
-oUserKnownHostsFile="$here/known" -oGlobalKnownHostsFile=/dev/null -oPreferredAuthentications=publickey \
-oHostKeyAlias=mpshell-relay -- "$node" "$kind $from $left";
fi;
exec "$@" -- "$node" "$serve $target $base $token $n $rank $kind $from $left"
) <life >"in.$seq" 2>"err.$seq" 8>&- 9<&- & eval "x=$pid";
# Our own words, and the last line of ssh's.
sed -n -e '/^mpshell /p' -e '$p' <"err.$seq" >"last.$seq" 2>/dev/null 8>&- 9<&- & eval "g=$pid";
fi;
fi;
""" + _REPORT + """
trapped;
if [ "$order" = feed ] && [ -n "$more" ]; then fed=$seq; say "take $seq $s"; fi;
};
"""  # fmt: skip

_RECEIVE = script(
    f"token={PREFIX}$1; n=$2; k=$3; atime=$4; mtime=$5; d=$6; b=$7; way=$8; ports=$9; shift 9;"
    + """
serve=$1; tree=$2; shift 2; into=; room=$n; target=$d; base=$b; home=$PWD;
o=; c=; x=; g=; r=; fed=; tick=; sshd=; log=; port=-; sum=; why=; z=1;
"""
    + _SAY
    + _END
    + DECODE
    + """
read -r x rank && [ "$x" = rank ] || exit 1;
x=; t=$token-$rank;
"""
    + _CHECK
    + HOME
    + """
"""
    + _TREE
    + """
exec 4>&2 2>/dev/null; why=directory;
if [ -z "$tree" ]; then
"""
    + TARGET
    + """
fi;
o=made; a=$( {
"""
    + MAKE
    + """
exit 1; } 2>&1) || { o=; die "$d: no directory can be made beside it: ${a##*: }"; };
why="$d: other users can change what is beside it";
"""
    + ENTER
    + """
o=in; why=; exec 2>&4 4>&-;
"""
    + _SHARED
    + _SPACE
    + _PART
    + _SSHD
    + _CLOCK
    + _PULL
    + """
say "ready $algo $port";
while read -r order seq rank kind peer node; do
case $order in
sum) sum=$rank ;;
pull|feed) begin "$@" ;;
esac; done;
stop 2>/dev/null; exit $z
"""
)

#: Two pairs of keys to stdout, as orders. Argument: a directory to make.
_KEYS = """
umask 077; mkdir -- "$1" || exit 1
trap 'rm -rf -- "$1"' EXIT; trap 'exit 1' HUP INT TERM PIPE
for i in host user; do
ssh-keygen -q -t ed25519 -N "" -C mpshell -f "$1/$i" </dev/null >&2 || exit 1
echo "key $i $(grep -v -e ---- "$1/$i" | tr -d '\\n') $(cut -d ' ' -f 1,2 "$1/$i.pub")"
done
"""


def receive(
    copy: Copy, size: int, mode: int, times: tuple[str, str] | None, token: str, way: str, ports: str,
    ssh: Sequence[str], unpacked: int | None = None,
) -> str:  # fmt: skip
    """Return the command, the same for all nodes, that receives `size` bytes on a node and passes them on.

    `times` are the access and modification time as `touch -t` takes them, `way` is SSH or SSHD, `ports` is
    `LOW-HIGH` or empty, and `ssh` is the program for pulls with its options. `unpacked` is None for a file; for
    an archive of a tree it is the number of bytes that the tree takes, and mode and times are those of its top.
    """
    text = _RECEIVE
    # Each node gets it over the link of this host: what this copy does not need is left out.
    for part in (
        *(() if way == SSHD else (_SSHD,)),
        *((_TREE, _UNPACKED) if unpacked is None else ()),
    ):
        text = text.replace(script(part) + " ", "")
    serve = _command(SERVE)
    numbers = (token, str(size), f"{mode:o}", *(times or ("", "")))
    tree = "" if unpacked is None else str(unpacked)
    words = (*numbers, encode(copy.dest), encode(copy.name), way, ports, serve, tree, *ssh)
    return _command(text, *words)


def feed(copy: Copy, token: str, rank: int, seq: int) -> str:
    """Return the command that passes its stdin to the node with this rank, which has answered `take SEQ`."""
    tree = "tree" if copy.tree else ""
    words = (encode(copy.dest), encode(copy.name), f"{PREFIX}{token}", str(rank), str(seq), tree)
    return _command(FEED, *words)


def keys() -> list[str]:
    """Return the argument vector of a local command that writes the orders with the keys of a copy."""
    place = os.path.join(os.environ.get("TMPDIR") or "/tmp", f"{PREFIX}{os.urandom(8).hex()}")
    return ["/bin/sh", "-c", _KEYS, "sh", place]


def encode(path: str) -> str:
    """Return a path in letters that no shell changes."""
    return "".join(chr(c) if c in _PLAIN else f"@0{c:03o}" for c in os.fsencode(path))


def _command(text: str, *words: str) -> str:
    """Return a command that runs a script with arguments, with any login shell.

    BSD's csh accepts no word of 8 KiB: so the script is split into several, and the shell joins them.
    """
    pieces = [text[start : start + _LONGEST_WORD] for start in range(0, len(text), _LONGEST_WORD)]
    joined = "".join(f"${number}" for number in range(1, len(pieces) + 1))
    start = f'c={joined}; shift {len(pieces)}; eval "$c"'
    return " ".join(("exec /bin/sh -c", *map(shlex.quote, (start, "sh", *pieces, *words))))
