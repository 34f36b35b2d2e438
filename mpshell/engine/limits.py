"""The limits of an engine process: how many clients at once they allow, and core files."""

import resource

#: Descriptors of a client at most, without a log, and those that an engine needs besides, for spawns too.
_FDS_A_CLIENT, _OWN_FDS = 3, 24


def room_for(clients: int, logs: bool) -> int:
    """Raise the soft limit of descriptors for so many clients, with a log each or without; return how many fit.

    Commands inherit the limit, so it is raised as far as needed and not further (getrlimit(2)).
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return clients
    each = _FDS_A_CLIENT + logs
    needed = clients * each + _OWN_FDS
    if needed > soft:
        raised = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        if raised > soft:
            resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
            soft = raised
    return max(1, min(clients, (soft - _OWN_FDS) // each))


def dump_no_core() -> tuple[int, int]:
    """Have this process leave no core; return the limits that its commands are to have (`give_core_limit`)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_CORE)
    # Not 0: that is for files alone, and with 1 the kernel pipes no core to a program either (core(5)).
    resource.setrlimit(resource.RLIMIT_CORE, (min(1, hard) if hard >= 0 else 1, hard))
    return soft, hard


def give_core_limit(pid: int, limits: tuple[int, int]) -> None:
    """Set the limits of core files of a command that has just started."""
    try:
        resource.prlimit(pid, resource.RLIMIT_CORE, limits)
    except (PermissionError, ProcessLookupError):
        # It has become another user's program at once: it keeps the lower limit.
        return
