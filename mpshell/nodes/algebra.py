"""Own the algebra of sets that keep their members in a dict: the common part of `NodeSetBase` and `RangeSetND`.

A class defines how its members are read and replaced, and the forms that a method takes for members.  Pure code
without global state.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, Self, TypeVar, cast

M = TypeVar("M", bound=Hashable)
"""A member."""

Source = TypeVar("Source")
"""The forms of members that methods take."""

Other = TypeVar("Other")
"""The forms of members that operators take."""


class DictSet(Generic[M, Source, Other]):
    """A mutable set: methods take members in any form, operators only another set.

    A text next to an operator is more likely a mistake.
    """

    # Abstract methods by NotImplementedError: with ABCMeta each isinstance() of a node set would call Python.

    __slots__ = ()

    def _members(self) -> dict[M, None]:
        """Return the members; they are changed by methods of this class in place."""
        raise NotImplementedError

    def _members_of(self, other: Source) -> dict[M, None]:
        """Return the members that the argument of a method stands for; they are not changed."""
        raise NotImplementedError

    def _replace(self, members: dict[M, None]) -> None:
        """Have other members from now on."""
        raise NotImplementedError

    def _join(self, members: dict[M, None]) -> None:
        """Have some more members."""
        self._replace({**self._members(), **members})

    def _is_set(self, other: object) -> bool:
        """Return whether an operator takes `other`."""
        raise NotImplementedError

    def copy(self) -> Self:
        """Return an independent copy."""
        raise NotImplementedError

    # Changes in place.

    def clear(self) -> None:
        """Remove every member."""
        self._replace({})

    def update(self, other: Source) -> None:
        """Add the members of `other`."""
        self._join(self._members_of(other))

    def intersection_update(self, other: Source) -> None:
        """Keep only the members that are in `other` too."""
        kept = self._members_of(other)
        self._replace({member: None for member in self._members() if member in kept})

    def difference_update(self, other: Source, strict: bool = False) -> None:
        """Remove the members of `other`; with `strict`, raise KeyError, and remove none, if some is absent."""
        gone, members = self._members_of(other), self._members()
        if strict:
            for member in gone:
                if member not in members:
                    raise KeyError(member)
        self._replace({member: None for member in members if member not in gone})

    def symmetric_difference_update(self, other: Source) -> None:
        """Keep the members of exactly one of both."""
        others, members = self._members_of(other), self._members()
        added = {member: None for member in others if member not in members}
        self._replace({member: None for member in members if member not in others})
        self._join(added)

    # The same, each as a new set.

    def union(self, other: Source) -> Self:
        """Return the members of either."""
        result = self.copy()
        result.update(other)
        return result

    def intersection(self, other: Source) -> Self:
        """Return the members of both."""
        result = self.copy()
        result.intersection_update(other)
        return result

    def difference(self, other: Source) -> Self:
        """Return the members that are not in `other`."""
        result = self.copy()
        result.difference_update(other)
        return result

    def symmetric_difference(self, other: Source) -> Self:
        """Return the members of exactly one of both."""
        result = self.copy()
        result.symmetric_difference_update(other)
        return result

    def issubset(self, other: Source) -> bool:
        """Return whether all of it is in `other`."""
        return self._members().keys() <= self._members_of(other).keys()

    def issuperset(self, other: Source) -> bool:
        """Return whether all of `other` is in it."""
        return self._members().keys() >= self._members_of(other).keys()

    def __or__(self, other: Other) -> Self:
        return self.union(self._operand(other)) if self._is_set(other) else NotImplemented

    def __and__(self, other: Other) -> Self:
        return self.intersection(self._operand(other)) if self._is_set(other) else NotImplemented

    def __sub__(self, other: Other) -> Self:
        return self.difference(self._operand(other)) if self._is_set(other) else NotImplemented

    def __xor__(self, other: Other) -> Self:
        return (
            self.symmetric_difference(self._operand(other))
            if self._is_set(other)
            else NotImplemented
        )

    # These raise TypeError themselves, as those of ClusterShell do: NotImplemented would let `a |= b`
    # be `a = b.__ror__(a)`, an object of another class under the name of this one.

    def __ior__(self, other: Other) -> Self:
        self.update(self._operand(other))
        return self

    def __iand__(self, other: Other) -> Self:
        self.intersection_update(self._operand(other))
        return self

    def __isub__(self, other: Other) -> Self:
        self.difference_update(self._operand(other))
        return self

    def __ixor__(self, other: Other) -> Self:
        self.symmetric_difference_update(self._operand(other))
        return self

    def __eq__(self, other: object) -> bool:
        if not self._is_set(other):
            return NotImplemented
        return self._members().keys() == self._members_of(self._operand(other)).keys()

    def __le__(self, other: Other) -> bool:
        return self.issubset(self._operand(other))

    def __lt__(self, other: Other) -> bool:
        return self <= other and self != other

    def __ge__(self, other: Other) -> bool:
        return self.issuperset(self._operand(other))

    def __gt__(self, other: Other) -> bool:
        return self >= other and self != other

    def _operand(self, other: object) -> Source:
        """Return the operand of an operator in a form for methods; TypeError if it is not a set."""
        if not self._is_set(other):
            raise TypeError(
                f"an operator of a {type(self).__name__} takes another one, not {other!r}"
            )
        return cast("Source", other)
