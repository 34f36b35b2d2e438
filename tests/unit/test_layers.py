"""The architecture as the import statements have it, and the rules that hold for every module."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "mpshell"
MODULES = sorted(PACKAGE.rglob("*.py"))

#: The layers of mpshell that each layer may import. A leaf is any other module at the top.
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
    "event": {"errors", "leaf", "worker", "task"},  # the types of handlers' arguments
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
#: Modules of an allowed layer that only some modules may import.
FORBIDDEN = {
    "engine": {"mpshell.nodeset", "mpshell.defaults", "mpshell.msgtree"},
    "worker": {"mpshell.wire.channel", "mpshell.runtime.loop"},
    "task": {"mpshell.wire.channel"},
}
#: System calls about processes, and the modules that may make them: only engine/process.py starts commands.
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


class Module:
    """A module as its text has it, parsed once for all rules."""

    def __init__(self, path: Path) -> None:
        self.name = relative(path)
        self.layer = layer(dotted(path))
        source = path.read_text()
        self.lines = len(source.splitlines())
        self.tree = ast.parse(source)
        self.nodes = list(ast.walk(self.tree))

    @functools.cached_property
    def imports(self) -> list[str]:
        """The modules that it imports, those for type checkers included."""
        found: list[str] = []
        for node in self.nodes:
            if isinstance(node, ast.Import):
                found += (alias.name for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.name}: relative imports hide the layer"
                module = node.module or ""
                inner = [f"{module}.{alias.name}" for alias in node.names]
                found += (name if name in NAMES else module for name in inner)
        return found


@pytest.fixture(scope="module")
def modules() -> dict[Path, Module]:
    return {path: Module(path) for path in MODULES}


def test_imports_point_down(modules: dict[Path, Module]) -> None:
    faults = [
        f"{module.name} imports {name}"
        for module in modules.values()
        if module.name != "__init__.py"
        for name in module.imports
        if name.split(".")[0] == "mpshell"
        and (layer(name) not in ALLOWED[module.layer] or name in FORBIDDEN.get(module.layer, ()))
    ]
    slow = {"threading", "multiprocessing", "asyncio", "subprocess"}
    for module in modules.values():
        if module.layer == "engine":
            faults += (f"{module.name} imports {name}" for name in slow & set(module.imports))
    assert faults == []


def test_only_the_layers_that_connect_by_asyncssh_import_it(modules: dict[Path, Module]) -> None:
    taken = {
        module.layer
        for module in modules.values()
        if any(name.split(".")[0] == "asyncssh" for name in module.imports)
    }
    assert taken == {"ssh", "connect"}


def test_modules_with_names_of_clustershell_have_nothing_but_names(
    modules: dict[Path, Module],
) -> None:
    plates = [module for module in modules.values() if module.name.startswith("compat/")]
    assert {module.name for module in plates} > COMPAT_CODE
    for module in plates:
        if module.name not in COMPAT_CODE:
            allowed = (ast.Expr, ast.Import, ast.ImportFrom, ast.Assign)
            assert all(isinstance(node, allowed) for node in module.tree.body), module.name


def test_no_import_leads_back(modules: dict[Path, Module]) -> None:
    """A module is removed when all of its imports have been; the modules that remain form a circle."""
    wanted = {
        name: {other for other in modules[path].imports if other in NAMES and other != name}
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


def defined_names(module: Module) -> Iterator[str]:
    """Return the names that a module defines, attributes of its objects included."""
    for node in module.nodes:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            yield node.target.id
        elif isinstance(node, ast.Assign):
            yield from (target.id for target in node.targets if isinstance(target, ast.Name))


def private_names_of_others(module: Module) -> Iterator[str]:
    """Return each use of a private name that the module does not define."""
    own = set(defined_names(module)) | PUBLIC
    for node in module.nodes:
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            if node.attr.startswith("__") or node.attr in own:
                continue
            # argparse has no other way to its options than by parser._...
            if ast.unparse(node.value) not in ("self", "cls", "super()", "parser"):
                yield f"{module.name} line {node.lineno}: {ast.unparse(node)}"
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("mpshell"):
            taken = [a.name for a in node.names if a.name.startswith("_") and a.name[:2] != "__"]
            if taken:
                yield f"{module.name} line {node.lineno}: {taken}"


def test_private_names_stay_in_their_module(modules: dict[Path, Module]) -> None:
    assert [fault for module in modules.values() for fault in private_names_of_others(module)] == []


def faults_of(module: Module) -> Iterator[str]:
    """Return the line and the text of each breach of a rule that holds for every module."""
    if module.lines > 420:
        yield f"0: it has {module.lines} lines"
    if module.name != "__init__.py" and not ast.get_docstring(module.tree):
        yield "0: a module has a docstring"
    allowed = CALLERS.get(module.name, set())
    for node in module.nodes:
        if isinstance(node, ast.ImportFrom) and node.module in ("os", "time", "signal"):
            yield f"{node.lineno}: calls are seen by module.name"
        if isinstance(node, ast.Assert):
            yield f"{node.lineno}: an assert is no error"
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield f"{node.lineno}: a bare except"
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            length = (node.end_lineno or 0) - node.lineno
            if length > 50:
                yield f"{node.lineno}: {node.name} has {length} lines"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield from faults_of_call(node, node.func, module, allowed)


def faults_of_call(
    node: ast.Call, function: ast.Attribute, module: Module, allowed: set[str]
) -> Iterator[str]:
    if not isinstance(function.value, ast.Name):
        return
    called = f"{function.value.id}.{function.attr}"
    if called == "time.sleep":
        yield f"{node.lineno}: the library never sleeps"
    if called == "time.time" and Path(module.name).name != "outcome.py":
        yield f"{node.lineno}: a wall clock is for reports, not for deadlines"
    if function.value.id == "os" and function.attr in PROCESS_CALLS - allowed:
        yield f"{node.lineno}: {called}"


def test_the_rules_of_every_module(modules: dict[Path, Module]) -> None:
    found = [f"{m.name} line {fault}" for m in modules.values() for fault in faults_of(m)]
    assert found == []


DOC = '"."\n'


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("def f():\n    pass\n", "a module has a docstring"),
        (DOC + "from os import kill\n", "calls are seen by module.name"),
        (DOC + "assert True\n", "an assert is no error"),
        (DOC + "try:\n    pass\nexcept:\n    pass\n", "a bare except"),
        (DOC + "def f():\n" + 51 * "    pass\n", "f has 51 lines"),
        (DOC + "time.sleep(1)\n", "the library never sleeps"),
        (DOC + "time.time()\n", "a wall clock is for reports, not for deadlines"),
        (DOC + "os.kill(1, 9)\n", "os.kill"),
        (DOC + "" + 420 * "\n", "it has 421 lines"),
    ],
)
def test_a_breach_of_each_rule_is_found(
    source: str, fault: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "module.py").write_text(source)
    [found] = faults_of(Module(tmp_path / "module.py"))
    assert found.split(": ")[1] == fault


def test_an_engine_loads_neither_the_api_nor_slow_modules() -> None:
    """In an interpreter as the fork server has it, since the first run of a program waits for its start."""
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


def test_a_class_has_a_name_of_its_own(modules: dict[Path, Module]) -> None:
    """One name means one thing: a sentence cannot distinguish two classes of the same name."""
    classes = Counter(
        node.name
        for module in modules.values()
        for node in module.nodes
        if isinstance(node, ast.ClassDef)
    )
    assert [name for name, count in classes.items() if count > 1] == []
