"""From a job's command template to the program that is executed for one node.

Transports have no code here: a worker class returns its command as a template (`mpshell.wire.messages`), text
with marks for node and rank, and this module fills it in. A line of plain words is executed
without a shell if that makes no difference.
"""

import os

from mpshell.engine.libc import Environment
from mpshell.wire.messages import JobSpec
from mpshell.wire.templates import encode_template, fill

_SHELL = b"/bin/sh"

#: All that a line of plain words is made of.
_PLAIN = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./%+:@,=- \t"

#: First words that a shell takes for itself (POSIX XCU 2.4, 2.14 and the built-ins of dash and bash),
#: and commands that show the environment a shell would have changed.
_SHELL_WORDS = frozenset(
    b". : alias bg bind break builtin caller case cd command compgen complete compopt continue coproc "
    b"declare dirs disown do done elif else enable env esac eval exec exit export fc fg fi for function "
    b"getopts hash help history if in jobs kill let local logout mapfile popd printenv printf pushd pwd "
    b"read readarray readonly return select set shift shopt source suspend test then time times trap "
    b"type typeset ulimit umask unalias unset until wait while [ [[".split()
)

#: Built-ins whose program does the same, as long as no option is given.
_SAME_PROGRAM = frozenset((b"echo", b"true", b"false"))


class Command:
    """How to execute a job's command, decided once a job and engine."""

    __slots__ = ("_fixed", "_pieces", "_shell", "_try_direct")

    def __init__(self, job: JobSpec, env: Environment) -> None:
        self._shell = job.shell is not None
        templates = job.argv if job.shell is None else (job.shell,)
        self._pieces = [encode_template(template) for template in templates]
        self._try_direct = self._shell and not env.has_functions
        #: The result of `plan` if it is the same for all nodes, once it is known.
        self._fixed: tuple[list[bytes], list[bytes] | None] | None = None

    def plan(
        self, node: str, rank: int, part: str = "", log: bytes = b""
    ) -> tuple[list[bytes], list[bytes] | None]:
        """Return `argv` for a node, and `direct` of it."""
        if self._fixed is not None:
            return self._fixed
        argv = self.argv(node, rank, part, log)
        plan = argv, self.direct(argv)
        if all(isinstance(part, bytes) for pieces in self._pieces for part in pieces):
            self._fixed = plan
        return plan

    def argv(self, node: str, rank: int, part: str = "", log: bytes = b"") -> list[bytes]:
        """Return the words to execute for a node; those of the shell for a line."""
        words = fill(self._pieces, os.fsencode(node), rank, os.fsencode(part), log)
        return [_SHELL, b"-c", words[0]] if self._shell else words

    def direct(self, argv: list[bytes]) -> list[bytes] | None:
        """Return the words of a shell line that needs no shell, or None."""
        if not self._try_direct:
            return None
        line = argv[2]
        words = line.split()
        if not words or line.translate(None, _PLAIN) or line != line.strip():
            return None
        first = words[0]
        if b"=" in first or first in _SHELL_WORDS or first.startswith((b"-", b"%")):
            return None
        if first in _SAME_PROGRAM and len(words) > 1 and words[1].startswith(b"-"):
            return None
        return words


class PathCache:
    """Where a program stands on PATH, looked up once a run as a shell with a hash table does."""

    __slots__ = ("_directories", "_found")

    def __init__(self, env: dict[bytes, bytes]) -> None:
        path = env.get(b"PATH", os.fsencode(os.defpath))
        self._directories = [directory or b"." for directory in path.split(b":")]
        self._found: dict[bytes, bytes] = {}

    def find(self, word: bytes) -> bytes | None:
        """Return the path to execute for a command word, or None when there is none."""
        if b"/" in word:
            return word
        known = self._found.get(word)
        if known is None:
            for directory in self._directories:
                path = directory + b"/" + word
                if os.access(path, os.X_OK) and not os.path.isdir(path):
                    self._found[word] = known = path
                    break
        return known
