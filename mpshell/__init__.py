"""mpshell: shell commands on sets of nodes, with ClusterShell's Task API, on all cores of this machine.

All public names can be imported from here. They are loaded at first use, because an engine process
imports this package too and needs almost none of them.
"""

from __future__ import annotations

#: Type checkers know it by its name; importing `typing` would cost more than all other imports of an engine.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from typing import Any

__version__ = "0.2.0"

if TYPE_CHECKING:
    from mpshell import aio as aio
    from mpshell.coordinator.retry import RetryPolicy
    from mpshell.defaults import DEFAULTS, Defaults
    from mpshell.errors import (
        AlreadyRunningError,
        DefaultsError,
        EngineAbortException,
        EngineAlreadyRunningError,
        EngineClientEOF,
        EngineClientError,
        EngineClientException,
        EngineClientNotSupportedError,
        EngineException,
        EngineIllegalOperationError,
        EngineNotSupportedError,
        EngineStartError,
        EngineTimeoutException,
        InputStorageError,
        JournalError,
        TaskError,
        TaskException,
        TaskMsgTreeError,
        TaskSettingError,
        TimeoutError,
        UnknownThreadError,
        WorkerBadArgumentError,
        WorkerError,
        WorkerException,
    )
    from mpshell.event import EventHandler
    from mpshell.hosts.dask import dask
    from mpshell.hosts.srun import srun
    from mpshell.hosts.ssh import ssh_hosts
    from mpshell.msgtree import MODE_DEFER, MODE_SHIFT, MODE_TRACE, MsgTree, MsgTreeElem
    from mpshell.nodeset import (
        RESOLVER_NOGROUP,
        NodeGroupError,
        NodeSet,
        NodeSetBase,
        NodeSetError,
        NodeSetException,
        NodeSetExternalError,
        NodeSetParseError,
        NodeSetParseRangeError,
        expand,
        fold,
        grouplist,
        set_std_group_resolver,
        set_std_group_resolver_config,
        std_group_resolver,
    )
    from mpshell.outcome import NodeOutcome
    from mpshell.pollers import EngineEPoll, EnginePoll, EngineSelect
    from mpshell.rangeset import (
        AUTOSTEP_DISABLED,
        RangeSet,
        RangeSetError,
        RangeSetException,
        RangeSetPaddingError,
        RangeSetParseError,
    )
    from mpshell.rangesetnd import RangeSetND
    from mpshell.task.functions import task_cleanup, task_self, task_terminate, task_wait
    from mpshell.task.ports import EnginePort
    from mpshell.task.task import Task
    from mpshell.task.timers import EngineTimer
    from mpshell.worker.asyncssh import WorkerAsyncSsh
    from mpshell.worker.base import FANOUT_DEFAULT, FANOUT_UNLIMITED
    from mpshell.worker.exec import ExecWorker
    from mpshell.worker.kinds import DistantWorker, Worker, WorkerPopen
    from mpshell.worker.pdsh import WorkerPdsh
    from mpshell.worker.rsh import WorkerRsh
    from mpshell.worker.ssh import WorkerSsh
    from mpshell.worker.stream import StreamWorker, WorkerSimple
    from mpshell.worker.transport import Transport

__all__ = [
    "AUTOSTEP_DISABLED",
    "DEFAULTS",
    "FANOUT_DEFAULT",
    "FANOUT_UNLIMITED",
    "MODE_DEFER",
    "MODE_SHIFT",
    "MODE_TRACE",
    "RESOLVER_NOGROUP",
    "AlreadyRunningError",
    "Defaults",
    "DefaultsError",
    "DistantWorker",
    "EngineAbortException",
    "EngineAlreadyRunningError",
    "EngineClientEOF",
    "EngineClientError",
    "EngineClientException",
    "EngineClientNotSupportedError",
    "EngineEPoll",
    "EngineException",
    "EngineIllegalOperationError",
    "EngineNotSupportedError",
    "EnginePoll",
    "EnginePort",
    "EngineSelect",
    "EngineStartError",
    "EngineTimeoutException",
    "EngineTimer",
    "EventHandler",
    "ExecWorker",
    "InputStorageError",
    "JournalError",
    "MsgTree",
    "MsgTreeElem",
    "NodeGroupError",
    "NodeOutcome",
    "NodeSet",
    "NodeSetBase",
    "NodeSetError",
    "NodeSetException",
    "NodeSetExternalError",
    "NodeSetParseError",
    "NodeSetParseRangeError",
    "RangeSet",
    "RangeSetError",
    "RangeSetException",
    "RangeSetND",
    "RangeSetPaddingError",
    "RangeSetParseError",
    "RetryPolicy",
    "StreamWorker",
    "Task",
    "TaskError",
    "TaskException",
    "TaskMsgTreeError",
    "TaskSettingError",
    "TimeoutError",
    "Transport",
    "UnknownThreadError",
    "Worker",
    "WorkerAsyncSsh",
    "WorkerBadArgumentError",
    "WorkerError",
    "WorkerException",
    "WorkerPdsh",
    "WorkerPopen",
    "WorkerRsh",
    "WorkerSimple",
    "WorkerSsh",
    "dask",
    "expand",
    "fold",
    "grouplist",
    "set_std_group_resolver",
    "set_std_group_resolver_config",
    "srun",
    "ssh_hosts",
    "std_group_resolver",
    "task_cleanup",
    "task_self",
    "task_terminate",
    "task_wait",
]

#: The module of each name.
_HOMES = {
    "mpshell.coordinator.retry": ("RetryPolicy",),
    "mpshell.task.ports": ("EnginePort",),
    "mpshell.task.timers": ("EngineTimer",),
    "mpshell.defaults": ("DEFAULTS", "Defaults"),
    "mpshell.errors": (
        "AlreadyRunningError", "DefaultsError", "EngineAbortException", "EngineAlreadyRunningError",
        "EngineClientEOF", "EngineClientError", "EngineClientException", "EngineClientNotSupportedError",
        "EngineException",
        "EngineIllegalOperationError", "EngineNotSupportedError", "EngineStartError",
        "EngineTimeoutException", "InputStorageError", "JournalError", "TaskError", "TaskException",
        "TaskMsgTreeError", "TaskSettingError", "TimeoutError", "UnknownThreadError",
        "WorkerBadArgumentError", "WorkerError", "WorkerException",
    ),
    "mpshell.event": ("EventHandler",),
    "mpshell.hosts.dask": ("dask",),
    "mpshell.hosts.srun": ("srun",),
    "mpshell.hosts.ssh": ("ssh_hosts",),
    "mpshell.msgtree": ("MODE_DEFER", "MODE_SHIFT", "MODE_TRACE", "MsgTree", "MsgTreeElem"),
    "mpshell.nodeset": (
        "RESOLVER_NOGROUP", "NodeGroupError", "NodeSet", "NodeSetBase", "NodeSetError", "NodeSetException",
        "NodeSetExternalError", "NodeSetParseError", "NodeSetParseRangeError", "expand", "fold", "grouplist",
        "set_std_group_resolver", "set_std_group_resolver_config", "std_group_resolver",
    ),
    "mpshell.outcome": ("NodeOutcome",),
    "mpshell.pollers": ("EngineEPoll", "EnginePoll", "EngineSelect"),
    "mpshell.rangeset": (
        "AUTOSTEP_DISABLED", "RangeSet", "RangeSetError", "RangeSetException", "RangeSetPaddingError",
        "RangeSetParseError",
    ),
    "mpshell.rangesetnd": ("RangeSetND",),
    "mpshell.task.functions": ("task_cleanup", "task_self", "task_terminate", "task_wait"),
    "mpshell.task.task": ("Task",),
    "mpshell.worker.exec": ("ExecWorker",),
    "mpshell.worker.kinds": ("DistantWorker", "Worker", "WorkerPopen"),
    "mpshell.worker.pdsh": ("WorkerPdsh",),
    "mpshell.worker.rsh": ("WorkerRsh",),
    "mpshell.worker.asyncssh": ("WorkerAsyncSsh",),
    "mpshell.worker.ssh": ("WorkerSsh",),
    "mpshell.worker.stream": ("StreamWorker", "WorkerSimple"),
    "mpshell.worker.transport": ("Transport",),
    "mpshell.worker.base": ("FANOUT_DEFAULT", "FANOUT_UNLIMITED"),
}  # fmt: skip
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    import importlib

    if name == "aio":
        return importlib.import_module("mpshell.aio")
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(home), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
