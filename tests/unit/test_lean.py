"""The named tuples of a first run behave as those of `typing`, which take longer to make."""

from __future__ import annotations

import inspect
import pickle
import typing
from collections.abc import Callable
from typing import Any

import pytest

from mpshell.runtime import lean


class Lean(lean.NamedTuple):
    """A doc."""

    job: int
    name: str = "n"
    rest: tuple[int, ...] = ()

    @property
    def twice(self) -> int:
        return 2 * self.job


class Typed(typing.NamedTuple):
    """A doc."""

    job: int
    name: str = "n"
    rest: tuple[int, ...] = ()

    @property
    def twice(self) -> int:
        return 2 * self.job


class Shown(lean.NamedTuple):
    job: int

    def __repr__(self) -> str:
        return f"job {self.job}"


USES: dict[str, Callable[[Any], Any]] = {
    "defaults": lambda kind: kind(1),
    "all": lambda kind: kind(1, "x", (2,)),
    "by name": lambda kind: kind(rest=(1,), job=3),
    "none": lambda kind: kind(),
    "too many": lambda kind: kind(1, 2, 3, 4),
    "unknown": lambda kind: kind(1, other=2),
    "twice": lambda kind: kind(1, job=2),
    "property": lambda kind: kind(4).twice,
    "replace": lambda kind: kind(1)._replace(name="y"),
    "replace unknown": lambda kind: kind(1)._replace(other="y"),
    "asdict": lambda kind: kind(1)._asdict(),
    "make": lambda kind: kind._make([1, 2, 3]),
    "make of two": lambda kind: kind._make([1, 2]),
    "fields": lambda kind: (kind._fields, kind._field_defaults, kind.__match_args__),
    "equal": lambda kind: (kind(1) == (1, "n", ()), hash(kind(1)) == hash((1, "n", ()))),
    "unpack": lambda kind: [*kind(1)],
    "no attribute": lambda kind: setattr(kind(1), "other", 1),
    "read-only": lambda kind: setattr(kind(1), "job", 2),
    "doc": lambda kind: kind.__doc__,
    "signature": lambda kind: [
        (one.name, one.kind, one.default) for one in inspect.signature(kind).parameters.values()
    ],
    "hints": lambda kind: {name: str(hint) for name, hint in typing.get_type_hints(kind).items()},
    "pickle": lambda kind: pickle.loads(pickle.dumps(kind(1, "x"))),
}


def _outcome(use: Callable[[Any], Any], kind: type) -> str:
    try:
        found = repr(use(kind))
    except (TypeError, ValueError, AttributeError) as error:
        found = f"{type(error).__name__}: {error}"
    # Up to Python 3.12 an unknown field of `_replace` is a ValueError there, and a TypeError from 3.13 on.
    found = found.replace("TypeError: Got unexpected", "ValueError: Got unexpected")
    return found.replace(kind.__name__, "It")


@pytest.mark.parametrize("name", USES)
def test_a_named_tuple_is_as_the_one_of_typing(name: str) -> None:
    assert _outcome(USES[name], Lean) == _outcome(USES[name], Typed)


def test_a_method_of_the_class_body_goes_first() -> None:
    assert repr(Shown(5)) == "job 5"


def test_a_field_without_a_default_does_not_follow_one_with_a_default() -> None:
    source = "class Wrong(NamedTuple):\n    a: int = 1\n    b: int\n"
    for module in (lean, typing):
        with pytest.raises(TypeError):
            exec(source, {"NamedTuple": module.NamedTuple, "__name__": "x"})


def test_two_of_the_same_number_of_fields_keep_their_own_names() -> None:
    class One(lean.NamedTuple):
        a: int
        b: int

    class Two(lean.NamedTuple):
        c: int
        d: int

    assert (One(b=1, a=2), Two(d=3, c=4)) == ((2, 1), (4, 3))
    assert (repr(One(1, 2)), repr(Two(1, 2))) == ("One(a=1, b=2)", "Two(c=1, d=2)")
