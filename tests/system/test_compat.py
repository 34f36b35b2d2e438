"""Programs written for ClusterShell, unchanged: `python -m mpshell.compat`, `install()`, `sed`."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import mpshell

ROOT = str(Path(mpshell.__file__).parents[1])

#: Written for ClusterShell. What it prints does not depend on the order in which commands end.
PROGRAM = """
import sys

import ClusterShell
import ClusterShell.Worker.Popen
from ClusterShell import Event, Task
from ClusterShell.Defaults import DEFAULTS
from ClusterShell.Engine.Engine import EngineAbortException, EngineTimer
from ClusterShell.Engine.Factory import PreferredEngine
from ClusterShell.MsgTree import MODE_TRACE, MsgTree
from ClusterShell.NodeSet import NodeSet, NodeSetParseError, fold
from ClusterShell.NodeUtils import GroupResolver
from ClusterShell.RangeSet import RangeSet
from ClusterShell.Task import TimeoutError, task_self as ts
from ClusterShell.Topology import TopologyGraph
from ClusterShell.Worker.Exec import ExecWorker
from ClusterShell.Worker.Worker import WorkerError


class Handler(Event.EventHandler):
    def __init__(self):
        self.seen = {}

    def ev_read(self, worker, node, sname, msg):
        self.seen.setdefault(node, []).append((sname, msg))

    def ev_close(self, worker, timedout):
        print("close", timedout, worker.task is Task.task_self())


class Tick(Event.EventHandler):
    def ev_timer(self, timer):
        print("tick", isinstance(timer, EngineTimer))


task = ts()
task.set_info("fanout", DEFAULTS.fanout // 2)
task.set_default("stderr", True)
handler = Handler()
command = "echo %host; echo e%rank >&2; exit $((%rank %% 2))"
worker = ExecWorker("n[1-6]", handler, 10, command=command, stderr=True)
task.schedule(worker)
local = task.shell("echo local", key="here")
task.resume()
task.timer(0.01, Tick())
task.resume()
print(sorted((node, sorted(said)) for node, said in handler.seen.items()))
print(sorted((code, str(nodes)) for code, nodes in worker.iter_retcodes()), task.max_retcode())
print(local.read(), isinstance(local, ClusterShell.Worker.Popen.WorkerPopen))
try:
    task.shell("sleep 30")
    task.resume(0.3)
except TimeoutError as error:
    print("timeout", type(error).__name__)
try:
    NodeSet("n[")
except NodeSetParseError:
    print("parse error")
tree = MsgTree(mode=MODE_TRACE)
tree.add("a", b"x")
print([(bytes(msg), sorted(keys)) for msg, keys in tree.walk()])
graph = TopologyGraph()
graph.add_route(NodeSet("admin"), NodeSet("proxy"))
graph.add_route(NodeSet("proxy"), NodeSet("n[1-3]"))
leaf = graph.to_tree("admin").find_nodegroup("n2")
print(leaf.nodeset, isinstance(leaf.nodeset, NodeSet))
print(fold("n1,n2"), RangeSet("1-3"), issubclass(WorkerError, Exception), EngineAbortException(True).kill)
print(sorted(PreferredEngine.engines), isinstance(GroupResolver, type), ClusterShell.__version__ >= "1.9")
print(__name__, sys.argv[1:], ts.__module__.split(".")[0])
sys.exit(7)
"""


def python(*args: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run this interpreter to its end with the library on its path."""
    path = os.pathsep.join([ROOT, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, *args],
        capture_output=True,
        text=True,
        timeout=100,
        env=os.environ | {"PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        cwd=cwd,
    )


def printed(*args: str, cwd: Path | None = None) -> str:
    """Return what a program prints that ends well."""
    done = python(*args, cwd=cwd)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def written(folder: Path, source: str, name: str = "program.py") -> str:
    path = folder / name
    path.write_text(source)
    return str(path)


def test_a_program_written_for_clustershell_prints_the_same(tmp_path: Path) -> None:
    program = written(tmp_path, PROGRAM)
    edited = written(tmp_path, PROGRAM.replace("ClusterShell", "mpshell.compat"), "edited.py")
    # The last line names the package of a function: each run has had the library it was to have.
    runs = {
        "ClusterShell": python(program, "a", "-b"),
        "mpshell": python("-m", "mpshell.compat", program, "a", "-b"),
    }
    for package, done in runs.items():
        assert done.returncode == 7, done.stderr
        assert done.stdout.splitlines()[-1] == f"__main__ ['a', '-b'] {package}"
    peer, ours = (done.stdout.splitlines()[:-1] for done in runs.values())
    assert ours == peer and len(ours) > 10
    done = python(edited, "a", "-b")
    assert (done.stdout.splitlines()[:-1], done.returncode) == (peer, 7), done.stderr


FORMS = [
    "import ClusterShell.Task\nprint(ClusterShell.Task.task_self.__name__)",
    "import ClusterShell.Worker.Ssh\nprint(ClusterShell.Worker.Ssh.WorkerSsh.__name__)",
    "import ClusterShell.Worker.Ssh as ssh\nprint(ssh.WORKER_CLASS.__name__)",
    "from ClusterShell import Task, Event\nprint(Task.Task.__name__, Event.EventHandler.__name__)",
    "from ClusterShell import NodeSet as nodes, MsgTree, RangeSet, Defaults\nprint(nodes.NodeSet('n[1-2]'))",
    "from ClusterShell.Task import task_self as ts\nprint(ts() is ts())",
    "from ClusterShell.Task import *\nprint(task_self().info('fanout'), os.sep, NodeSet('a'))",
    "from ClusterShell.NodeSet import *\nprint(NodeSet('n2') in NodeSet('n[1-3]'), expand('a[1-2]'))",
    "from ClusterShell.Worker import Pdsh, Ssh\nprint(Pdsh.WORKER_CLASS.__name__, Ssh.WorkerSsh.__name__)",
    "import ClusterShell\nprint(ClusterShell.__version__.split('.')[0], len(ClusterShell.__version_info__))",
    "import ClusterShell\nprint(hasattr(ClusterShell, 'Event'))\nimport ClusterShell.Event\n"
    "print(hasattr(ClusterShell, 'Event'))",
    "import importlib\nprint(importlib.import_module('ClusterShell.Engine.EPoll').EngineEPoll.identifier)",
    "print(__import__('ClusterShell.MsgTree').MsgTree.MODE_DEFER)",
    "import importlib.util as u\nprint(*(bool(u.find_spec('ClusterShell.' + n)) for n in ('Task', 'No')))",
    "try:\n import ClusterShell.Nonsense\nexcept ModuleNotFoundError as error: print(error, error.name)",
    "try:\n import ClusterShell.Worker.Nonsense\nexcept ModuleNotFoundError as error: print(error)",
    "try:\n from ClusterShell.Task import nonsense\nexcept ImportError as error: print(error.name)",
    "import ClusterShell.Event, importlib\nold = ClusterShell.Event\nprint(importlib.reload(old) is old)",
    "import pickle, ClusterShell.NodeSet as n\nprint(pickle.loads(pickle.dumps(n.NodeSet('a[1-3]'))))",
    "import ClusterShell.Task as t\nfrom unittest import mock\n"
    "with mock.patch('ClusterShell.Task.task_self', lambda: 3): print(t.task_self())",
    "def late():\n from ClusterShell.RangeSet import RangeSet\n return RangeSet\nprint(late()('1-3'))",
    "from ClusterShell.CLI.Display import VERB_QUIET\nprint(VERB_QUIET)",
    "import ClusterShell.NodeUtils\nprint(ClusterShell.NodeUtils.GroupResolver.__module__)",
]


def test_every_form_of_import(tmp_path: Path) -> None:
    """All in one process each way would hide what an earlier form has loaded: each is a program of its own."""
    driver = written(tmp_path, DRIVER, "driver.py")
    forms = [written(tmp_path, form, f"form{number}.py") for number, form in enumerate(FORMS)]
    peer = printed(driver, "plain", *forms).replace("mpshell.compat", "ClusterShell")
    ours = printed(driver, "compat", *forms).replace("mpshell.compat", "ClusterShell")
    assert dict(zip(FORMS, ours.split("\0"), strict=True)) == dict(
        zip(FORMS, peer.split("\0"), strict=True)
    )
    assert "Traceback" not in peer and all(peer.split("\0"))


#: Runs each program in a fork, which is a fresh process for the price of one.
DRIVER = """
import os, runpy, sys, traceback
from mpshell.compat import install
results = []
for path in sys.argv[2:]:
    ours, theirs = os.pipe()
    if os.fork() == 0:
        os.dup2(theirs, 1)
        try:
            if sys.argv[1] == "compat":
                install()
            runpy.run_path(path, run_name="__main__")
        except BaseException:
            traceback.print_exc(file=sys.stdout)
        sys.stdout.flush()
        os._exit(0)
    os.close(theirs)
    with open(ours) as out:
        results.append(out.read())
    os.wait()
print("\\0".join(results), end="")
"""


def test_a_module_has_one_object_whatever_it_is_called() -> None:
    source = """
import mpshell.compat
mpshell.compat.install()
mpshell.compat.install()
import ClusterShell.Task, ClusterShell.Worker.Ssh, ClusterShell.NodeUtils, ClusterShell.CLI.Display as display
import mpshell.compat.Task, mpshell.compat.Worker.Ssh, mpshell.compat.NodeUtils, mpshell.compat.CLI.Display
print(ClusterShell is mpshell.compat, ClusterShell.Task is mpshell.compat.Task)
print(ClusterShell.Worker.Ssh.WorkerSsh is mpshell.WorkerSsh, ClusterShell.Task.__spec__.name)
print(ClusterShell.NodeUtils is mpshell.compat.NodeUtils, display is mpshell.compat.CLI.Display)
print(ClusterShell.NodeUtils.__name__, display.NodeSet is mpshell.NodeSet)
"""
    assert printed("-c", source).split() == (
        [
            "True",
            "True",
            "True",
            "mpshell.compat.Task",
            "True",
            "True",
            "ClusterShell.NodeUtils",
            "True",
        ]
    )


@pytest.mark.parametrize(
    "what", ["ClusterShell", "ClusterShell.Task", "ClusterShell.NodeUtils, ClusterShell.Event"]
)
def test_it_does_not_replace_what_a_program_has_imported(what: str) -> None:
    source = f"""
import {what}, sys
before = dict(sys.modules)
import mpshell.compat
try:
    mpshell.compat.install()
except mpshell.compat.AlreadyImportedError as error:
    print(isinstance(error, ImportError), "{what.split(", ")[-1]}" in str(error), "before" in str(error))
print(all(sys.modules[name] is module for name, module in before.items()))
import ClusterShell.RangeSet
print(ClusterShell.RangeSet.RangeSet.__module__)
"""
    assert printed("-c", source).split() == [
        "True",
        "True",
        "True",
        "True",
        "ClusterShell.RangeSet",
    ]


def test_the_one_module_that_mpshell_loads_itself_is_no_hindrance() -> None:
    source = """
import ClusterShell.NodeUtils as before
import mpshell.compat
mpshell.compat.install()
import ClusterShell.NodeUtils, ClusterShell.Task
from ClusterShell import NodeUtils
print(before is ClusterShell.NodeUtils is NodeUtils, ClusterShell.Task.Task is mpshell.Task)
"""
    assert printed("-c", source) == "True True\n"


@pytest.mark.parametrize("package", ["ClusterShell", "mpshell.compat"])
@pytest.mark.parametrize(
    "module", ["NodeUtils", "Topology", "CLI.Clush", "Communication", "Propagation"]
)
def test_without_clustershell_the_error_has_the_remedy(package: str, module: str) -> None:
    source = f"""
import sys
sys.path.append({ROOT!r})
import mpshell.compat
if {package!r} == "ClusterShell":
    mpshell.compat.install()
import {package}.Event, {package}.Worker.Worker
try:
    import {package}.{module}
except ImportError as error:
    print(error)
"""
    out = printed("-I", "-S", "-c", source)
    assert "ClusterShell is not installed" in out and "pip install 'mpshell[groups]'" in out


@pytest.mark.parametrize("order", ["groups first", "NodeUtils first"])
def test_the_errors_of_groups_are_those_that_a_program_imports(order: str, tmp_path: Path) -> None:
    written(tmp_path, "[Main]\ndefault: file\n[file]\nmap: false\n", "groups.conf")
    source = f"""
import mpshell.compat
mpshell.compat.install()
from ClusterShell.NodeSet import NodeSet, RESOLVER_NOGROUP, set_std_group_resolver_config
if {order!r} == "NodeUtils first":
    from ClusterShell.NodeUtils import GroupSourceError
set_std_group_resolver_config({str(tmp_path / "groups.conf")!r})
try:
    NodeSet("@x")
except Exception as error:
    from ClusterShell.NodeUtils import GroupSourceError
    print(isinstance(error, GroupSourceError))
print(NodeSet("n[1-2]", resolver=RESOLVER_NOGROUP))
"""
    assert printed("-c", source) == "True\nn[1-2]\n"


def test_what_is_borrowed_is_one_object_under_both_names_and_no_other_of_clustershell_is_loaded() -> (
    None
):
    source = """
import sys
import mpshell.compat.CLI.Display, mpshell.compat.Topology, mpshell.compat.Propagation
import mpshell.compat.NodeUtils
print(sorted(name for name in sys.modules if name.startswith("ClusterShell")))
mpshell.compat.install()
import ClusterShell.Topology, ClusterShell.NodeUtils
print(ClusterShell.Topology is mpshell.compat.Topology, ClusterShell.NodeUtils is mpshell.compat.NodeUtils)
"""
    assert printed("-c", source).splitlines() == [
        "['ClusterShell', 'ClusterShell.NodeUtils']",
        "True True",
    ]


def test_the_nodeset_command_of_clustershell() -> None:
    for args in (["-f", "n3", "n[1-2]"], ["-e", "n[08-10]"], ["-c", "n[1-5]", "-x", "n2"]):
        ours = printed("-m", "mpshell.compat", "-m", "ClusterShell.CLI.Nodeset", *args)
        assert ours == printed("-m", "ClusterShell.CLI.Nodeset", *args) != ""


@pytest.mark.parametrize("module", ["Gateway", "Worker.Tree"])
def test_modules_of_the_tree_mode_are_refused(module: str) -> None:
    source = f"import mpshell.compat\nmpshell.compat.install()\nimport ClusterShell.{module}"
    done = python("-c", source)
    assert done.stderr.splitlines()[-1] == (
        f"ImportError: there is no ClusterShell.{module}: mpshell has no tree mode"
    )


def test_a_borrowed_module_that_needs_more_than_there_is(tmp_path: Path) -> None:
    """In an installed ClusterShell of a version to come."""
    package = tmp_path / "ClusterShell"
    package.mkdir()
    written(package, "", "__init__.py")
    written(package, "from ClusterShell.NodeSet import of_the_future", "Topology.py")
    source = "import mpshell.compat\nmpshell.compat.install()\nimport ClusterShell.Topology"
    done = python("-c", source, cwd=tmp_path)
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        f"ImportError: {package}/Topology.py of ClusterShell does not work on mpshell:"
    )
    assert "of_the_future" in last


def test_nothing_is_loaded_before_it_is_asked_for() -> None:
    source = """
import sys, mpshell
print("mpshell.compat" in sys.modules)
import mpshell.compat
mpshell.compat.install()
import ClusterShell
def loaded(*starts):
    return sorted(name for name in sys.modules if name.startswith(starts))
print(loaded("mpshell.compat", "mpshell.task", "mpshell.worker", "mpshell.node", "ClusterShell."))
import ClusterShell.Event
print(loaded("mpshell.task", "mpshell.worker", "mpshell.node"))
"""
    assert printed("-c", source).splitlines() == [
        "False",
        "['mpshell.compat', 'mpshell.compat.imports']",
        "[]",
    ]


#: As the tests of Shine do it: the shell of a copy is replaced, and the Task stays as it was.
COPIED = """
import copy, pickle, sys, threading
from types import MethodType
from ClusterShell.Task import Task, task_self

def shell(task, command, **options):
    print("instead of", command, type(task) is Task)

task = task_self()
own = Task()
threads = threading.active_count()
other = copy.copy(task)
other.shell = MethodType(shell, other)
other.shell("rm", nodes="n1")
print(other is task, isinstance(other, Task), task_self() is task, threading.active_count() - threads)
other.set_info("fanout", 3)
other.copied = 1
print(task.info("fanout"), hasattr(task, "copied"), other.thread is task.thread)
worker = task.shell("echo done; exit 3", key="k")
other.resume()
print(worker.read(), worker.task is task, other.max_retcode(), task.key_buffer("k"), other.key_buffer("k"))
for copier in (copy.deepcopy, pickle.dumps):
    try:
        copier(other)
    except TypeError:
        print("TypeError")
another = copy.copy(own)
another.shell("echo elsewhere", key="e")
another.resume()
another.join()
print(own.key_buffer("e"), threading.active_count() - threads)
another.abort(kill=True)
own.join()
other.abort(kill=True)
print(task.running(), task_self() is task)
"""


def test_a_copied_task_is_another_object_for_the_same(tmp_path: Path) -> None:
    # Nothing is left that the program would wait for at its end.
    assert printed("-m", "mpshell.compat", written(tmp_path, COPIED)).splitlines() == [
        "instead of rm True",
        "False True True 0",
        "3 False True",
        "b'done' True 3 b'done' b'done'",
        "TypeError",
        "TypeError",
        "b'elsewhere' 0",
        "None False",
    ]


def test_an_edited_program_copies_no_task(tmp_path: Path) -> None:
    edited = COPIED.replace("ClusterShell", "mpshell.compat")
    done = python(written(tmp_path, edited))
    assert done.returncode == 1 and "TypeError: Task cannot be copied or pickled" in done.stderr


# -- python -m mpshell.compat ----------------------------------------------------------------------

#: What a program sees of how it was started.
SEEN = """
import sys
from ClusterShell.Task import Task
print(__name__, Task.__module__.split(".")[0] == "mpshell", sys.modules["__main__"].__dict__ is globals())
print(sys.argv, sys.path[0], __file__, __package__, __spec__ and __spec__.name)
"""


def shown(text: str) -> str:
    """Leave out which library it was."""
    return text.replace("True True", "X True").replace("False True", "X True")


@pytest.mark.parametrize("form", ["script", "link", "folder", "zip", "module", "package"])
def test_a_program_is_started_as_python_does(form: str, tmp_path: Path) -> None:
    folder = tmp_path / "sub"
    folder.mkdir()
    script = written(folder, SEEN, "program.py")
    written(folder, SEEN, "__main__.py")
    (tmp_path / "link").symlink_to(script)
    with zipfile.ZipFile(tmp_path / "program.zip", "w") as archive:
        archive.writestr("__main__.py", SEEN)
    program = {
        "script": ["sub/program.py"],
        "link": ["link"],
        "folder": [str(folder)],
        "zip": [str(tmp_path / "program.zip")],
        "module": ["-m", "sub.program"],
        "package": ["-m", "sub"],
    }[form]
    program += ["-m", "x y", "--", "-h"]
    ours = printed("-m", "mpshell.compat", *program, cwd=tmp_path)
    peer = printed(*program, cwd=tmp_path)
    assert "True True" in ours and "False True" in peer
    assert shown(ours) == shown(peer)


@pytest.mark.parametrize(
    ("source", "code", "error"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('over')", 1, "over"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)", -2, "KeyboardInterrupt"),
        ("def f(:", 1, "SyntaxError: invalid syntax"),
    ],
)
def test_a_program_ends_as_under_python(source: str, code: int, error: str, tmp_path: Path) -> None:
    program = written(tmp_path, source)
    for start in ([program], ["-m", "mpshell.compat", program]):
        done = python(*start)
        assert (done.returncode, (done.stderr.splitlines() or [""])[-1]) == (code, error)


def test_a_thread_that_outlives_the_main_one(tmp_path: Path) -> None:
    source = """
import threading
from ClusterShell.Task import task_self
def work():
    threading.main_thread().join()
    print(*task_self().shell("echo late").task.info("fanout") and "ok")
threading.Thread(target=work).start()
"""
    program = written(tmp_path, source)
    assert printed("-m", "mpshell.compat", program) == printed(program)


def test_wrong_arguments_are_explained(tmp_path: Path) -> None:
    for args in ([], ["-x"], ["-m"], ["-c", "print()"]):
        done = python("-m", "mpshell.compat", *args)
        assert (done.returncode, done.stdout) == (2, "") and done.stderr.startswith("usage: ")
    assert printed("-m", "mpshell.compat", "--help").startswith("usage: python -m mpshell.compat")
    done = python("-m", "mpshell.compat", str(tmp_path / "none.py"))
    assert done.returncode == 2
    assert done.stderr == (
        f"mpshell.compat: cannot open '{tmp_path}/none.py': No such file or directory\n"
    )
    done = python("-m", "mpshell.compat", "-m", "no.such")
    assert done.returncode == 1 and "No module named 'no'" in done.stderr
