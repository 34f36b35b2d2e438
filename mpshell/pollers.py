"""Names of poll mechanisms, for programs that choose one: `DEFAULTS.engine = EngineSelect.identifier`.

They are only names: `task.info("engine")` returns the chosen one, but the loop always uses epoll. A leaf, for
users and `mpshell.task.settings`.
"""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any


class EngineSelect:
    """select(2)."""

    identifier = "select"


class EnginePoll:
    """poll(2)."""

    identifier = "poll"


class EngineEPoll:
    """epoll(7)."""

    identifier = "epoll"


#: The values of `default("engine")`.
IDENTIFIERS = ("auto", EngineEPoll.identifier, EnginePoll.identifier, EngineSelect.identifier)


class PreferredEngine:
    """The poll mechanism of a name: `PreferredEngine(hint, info)` is an instance of its class.

    Raises KeyError for an unknown name.
    """

    engines: dict[str, type[EngineEPoll | EnginePoll | EngineSelect]] = {
        cls.identifier: cls for cls in (EngineEPoll, EnginePoll, EngineSelect)
    }

    def __new__(cls, hint: str | None, info: object = None) -> Any:
        chosen = EngineEPoll.identifier if hint in (None, "", "auto") else hint
        return cls.engines[chosen]()
