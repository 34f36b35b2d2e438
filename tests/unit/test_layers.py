"""The architecture as the import statements have it, and the rules that hold for every module."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mpshell"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: What each layer may import of mpshell. A leaf is any other module at the top.
ALLOWED = {
    "errors": {"errors"},
    "runtime": {"errors", "runtime"},
    "wire": {"errors", "runtime", "wire"},
    "nodes": {"errors", "nodes"},
    "leaf": {"errors", "runtime", "wire", "nodes", "leaf"},
    "engine": {"errors", "runtime", "wire", "leaf", "engine", "package"},
    "ssh": {"errors", "runtime", "wire", "ssh"},
    "connect": {
        "errors",
        "runtime",
        "wire",
        "engine",
        "ssh",
        "connect",
    },  # loaded late, by its name
    "launch": {"errors", "runtime", "wire", "leaf", "launch", "package"},
    "hosts": {"errors", "runtime", "wire", "leaf", "engine", "launch", "hosts", "package"},
    "coordinator": {
        "errors",
        "runtime",
        "wire",
        "leaf",
        "ssh",
        "launch",
        "coordinator",
        "package",
    },
    "journal": {"errors", "runtime", "wire", "leaf", "coordinator", "journal", "package"},
    "worker": {"errors", "runtime", "wire", "leaf", "ssh", "launch", "coordinator", "worker"},
    "task": {
        "errors",
        "runtime",
        "wire",
        "leaf",
        "launch",
        "coordinator",
        "journal",
        "worker",
        "task",
        "event",
    },
    "event": {"errors", "leaf", "worker", "task"},  # the types of what handlers get
    "doctor": {"errors", "leaf", "engine", "launch", "doctor"},  # loaded late
    "cli": {
        "errors",
        "leaf",
        "doctor",
        "event",
        "journal",
        "worker",
        "task",
        "hosts",
        "package",
        "cli",
    },
    "aio": {"errors", "runtime", "leaf", "coordinator", "worker", "task", "package", "aio"},
    # Names, of any layer that users import from, and how they are imported.
    "compat": {"errors", "runtime", "leaf", "event", "worker", "task", "compat"},
}
#: Modules of `compat` with code of their own. The others are plates: names from elsewhere, nothing else.
COMPAT_CODE = {"compat/__main__.py", "compat/imports.py"}
#: Modules of an allowed layer that are not for everybody.
FORBIDDEN = {
    "engine": {"mpshell.nodeset", "mpshell.defaults", "mpshell.msgtree"},
    "worker": {"mpshell.wire.channel", "mpshell.runtime.loop"},
    "task": {"mpshell.wire.channel"},
}
#: System calls about processes, and who may make them: commands are engine/process.py's alone.
PROCESS_CALLS = {"posix_spawn", "posix_spawnp", "fork", "waitpid", "waitid", "kill", "killpg"}
CALLERS = {
    "engine/process.py": PROCESS_CALLS,
    "engine/forkserver.py": {"fork", "kill", "waitpid"},  # about engines and orphans
    "worker/ssh_probe.py": {"posix_spawnp", "waitpid", "killpg"},  # about ssh -G
    "ssh/check.py": {"killpg"},  # about commands of Match exec
    "groups/upcalls.py": {"killpg"},  # about upcalls of group sources
    "hosts/connector.py": {"posix_spawnp", "waitid"},  # about the programs of lines
    "launch/fork.py": {"posix_spawn", "waitid"},  # about the fork server
}


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def layer(module: str) -> str:
    """Return the layer of a dotted module name."""
    parts = module.split(".")
    if len(parts) == 1:
        return "package"
    if parts[1] == "__main__":
        return "cli"
    return parts[1] if parts[1] in ALLOWED else "leaf"


def dotted(path: Path) -> str:
    return "mpshell." + relative(path).removesuffix(".py").replace("/", ".").removesuffix(
        ".__init__"
    )


#: Every module of the package by its dotted name.
NAMES = {dotted(path): path for path in MODULES if relative(path) != "__init__.py"}


def imports(path: Path) -> Iterator[str]:
    """Return the modules that a module imports, those for type checkers included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide the layer"
            module = node.module or ""
            for alias in node.names:
                inner = f"{module}.{alias.name}"
                yield inner if inner in NAMES else module


def names_taken_from(tree: ast.AST) -> Iterator[str]:
    """Return the modules of `from module import name`."""
    return (node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_imports_point_down(path: Path) -> None:
    if path.parent == PACKAGE and path.name == "__init__.py":
        return
    own = layer(dotted(path))
    for name in imports(path):
        if name.split(".")[0] == "mpshell":
            assert layer(name) in ALLOWED[own], name
            assert name not in FORBIDDEN.get(own, ()), name
    if own == "engine":
        assert not {"threading", "multiprocessing", "asyncio", "subprocess"} & set(imports(path))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_asyncssh_is_for_those_who_connect_by_it(path: Path) -> None:
    taken = [name for name in imports(path) if name.split(".")[0] == "asyncssh"]
    assert not taken or layer(dotted(path)) in ("ssh", "connect")


def test_modules_with_names_of_clustershell_have_nothing_but_names() -> None:
    plates = [path for path in MODULES if relative(path).startswith("compat/")]
    assert {relative(path) for path in plates} > COMPAT_CODE
    for path in plates:
        if relative(path) not in COMPAT_CODE:
            allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
            assert all(isinstance(node, allowed) for node in ast.parse(path.read_text()).body), path


def test_no_import_leads_back() -> None:
    """Modules are looked at once all that they import has been; what is never looked at is a circle."""
    wanted = {
        name: {other for other in imports(path) if other in NAMES and other != name}
        for name, path in NAMES.items()
    }
    while ready := [name for name, others in wanted.items() if not others]:
        for name in ready:
            del wanted[name]
        for others in wanted.values():
            others.difference_update(ready)
    assert not wanted


#: Names with an underscore that are public: of NamedTuple, the one way to end a process at once, and that by
#: which an event loop of one's own makes itself known (asyncio.events.__all__).
PUBLIC = {"_replace", "_asdict", "_exit", "_set_running_loop"}


def defined_names(tree: ast.AST) -> Iterator[str]:
    """Return the names that a module defines, attributes of its objects included."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_private_names_stay_in_their_module(path: Path) -> None:
    tree = ast.parse(path.read_text())
    own = set(defined_names(tree)) | PUBLIC
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            base = ast.unparse(node.value)
            inherited = base in ("self", "cls", "super()")
            special = (
                node.attr.startswith("__") or base == "parser"
            )  # argparse has no other way to its options
            assert inherited or special or node.attr in own, (
                f"line {node.lineno}: {ast.unparse(node)}"
            )
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mpshell"):
            taken = [a.name for a in node.names if a.name.startswith("_") and a.name[:2] != "__"]
            assert not taken, f"line {node.lineno}: {taken}"


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_the_rules_of_every_module(path: Path) -> None:
    source = path.read_text()
    tree = ast.parse(source)
    assert len(source.splitlines()) <= 420
    if path.name != "__init__.py" or path.parent != PACKAGE:
        assert ast.get_docstring(tree), "a module says what it owns"
    allowed = CALLERS.get(relative(path), set())
    assert not {"os", "time", "signal"} & set(names_taken_from(tree)), (
        "calls are seen by module.name"
    )
    for node in ast.walk(tree):
        assert not isinstance(node, ast.Assert), f"line {node.lineno}: an assert is no error"
        if isinstance(node, ast.ExceptHandler):
            assert node.type is not None, f"line {node.lineno}: a bare except"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno
            assert length <= 50, f"line {node.lineno}: {node.name} has {length} lines"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            called = ast.unparse(node.func)
            assert called != "time.sleep", f"line {node.lineno}: the library never sleeps"
            if called == "time.time":
                assert path.name == "outcome.py", "a wall clock is for telling, not for deadlines"
            if called.startswith("os.") and node.func.attr in PROCESS_CALLS:
                assert node.func.attr in allowed, f"line {node.lineno}: {called}"


def test_an_engine_loads_neither_the_api_nor_what_is_slow_to_load() -> None:
    """In an interpreter as the fork server has it: the first run of a program waits for its start."""
    source = (
        f"import sys; sys.path.append({str(PACKAGE.parent)!r}); import mpshell.engine.forkserver\n"
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", source], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    assert "mpshell.engine.core" in loaded
    assert not [m for m in loaded if m.startswith(("mpshell.task", "mpshell.worker"))]
    assert not [m for m in loaded if m.startswith(("mpshell.coordinator", "mpshell.nodeset"))]
    assert not [
        m for m in loaded if m.startswith(("mpshell.compat", "mpshell.connect", "mpshell.ssh"))
    ]
    slow = {"asyncio", "dataclasses", "enum", "logging", "pathlib", "pickle", "re", "socket", "subprocess",
            "threading", "traceback", "typing"}  # fmt: skip
    assert not slow & loaded


def test_a_class_has_a_name_of_its_own() -> None:
    """One name means one thing: two classes of a name cannot be told apart in a sentence."""
    names = [
        node.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    assert sorted(names) == sorted(set(names))
