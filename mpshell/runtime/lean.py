"""Replacements of `typing`, `pickle` and `signal` for a first run, without the modules that these load.

The wrappers in the standard library import regular expressions and enumerations, which took 10 of the
22 ms of the imports of a fork server, and the first run waits for these and for those of the program
(docs/decisions.md). A type checker sees the originals.
"""

from __future__ import annotations

#: Type checkers know it by its name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    import pickle as pickle
    import signal as signal
    from typing import NamedTuple as NamedTuple
    from typing import Protocol as Protocol
    from typing import cast as cast
    from typing import overload as overload
else:
    import _pickle as pickle  # noqa: F401
    import _signal as signal  # noqa: F401
    from _collections import _tuplegetter
    from types import FunctionType

    #: The code of a constructor by the number of its fields. `collections.namedtuple` compiles one a class,
    #: which takes four times as long as all else, and an engine has some 50 classes.
    _codes = {}

    class _Record(tuple):
        """What all named tuples have in common, as `collections.namedtuple` has it."""

        __slots__ = ()

        def __repr__(self):
            fields = zip(self._fields, self, strict=True)
            return (
                f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in fields)})"
            )

        def __getnewargs__(self):
            return tuple(self)

        @classmethod
        def _make(cls, iterable):
            made = tuple.__new__(cls, iterable)
            if len(made) != len(cls._fields):
                raise TypeError(f"Expected {len(cls._fields)} arguments, got {len(made)}")
            return made

        def _replace(self, /, **changes):
            made = self._make(map(changes.pop, self._fields, self))
            if changes:
                raise ValueError(f"Got unexpected field names: {list(changes)!r}")
            return made

        def _asdict(self):
            return dict(zip(self._fields, self, strict=True))

    def _constructor(name, fields, defaults):
        """Return `__new__` of a named tuple, which has the names of the fields as those of its parameters."""
        count = len(fields)
        if count not in _codes:
            words = "".join(f"_{number}, " for number in range(count))
            _codes[count] = eval(f"lambda _cls, {words}: _new(_cls, ({words}))").__code__
        code = _codes[count].replace(co_varnames=("_cls", *fields))
        made = FunctionType(code, {"_new": tuple.__new__}, "__new__", defaults)
        made.__qualname__ = f"{name}.__new__"
        return made

    class _NamedTupleMeta(type):
        def __new__(mcls, name, bases, namespace):
            if not bases:
                return super().__new__(mcls, name, bases, namespace)
            annotations = namespace.get("__annotations__", {})
            fields = tuple(annotations)
            defaults = {field: namespace.pop(field) for field in fields if field in namespace}
            if tuple(defaults) != fields[len(fields) - len(defaults) :]:
                raise TypeError(f"a field without a default follows one with a default in {name}")
            constructor = _constructor(name, fields, tuple(defaults.values()))
            constructor.__annotations__ = annotations
            namespace |= {
                "__slots__": (), "_fields": fields, "_field_defaults": defaults, "__match_args__": fields,
                "__new__": constructor,
            }  # fmt: skip
            for number, field in enumerate(fields):
                namespace[field] = _tuplegetter(number, "")
            return type(name, (_Record,), namespace)

    class NamedTuple(metaclass=_NamedTupleMeta):
        """`typing.NamedTuple` for a class of fields, with defaults and methods."""

    class Protocol:
        """`typing.Protocol` for classes that are not asked for instances."""

    def cast(kind, value):
        return value

    def overload(function):
        return function
