"""How many clients at once the limits of an engine process allow."""

import resource

#: Descriptors of a client at most, without a log, and those that an engine needs besides, for spawns too.
FDS_A_CLIENT, OWN_FDS = 3, 24


def room_for(clients: int, logs: bool) -> int:
    """Raise the soft limit of descriptors for so many clients, with a log each or without; return how many fit.

    Commands inherit the limit, so it is raised as far as needed and not further (getrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return clients
    each = FDS_A_CLIENT + logs
    needed = clients * each + OWN_FDS
    if needed > soft:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return max(1, min(clients, (soft - OWN_FDS) // each))
