"""`python -m mpshell.compat PROGRAM ARGS`: a program written for ClusterShell, on mpshell."""

from __future__ import annotations

import builtins
import io
import os
import pkgutil
import runpy
import sys
from importlib.machinery import SourceFileLoader
from types import ModuleType

from mpshell.compat.imports import install

USAGE = """\
usage: python -m mpshell.compat PROGRAM [ARG ...]
       python -m mpshell.compat -m MODULE [ARG ...]

Run a Python program that was written for ClusterShell on mpshell, unchanged.
PROGRAM is the path of a script, or of a directory or zip file with a __main__.py.
"""


def main() -> None:
    """Run the program that the arguments name, as `python` would."""
    arguments = sys.argv[1:]
    if arguments[:1] in (["-h"], ["--help"]):
        print(USAGE, end="")
        return
    as_module = arguments[:1] == ["-m"]
    del arguments[:as_module]
    if not arguments or (not as_module and arguments[0].startswith("-")):
        print(USAGE, end="", file=sys.stderr)
        sys.exit(2)
    install()
    sys.argv[:] = arguments
    if as_module:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        run_path(arguments[0])


def run_path(path: str) -> None:
    """Run a script, or as `runpy.run_path` does a directory or zip file with a __main__.py."""
    try:
        os.stat(path)
    except OSError as error:
        print(f"mpshell.compat: cannot open {path!r}: {error.strerror}", file=sys.stderr)
        sys.exit(2)
    if not sys.flags.safe_path:
        # The working directory, which `python -m` puts there.
        del sys.path[0]
    if pkgutil.get_importer(path) is None:
        run_script(os.path.abspath(path))
    else:
        runpy.run_path(path, run_name="__main__")


def run_script(path: str) -> None:
    """Run a script as the module `__main__`, which it stays to the end: for threads and at the exit."""
    if not sys.flags.safe_path:
        sys.path.insert(0, os.path.dirname(os.path.realpath(path)))
    module = ModuleType("__main__")
    loader = SourceFileLoader("__main__", path)
    names = {"__file__": path, "__loader__": loader, "__builtins__": builtins, "__cached__": None}
    vars(module).update(names)
    with io.open_code(path) as source:
        code = compile(source.read(), path, "exec", dont_inherit=True)
    sys.modules["__main__"] = module
    exec(code, vars(module))


main()
