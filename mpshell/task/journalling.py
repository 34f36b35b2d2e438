"""The records of a Task's runs in a journal: its settings, and for each worker enough to make it again.

Loaded with the first run that has a journal. In the thread of the Task.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import Any, cast

from mpshell.coordinator.job import Job
from mpshell.coordinator.retry import RetryPolicy
from mpshell.errors import JournalError
from mpshell.journal.recorder import Beginning, Continuation, Description, Recorder
from mpshell.journal.store import Store
from mpshell.task.settings import WORDS_KEYS, Settings
from mpshell.worker.copy import Copy
from mpshell.worker.distant import CommandWorker
from mpshell.worker.kinds import DistantWorker, Worker

#: The info keys that are recorded, and set again for a run that continues an earlier one. Environment, input
#: and passwords are not recorded.
RECORDED = (
    "fanout", "connect_timeout", "command_timeout", "engines", "rate", "grace", "drain", "heartbeat",
    "retry_lost", "retry", "canary", "batch", "max_fail", "ssh_kex",
    "connect_fanout", "connect_rate", "relay_least", "relay_ports", "remote_env",
    *WORDS_KEYS,
)  # fmt: skip

#: The password among sshpass(1)'s options, at the beginning of a setting that calls a program.
_PASSWORD = re.compile(r"^(\S*\bsshpass\s+(?:-(?!p)\S+\s+)*-p\s*)(\"[^\"]*\"|'[^']*'|\S+)")

#: The text in its place in a journal.
_REMOVED = "(removed)"

_PACKAGE = "mpshell.worker."

#: The name of a local command without a key.
NO_KEY = "local"


def begin(settings: Settings, warn: Callable[[str], object]) -> Recorder:
    """Begin the journal of a run that the settings name; JournalError."""
    target = settings.info("journal")
    sync = bool(settings.info("journal_sync"))
    beginning = Beginning(
        {key: _recorded(settings.info(key)) for key in RECORDED},
        settings.info("journal_output"),
        settings.info("journal_limit"),
    )
    if isinstance(target, Continuation):
        store = target.store
        beginning = beginning._replace(mode=target.mode, root=target.root)
    else:
        store = Store.open(os.fsdecode(target), sync=sync)
    try:
        return Recorder(store, beginning, describe, warn)
    except BaseException:
        store.close()
        raise


def _recorded(value: Any) -> Any:
    """Return the value of an info key in a form for JSON."""
    if isinstance(value, RetryPolicy):
        return {**asdict(value), "on": sorted(value.on)}
    if isinstance(value, str):
        return _PASSWORD.sub(rf"\1{_REMOVED}", value)
    return value


def restored(recorded: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the info keys of a journal; TypeError, TaskSettingError for invalid values.

    JournalError for a program that was called with a password: without it each node would refuse the login.
    """
    for key, value in recorded.items():
        if isinstance(value, str) and (found := _PASSWORD.match(value)) and found[2] == _REMOVED:
            raise JournalError(
                f"{key} was called with a password, which a journal does not hold: "
                "use sshpass -e or -f, which are recorded unchanged"
            )
        if key == "retry" and value is not None:
            value = RetryPolicy(**dict(value))
        if key in RECORDED:
            yield key, value


def describe(job: Job) -> Description:
    """Return the record of a job's worker."""
    worker = cast(Worker, job.listener)
    options: dict[str, Any] = {"timeout": worker.timeout, "stderr": worker.stderr}
    transport = transport_name(type(worker))
    if not isinstance(worker, DistantWorker):
        text = getattr(worker, "command", None)
        names = [NO_KEY if key is worker else str(key) for key in job.keys]
        return Description("local", text, None, None, transport, options, nodes=names)
    options["stdin"] = job.spec.stdin
    said = Description(
        "command", worker.command, worker.source, worker.dest, transport, options,
        nodes=list(map(str, job.keys)), recorded_as=worker.recorded_as,
    )  # fmt: skip
    copy = worker.copying if isinstance(worker, CommandWorker) else None
    if copy is None:
        return said
    options.update(preserve=copy.preserve, atomic=copy.atomic)
    if (way := worker.relays_over) is not None:
        options.update(relay=way)
    kind = "rcopy" if copy.reverse else "copy"
    return said._replace(kind=kind, stamp=stamp(copy))


def transport_name(worker_class: type[Any]) -> str:
    """Return the name by which `load_worker_class` finds a transport."""
    module = worker_class.__module__
    return module.removeprefix(_PACKAGE) if module.startswith(_PACKAGE) else module


def stamp(copy: Copy) -> tuple[int, int] | None:
    """Return size and time of a local source, for a directory those of its files; None if it does not exist."""
    if copy.reverse:
        return None
    try:
        found = os.stat(copy.source)
    except OSError:
        return None
    if not copy.tree:
        return found.st_size, found.st_mtime_ns
    size, modified = 0, found.st_mtime_ns
    for folder, _, names in os.walk(copy.source):
        for path in (folder, *(os.path.join(folder, name) for name in names)):
            try:
                found = os.lstat(path)
            except OSError:
                continue
            size += found.st_size if path is not folder else 0
            modified = max(modified, found.st_mtime_ns)
    return size, modified
