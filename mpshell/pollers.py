"""Names of poll mechanisms, for who chose one in ClusterShell: `DEFAULTS.engine = EngineSelect.identifier`.

Only names: whatever is asked for and told by `task.info("engine")`, the loop is on epoll. A leaf, for users
and `mpshell.task.settings`.
"""


class EngineSelect:
    """select(2)."""

    identifier = "select"


class EnginePoll:
    """poll(2)."""

    identifier = "poll"


class EngineEPoll:
    """epoll(7)."""

    identifier = "epoll"


#: What `default("engine")` may be.
IDENTIFIERS = ("auto", EngineEPoll.identifier, EnginePoll.identifier, EngineSelect.identifier)
