"""Reads the text of a file `defaults.conf`: sections and keys of `mpshell.defaults`, each with its type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from configparser import ConfigParser
from configparser import Error as ParserError
from typing import Any

from mpshell.errors import DefaultsError

_BOOLEANS = ConfigParser.BOOLEAN_STATES

#: Keys for which None is a value, written as `none` in a file.
_MAY_BE_NONE = {
    **dict.fromkeys(("engines", "canary", "batch", "max_fail"), int),
    **dict.fromkeys(("rate", "connect_rate", "drain", "heartbeat"), float),
}

#: Keys whose values are objects of Python.
_OBJECTS = ("print_debug", "retry", "launcher", "ssh_password")


def values_of(
    path: str, text: str, tables: Mapping[str, Mapping[str, Any]]
) -> Iterator[tuple[str, str, Any]]:
    """Yield section, key and value of each key of `tables` that the text has.  Raise DefaultsError.

    Other sections and keys are ignored: they may belong to another version.
    """
    parser = ConfigParser()
    try:
        parser.read_string(text, path)
        if parser.has_option("task.info", "ssh_password"):
            raise DefaultsError(
                path, "[task.info] ssh_password: a password cannot be set in a file"
            )
        for section, table in tables.items():
            if parser.has_section(section):
                for key, default in table.items():
                    if key not in _OBJECTS and parser.has_option(section, key):
                        value = parser.get(section, key)
                        yield section, key, _value(path, section, key, value, default)
    except ParserError as error:
        raise DefaultsError(path, " ".join(str(error).split())) from error


def _value(path: str, section: str, key: str, text: str, default: Any) -> Any:
    if key in _MAY_BE_NONE and text.lower() == "none":
        return None
    reader, allowed = _reader(key, default)
    try:
        return reader(text)
    except (ValueError, KeyError):
        raise DefaultsError(path, f"[{section}] {key}: {text!r} is not {allowed}") from None


def _reader(key: str, default: Any) -> tuple[Callable[[str], Any], str]:
    """Return the function that reads the text of a key, and a description of the texts that it accepts."""
    kind = _MAY_BE_NONE.get(key, type(default))
    none = " or none" if key in _MAY_BE_NONE else ""
    if kind is bool:
        return lambda text: _BOOLEANS[text.lower()], f"one of {', '.join(_BOOLEANS)}"
    if kind is tuple:
        return (
            lambda text: tuple(int(part) for part in text.split(",") if part.strip()),
            "a list of whole numbers, as 0,-1",
        )
    if kind is str:
        return str, "a text"
    if kind is int and not key.endswith("_timeout"):
        return int, f"a whole number{none}"
    return float, f"a number{none}"
