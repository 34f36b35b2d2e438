"""How many clients at once the limits of an engine process allow."""

import resource

#: Descriptors of a client at most, without a log, and those that an engine needs besides, for spawns too.
_FDS_A_CLIENT, _OWN_FDS = 3, 24


#: Connections that stay open in an engine at most, and by how many the room for them grows.
MOST_KEPT, _STEP = 2000, 128


def room_for(clients: int, logs: bool, kept: int = 0) -> int:
    """Raise the soft limit of descriptors for so many clients, with a log each or without; return how many fit.

    Beside them there has to be room for `kept` connections that stay. Commands inherit the limit, so it is
    raised as far as needed and not further (getrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return clients
    each = _FDS_A_CLIENT + logs
    needed = clients * each + _OWN_FDS + kept
    if needed > soft:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return max(1, min(clients, (soft - _OWN_FDS - kept) // each))


def room_to_keep(connections: int) -> int:
    """Make room for so many connections that stay, and some more; return for how many there is.

    Half of the limit of descriptors is theirs at most; it is raised as for clients.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(MOST_KEPT, -(-connections // _STEP) * _STEP)
    if soft == resource.RLIM_INFINITY:
        return wanted
    if 2 * wanted > soft:
        soft = 2 * wanted if hard == resource.RLIM_INFINITY else max(soft, min(2 * wanted, hard))
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return min(wanted, soft // 2)
