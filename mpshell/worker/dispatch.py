"""From the events about a worker's clients to calls of the user's handler.

The methods of a handler and their forms are determined once for each worker: the current form, or the
legacy one with fewer parameters, which has another number of positional parameters (the object
counts) and causes a DeprecationWarning at each call. In the thread of the task.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    Method = Callable[..., Any]

#: Positional parameters of the legacy form, the object included: method(self, worker).
_LEGACY_PARAMETERS = 2

#: The events of a handler, which has a method for at least one of them.
METHODS = (
    "ev_start", "ev_pickup", "ev_read", "ev_error", "ev_written", "ev_hup", "ev_outcome", "ev_retry",
    "ev_relay",
    "ev_close", "ev_timeout", "ev_port_start", "ev_msg", "ev_timer", "_ev_routing",
)  # fmt: skip


def check_handler(handler: Any) -> Any:
    """Return the handler; TypeError for an object without a single `ev_*` method."""
    if handler is not None and (
        isinstance(handler, type)
        or not any(callable(getattr(handler, name, None)) for name in METHODS)
    ):
        raise TypeError(f"{handler!r} is not an event handler: it has no ev_* method to call")
    return handler


class Dispatch:
    """The methods of one handler that do something, None for the others."""

    __slots__ = (
        "close", "error", "handler", "hup", "legacy_close", "legacy_hup", "legacy_pickup", "legacy_read",
        "outcome", "pickup", "read", "relay", "retry", "start", "timeout", "written",
    )  # fmt: skip

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self.start = _overridden(handler, "ev_start")
        self.pickup = _overridden(handler, "ev_pickup")
        self.read = _overridden(handler, "ev_read")
        self.error = _overridden(handler, "ev_error")
        self.written = _overridden(handler, "ev_written")
        self.hup = _overridden(handler, "ev_hup")
        self.outcome = _overridden(handler, "ev_outcome")
        self.retry = _overridden(handler, "ev_retry")
        self.relay = _overridden(handler, "ev_relay")
        self.close = _overridden(handler, "ev_close")
        self.timeout = _overridden(handler, "ev_timeout")
        self.legacy_pickup = _is_legacy(self.pickup)
        self.legacy_read = _is_legacy(self.read)
        self.legacy_hup = _is_legacy(self.hup)
        self.legacy_close = _is_legacy(self.close)

    @property
    def wants_output(self) -> bool:
        return self.read is not None or self.error is not None

    @property
    def wants_clients(self) -> bool:
        """Whether there is a method for any event of a single client."""
        return self.wants_output or any(
            (self.pickup, self.written, self.hup, self.outcome, self.retry)
        )


def warn_legacy(name: str, today: str) -> None:
    """Warn that a handler's method has its legacy form."""
    warnings.warn(
        f"{name}(self, worker) is the legacy form of {name}({today})",
        DeprecationWarning,
        stacklevel=3,
    )


def _overridden(handler: Any, name: str) -> Method | None:
    method: Method | None = getattr(handler, name, None)
    if method is None or not callable(method):
        return None
    # The mark of a method that `mpshell.event.EventHandler` has: nothing to call.
    if getattr(method, "does_nothing", False) is True:
        return None
    return method


def _is_legacy(method: Method | None) -> bool:
    if method is None:
        return False
    code = getattr(method, "__code__", None)
    if code is not None:
        return bool(code.co_argcount == _LEGACY_PARAMETERS)
    # An object that can be called, a partial function. Late: the modules that inspect loads cost a run
    # milliseconds.
    import inspect

    try:
        return len(inspect.getfullargspec(method).args) == _LEGACY_PARAMETERS
    except TypeError:
        return False


#: The methods of no handler at all: one object, since making it is a tenth of making a worker.
_NO_METHODS = Dispatch(None)


def dispatch_to(handler: Any) -> Dispatch:
    """Return the methods of a handler, or of None; TypeError for an object without a single `ev_*` method."""
    return _NO_METHODS if handler is None else Dispatch(check_handler(handler))
