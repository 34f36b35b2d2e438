"""Replacements of `typing`, `pickle` and `signal` for engines, without the modules that these load.

The wrappers in the standard library import regular expressions and enumerations, which took 10 of the
22 ms of the imports of a fork server, and the first run waits for these (docs/decisions.md). A type
checker sees the originals.
"""

from __future__ import annotations

#: Type checkers know it by its name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    import pickle as pickle
    import signal as signal
    from typing import NamedTuple as NamedTuple
else:
    import _pickle as pickle  # noqa: F401
    import _signal as signal  # noqa: F401
    from collections import namedtuple

    class _NamedTupleMeta(type):
        def __new__(mcls, name, bases, namespace):
            if not bases:
                return super().__new__(mcls, name, bases, namespace)
            fields = namespace.get("__annotations__", {})
            made = namedtuple(
                name,
                fields,
                defaults=[namespace[field] for field in fields if field in namespace],
                module=namespace["__module__"],
            )
            made.__doc__ = namespace.get("__doc__")
            if "__repr__" in namespace:
                made.__repr__ = namespace["__repr__"]
            return made

    class NamedTuple(metaclass=_NamedTupleMeta):
        """`typing.NamedTuple` for a class of fields, with defaults and without methods but `__repr__`."""
