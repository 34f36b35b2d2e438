"""The rights of a program on its machine, as one short text that changes when the program drops any of them.

The program reads it, and so do the processes that run its commands: a program that has dropped a right must not
be able to use it through them. Source: proc_pid_status(5).
"""

import binascii

#: Without the effective set, which a program can raise and lower at any time within the permitted one.
_FIELDS = (b"Uid:", b"Gid:", b"Groups:", b"CapInh:", b"CapPrm:", b"CapBnd:", b"CapAmb:")


def privileges_of(process: str) -> str | None:
    """Return the ids and capabilities of a process; "" for one without id 0 and without capabilities.

    `process` is its directory in /proc, e.g. "self". None if it cannot be read. A process changes the
    ids of all its threads at once; the directory of a process shows those of its main thread.
    """
    try:
        with open(f"/proc/{process}/status", "rb", buffering=0) as file:
            lines = file.read(1 << 20).splitlines()
    except OSError:
        return None
    fields = [line.split() for line in lines if line.startswith(_FIELDS)]
    found = {name: values for name, *values in fields}
    ids = [*found.get(b"Uid:", ()), *found.get(b"Gid:", ()), *found.get(b"Groups:", ())]
    if b"0" not in ids and not int(found.get(b"CapPrm:", [b"0"])[0], 16):
        return ""
    # There may be 65,536 groups, but the text has to fit into one argument of a command.
    groups = binascii.crc32(b" ".join(found.pop(b"Groups:", [])))
    rest = b" ".join(value for values in found.values() for value in values)
    return f"{groups:x} {rest.decode()}"
