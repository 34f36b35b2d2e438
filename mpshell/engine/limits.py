"""How many clients at once the limits of an engine process allow."""

import errno
import resource

#: Descriptors of a client at most, without a log, and those that an engine needs besides, for spawns too.
FDS_A_CLIENT, OWN_FDS = 3, 24


#: Connections that stay open in an engine at most, and by how many the room for them grows.
MOST_KEPT, _STEP = 2000, 128


#: Errors that pass when other commands end: no descriptors, no processes, no memory.
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM)


def passes(error: Exception) -> bool:
    """Return whether a start that has failed now can succeed later, when there is room."""
    return isinstance(error, OSError) and error.errno in _NO_ROOM


def descriptors_for(clients: int, logs: bool) -> int:
    """Return how many descriptors an engine needs for a number of clients, each with or without a log."""
    return clients * (FDS_A_CLIENT + logs) + OWN_FDS


def room_for(clients: int, logs: bool) -> int:
    """Raise the soft limit of descriptors for so many clients, with a log each or without; return how many fit.

    Commands inherit the limit, so it is raised as far as needed and not further (getrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return clients
    needed = descriptors_for(clients, logs)
    if needed > soft:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return max(1, min(clients, (soft - OWN_FDS) // (FDS_A_CLIENT + logs)))


def room_to_keep(connections: int, taken: int) -> int:
    """Make room for so many connections that stay, and some more; return for how many there is.

    They have half of the limit of descriptors at most, and `taken` are for clients. It is raised as for these.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(MOST_KEPT, -(-connections // _STEP) * _STEP)
    if soft == resource.RLIM_INFINITY:
        return wanted
    needed = max(2 * wanted, taken + wanted)
    if needed > soft:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return max(0, min(wanted, soft // 2, soft - taken))
