"""Objects that belong to one process, and to a thread in it: copies of them are refused."""

from __future__ import annotations

from mpshell.runtime.lean import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NoReturn, SupportsIndex


class Uncopied:
    """Base of classes whose objects can be neither copied nor pickled: TypeError at the call.

    A copy would share threads, locks and descriptors with the first: `copy`, `pickle` and all that is built on
    them (`multiprocessing`, `concurrent.futures`) ask here, also for an object that has one of these in it.
    """

    #: The alternative, for the error.
    _instead = "make another one"

    def __reduce_ex__(self, protocol: SupportsIndex) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} cannot be copied or pickled, it belongs to this process: {self._instead}"
        )
