"""Objects that belong to one process, and to a thread in it, and cannot be copied."""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn, Self, SupportsIndex


class Uncopied:
    """Base of classes whose objects can be neither copied nor pickled: TypeError at the call.

    A copy would share threads, locks and descriptors with the original. `copy`, `pickle` and everything built
    on them (`multiprocessing`, `concurrent.futures`) call this, also for an object that contains one of
    these.
    """

    #: The alternative, for the error.
    _instead = "make another one"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled, it belongs to this process: {self._instead}"
        )


class SharedParts(Uncopied):
    """Base of a class whose objects `copy.copy` copies in programs written for ClusterShell, and nowhere else.

    The copy has the same parts, so that it is another name for the same thing; an attribute that is set on
    one of them is its own. Such programs replace a method of the copy, and hand it on.
    """

    #: One value for all of these classes.
    _is_copied = False

    def __copy__(self) -> Self:
        if not SharedParts._is_copied:
            self.__reduce_ex__(4)
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other


def allow_copies() -> None:
    """Let `copy.copy` copy what has shared parts, from now on in this process."""
    SharedParts._is_copied = True
