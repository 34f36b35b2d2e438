"""Whether the values of a message have the declared types: exactly those, nested ones too.

The unpickler makes only messages and plain data, but possibly any of these in any place.
`mpshell.wire.codec.decode` uses the checks in both processes. Those of the hot path are loops over one tuple a
client: twice as fast as collecting types (docs/decisions.md).
"""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Check = Callable[[Any], bool]


def kind(*types: type) -> Check:
    """Return a check for a value of one of these types; bool does not count as int here."""
    if len(types) == 1:
        (only,) = types
        return lambda value: value.__class__ is only
    return lambda value: value.__class__ in types


def maybe_one(cls: type, check: Check) -> Check:
    """Return a check for None, or an object of that very type that passes."""
    return lambda value: value is None or (value.__class__ is cls and check(value))


def maybe(check: Check) -> Check:
    """Return a check for None or a value that passes `check`."""
    return lambda value: value is None or check(value)


def series(container: Any, check: Check) -> Check:
    """Return a check for a list or tuple whose items all pass `check`."""

    def passes(value: Any) -> bool:
        return type(value) is container and all(map(check, value))

    return passes


def pairs(first: Check, second: Check, container: Any = list) -> Check:
    """Return a check for a list or tuple of pairs."""

    def passes(value: Any) -> bool:
        return value.__class__ is container and all(
            pair.__class__ is tuple and len(pair) == 2 and first(pair[0]) and second(pair[1])
            for pair in value
        )

    return passes


def fields(*checks: Check) -> Check:
    """Return a check for a message by the checks of its fields."""

    def passes(message: Any) -> bool:
        # A loop, which takes half the time of a generator: a frame has a few messages, with twenty fields.
        for check, value in zip(checks, message, strict=True):  # noqa: SIM110
            if not check(value):
                return False
        return True

    return passes


def mapping(key: type, item: type) -> Check:
    """Return a check for a dictionary."""

    def passes(value: Any) -> bool:
        return (
            value.__class__ is dict
            and set(map(type, value)) <= {key}
            and set(map(type, value.values())) <= {item}
        )

    return passes


_INTS = {int}


def starting(message: Any) -> bool:
    """Check a `Starting`."""
    (clients,) = message
    return clients.__class__ is list and {*map(type, clients)} <= _INTS


def finished(message: Any) -> bool:
    """Check a `Finished`; ValueError for a result that is longer or shorter."""
    (results,) = message
    if results.__class__ is not list:
        return False
    # Local names are looked up in half the time, and there are nine look-ups for a node.
    row, integer, real, text = tuple, int, float, str
    for result in results:
        if result.__class__ is not row:
            return False
        client, reason, status, stdout, stderr, started, duration, detail = result
        if (
            client.__class__ is not integer
            or reason.__class__ is not integer
            or status.__class__ is not integer
            or stdout.__class__ is not integer
            or stderr.__class__ is not integer
            or started.__class__ is not real
            or duration.__class__ is not real
            or (detail is not None and detail.__class__ is not text)
        ):
            return False
    return True


def output(message: Any) -> bool:
    """Check an `Output`; ValueError for a block that is longer or shorter."""
    (blocks,) = message
    if blocks.__class__ is not list:
        return False
    row, integer, text = tuple, int, bytes
    for block in blocks:
        if block.__class__ is not row:
            return False
        client, stream, data = block
        if (
            client.__class__ is not integer
            or stream.__class__ is not integer
            or data.__class__ is not text
        ):
            return False
    return True
