"""Objects that belong to one process, and to a thread in it, and cannot be copied."""

from __future__ import annotations

from typing import NoReturn, SupportsIndex


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
