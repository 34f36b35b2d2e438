"""The effective settings of a run: given options, and the others from files and environment."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from typing import Any

from mpshell.cli.conffile import ConfError
from mpshell.cli.configuration import Configuration
from mpshell.cli.journalled import past_option
from mpshell.cli.parser import runs_elsewhere
from mpshell.defaults import DEFAULTS
from mpshell.errors import DefaultsError

#: Where the engines are, when they are on other hosts: one of these at most.
_PLACES = ("hosts", "srun", "dask")

#: Levels of `verbosity`, and the options that stand for them.
_QUIET, _VERBOSE, _DEBUG = 0, 2, 3
LEVELS = {"quiet": _QUIET, "verbose": _VERBOSE, "debug": _DEBUG}


def settle(options: argparse.Namespace) -> None:
    """Give the options that are not in the command line their values; ConfError.

    The files' info keys are for `configured_info`: a Task has them.
    """
    options.configuration = conf = Configuration(options.conf, tuple(options.option), options.mode)
    if "worker" not in options.given:
        options.worker = _worker(conf)
    if "color" not in options.given:
        options.color, _ = color(conf)
    if not options.given & set(LEVELS):
        level = conf["verbosity"]
        options.quiet, options.verbose = level <= _QUIET, level >= _VERBOSE
        options.debug = level >= _DEBUG
    if not options.given & {"maxrc", "always_zero"}:
        options.always_zero = not conf["maxrc"]
    if options.axis is not None:
        DEFAULTS.fold_axis = options.axis
    options.node_count, options.history_size = conf["node_count"], conf["history_size"]
    options.command_prefix = conf["command_prefix"] or ""
    options.password_prompt = conf["password_prompt"]
    past = past_option(options)
    if past is None:
        for key in ("retry", "retry_on"):
            if key not in options.given and conf.found(key) is not None:
                setattr(options, key, conf[key])
    if past not in ("--show", "--runs"):
        _settle_hosts(options, conf)


def _worker(conf: Configuration) -> str:
    found = conf.found("worker")
    if found is not None:
        return str(found.value)
    try:
        return str(DEFAULTS.distant_workername)
    except DefaultsError as error:
        raise ConfError(*error.args) from None


def color(conf: Configuration) -> tuple[str, str | None]:
    """Return when the output is coloured, and the variable that decided it, if any.

    The variables override `auto` only, as with clush.
    """
    wanted = str(conf["color"])
    if wanted != "auto":
        return wanted, None
    if os.environ.get("NO_COLOR"):
        return "never", "NO_COLOR"
    if os.environ.get("CLICOLOR_FORCE", "0") != "0":
        return "always", "CLICOLOR_FORCE"
    if os.environ.get("CLICOLOR") == "0":
        return "never", "CLICOLOR"
    return wanted, None


def origin(options: argparse.Namespace, key: str, option: str) -> str:
    """Return the name of a setting in an error: the option, or the place and the key of a file that has it."""
    found = options.configuration.found(key)
    return option if found is None or key in options.given else f"{found.where}: {key}"


def _settle_hosts(options: argparse.Namespace, conf: Configuration) -> None:
    if not options.given & set(_PLACES):
        chosen = [key for key in _PLACES if conf[key]]
        if len(chosen) > 1 and (found := conf.found(chosen[1])) is not None:
            raise ConfError(
                found.where, f"{chosen[1]}: it does not go with {chosen[0]}, which is also given"
            )
        for key in _PLACES:
            setattr(options, key, conf[key])
    if not runs_elsewhere(options):
        return
    if (
        not options.dask
        and "hosts_options" not in options.given
        and conf.found("hosts_options") is not None
    ):
        options.hosts_options = [conf["hosts_options"]]
    if "hosts_python" not in options.given:
        options.hosts_python = conf["hosts_python"]


def configured_info(options: argparse.Namespace) -> Iterator[tuple[str, Any, str]]:
    """Yield the info keys of a Task that the files set: key, value, place.

    A run that continues one of a journal gets them from the journal, except the settings of the journal.
    """
    recorded: tuple[str, ...] = ()
    if options.again is not None:
        from mpshell.task.journalling import RECORDED

        recorded = (*RECORDED, "journal")
    for found in options.configuration:
        info = found.setting.info
        if info is not None and info not in recorded:
            yield info, found.value, found.where
