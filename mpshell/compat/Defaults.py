"""The names of ClusterShell.Defaults."""

from mpshell.defaults import (
    CFG_SECTION_ENGINE,
    CFG_SECTION_NODESET,
    CFG_SECTION_TASK_DEFAULT,
    CFG_SECTION_TASK_INFO,
    DEFAULTS,
    Defaults,
    config_paths,
    print_debug,
)

__all__ = [
    "CFG_SECTION_ENGINE",
    "CFG_SECTION_NODESET",
    "CFG_SECTION_TASK_DEFAULT",
    "CFG_SECTION_TASK_INFO",
    "DEFAULTS",
    "Defaults",
    "config_paths",
]

_task_print_debug = print_debug
