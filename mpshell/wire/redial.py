"""What the log of a program proves about its connection: whether it may be started once more (`LogFormat`)."""

from __future__ import annotations

from mpshell.runtime.lean import NamedTuple
from mpshell.wire import checks

#: A notice about nodes of which the server has dropped each connection: MaxStartups, or PerSourcePenalties.
NOT_LET_IN = (
    "not reached: their server dropped each connection before the login, until connect_timeout was over "
    "(sshd_config(5): MaxStartups, PerSourcePenalties)"
)


class Redial(NamedTuple):
    """A program that is started again where its log proves that a server has ended its connection unheard.

    The proof is a line that begins with one of `connecting`, none with one of `secured` and `opened`, one of
    `dropped` anywhere in the log, and an exit status that is not 0.
    """

    limit: float  # seconds to connect, over all tries; 0: none
    connecting: tuple[str, ...]  # a connection to "[ADDRESS] port NUMBER" is begun
    secured: tuple[str, ...]  # the key exchange is over
    opened: tuple[str, ...]  # it is logged in: from here on something may run
    dropped: tuple[str, ...]
    notice: str  # for the user, about nodes that were dropped until the time was over


_TEXTS = checks.series(tuple, checks.kind(str))

CHECK_REDIAL = checks.fields(
    checks.kind(int, float), _TEXTS, _TEXTS, _TEXTS, _TEXTS, checks.kind(str)
)
