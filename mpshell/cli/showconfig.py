"""--config: every setting of the command, its value and where it comes from, as a table or as JSON."""

from __future__ import annotations

import argparse
import json
import os
from typing import Any, NamedTuple

from mpshell.cli.conffile import ConfError
from mpshell.cli.effective import LEVELS, color
from mpshell.cli.settings import ALL, SETTINGS, Setting, as_text
from mpshell.cli.terminal import STDOUT, write_all
from mpshell.cli.text import visible
from mpshell.defaults import DEFAULTS, config_paths
from mpshell.errors import DefaultsError

#: Options that are not settings themselves, but set the value of one.
_OTHERS = {
    "rate": ("delay",),
    "maxrc": ("always_zero",),
    "verbosity": ("quiet", "verbose", "debug"),
}
#: Settings that -l and -o set, by the transport.
_CONNECTING = {"ssh": "ssh", "asyncssh": "ssh", "rsh": "rsh"}


class _Shown(NamedTuple):
    setting: Setting
    value: Any
    where: str


def show_config(options: argparse.Namespace) -> int:
    """Write the settings to stdout; return the exit status."""
    conf = options.configuration
    # Of the library's own settings those of node sets hold for the command, too.
    settings = [
        setting for setting in ALL if setting.key in SETTINGS or setting.section == "nodeset"
    ]
    shown = [_shown(options, setting) for setting in settings if not setting.ignored]
    text = _as_json(conf, shown) if options.json or options.jsonl else _as_table(conf, shown)
    write_all(STDOUT, os.fsencode(text))
    return 0


def _shown(options: argparse.Namespace, setting: Setting) -> _Shown:
    """Return the value of a setting, from the place that takes precedence."""
    given = _given(options, setting)
    if given is not None:
        return given
    conf = options.configuration
    if setting.key == "color":
        value, variable = color(conf)
        if variable is not None:
            return _Shown(setting, value, f"${variable}")
    found = conf.found(setting.key)
    if found is not None:
        return _Shown(setting, found.value, found.where)
    return _default(setting)


def _given(options: argparse.Namespace, setting: Setting) -> _Shown | None:
    """Return the value that the command line has, None for none."""
    key = setting.key
    if key == "fold_axis" and options.axis is not None:
        return _Shown(setting, options.axis, "option --axis")
    if key in options.given:
        value = getattr(options, key)
        if key == "hosts_options":
            value = " ".join(value)
        return _Shown(setting, value, f"option {setting.names[-1]}")
    for name in _OTHERS.get(key, ()):
        if name in options.given:
            value = 1 / options.delay if name == "delay" else LEVELS.get(name, False)
            return _Shown(setting, value, f"option --{name.replace('_', '-')}")
    transport = _CONNECTING.get(options.worker)
    if key == f"{transport}_user" and "user" in options.given:
        return _Shown(setting, options.user, "option --user")
    if key == f"{transport}_options" and "options" in options.given:
        return _Shown(setting, " ".join(options.options), "option --options")
    return None


def _default(setting: Setting) -> _Shown:
    """Return the value that holds without options and files of the command; ConfError."""
    key = "distant_workername" if setting.key == "worker" else setting.info or setting.key
    try:
        value = getattr(DEFAULTS, key, setting.default)
    except DefaultsError as error:
        raise ConfError(*error.args) from None
    where = "default" if value == setting.default else _line_of_defaults(key)
    return _Shown(setting, value, where)


def _line_of_defaults(key: str) -> str:
    """Return the file and line of a key in defaults.conf."""
    from mpshell.cli.conffile import read_file
    from mpshell.cli.confparser import parse

    for path in reversed(config_paths("defaults.conf")):
        try:
            data = read_file(path)
        except PermissionError:
            continue
        for entries in parse(path, data or b"").values():
            if key in entries:
                return entries[key].where
    return "defaults.conf"


def _as_table(conf: Any, shown: list[_Shown]) -> str:
    rows = [(row.setting.key, _text(row), row.where) for row in shown]
    widths = [max(len(visible(row[column])) for row in rows) for column in (0, 1)]
    lines = [
        f"{visible(key):{widths[0]}}  {visible(value):{widths[1]}}  {visible(where)}".rstrip()
        for key, value, where in rows
    ]
    for title, others in (
        ("files, a later one goes before", [(path, "") for path in conf.files]),
        ("not read", list(conf.unread.items())),
        ("run modes", [(name, "") for name in conf.modes]),
        ("ignored", [(f"{i.where}: {i.name}: {i.text}", i.reason) for i in conf.ignored]),
    ):
        if others:
            lines += ["", f"{title}:"]
            lines += [
                f"  {visible(text)}{f' ({visible(why)})' if why else ''}" for text, why in others
            ]
    return "".join(f"{line}\n" for line in lines)


def _text(row: _Shown) -> str:
    unit = row.setting.kind.unit
    value = as_text(row.value)
    return f"{value} {unit}" if unit and value != "none" else value or "-"


def _as_json(conf: Any, shown: list[_Shown]) -> str:
    document = {
        "settings": [
            {
                "key": row.setting.key, "value": _plain(row.value), "unit": row.setting.kind.unit or None,
                "from": row.where, "default": _plain(row.setting.default),
            }
            for row in shown
        ],
        "files": conf.files,
        "not_read": [{"file": path, "reason": why} for path, why in conf.unread.items()],
        "modes": conf.modes,
        "ignored": [
            {"key": i.name, "value": i.text, "from": i.where, "reason": i.reason} for i in conf.ignored
        ],
    }  # fmt: skip
    return json.dumps(document, indent=1, ensure_ascii=True) + "\n"


def _plain(value: Any) -> Any:
    """Return a value as JSON has it."""
    return sorted(value) if isinstance(value, frozenset) else value
