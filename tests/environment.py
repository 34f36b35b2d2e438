"""The same surroundings for the tests wherever they are run from: a terminal, cron, nohup, a container, a CI.

A process hands down to its children the environment, ignored signals, the umask, the three standard
descriptors, limits, and the directory for temporary files. Tests and the programs that they start would take
them for their own. A test that is about one of these sets it itself.
"""

from __future__ import annotations

import os
import pwd
import re
import resource
import signal
import tempfile

#: Variables of the programs that tests run, and of the interpreter: no test rests on a value from outside.
_PREFIXES = (
    "PYTHON", "SLURM_", "SLURMD_", "PDSH_", "DSH", "SSH_", "LC_", "MPSHELL_FORK", "CLICOLOR", "KRB5", "DASK_",
)  # fmt: skip
_NAMES = {
    "LANG", "LANGUAGE", "TERM", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "WCOLL", "FANOUT", "ENV",
    "BASH_ENV", "CDPATH", "POSIXLY_CORRECT", "CLUSTERSHELL_CFGDIR", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "TZ",
    "DISPLAY", "ZDOTDIR", "SHELL", "SHELLOPTS", "BASHOPTS", "TMOUT", "INPUTRC", "HOSTALIASES", "LOCALDOMAIN",
    "RES_OPTIONS",
}  # fmt: skip
#: Set by pytest-xdist for each process of a suite that runs in several.
_KEPT = {"PYTHONHASHSEED"}

#: Signals that a parent may ignore, as nohup, a script's background or a daemon does. SIGPIPE and SIGXFSZ are
#: ignored by Python itself.
_SIGNALS = (
    "SIGHUP", "SIGINT", "SIGQUIT", "SIGTERM", "SIGCHLD", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTSTP", "SIGTTIN",
    "SIGTTOU", "SIGCONT", "SIGWINCH",
)  # fmt: skip

#: Descriptors that the tests take for granted.
_DESCRIPTORS = 1024


def settle() -> None:
    """Make the surroundings of this process those that the tests are written for."""
    for name in list(os.environ):
        if (name.startswith(_PREFIXES) or name in _NAMES) and name not in _KEPT:
            del os.environ[name]
    os.environ["LANG"] = "C.UTF-8"
    os.environ.setdefault("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
    # Without it, as under `env -i`, programs disagree on whose home directory ~ is.
    os.environ.setdefault("HOME", pwd.getpwuid(os.getuid()).pw_dir)
    os.umask(0o022)
    _open_standard_descriptors()
    for name in _SIGNALS:
        default = signal.default_int_handler if name == "SIGINT" else signal.SIG_DFL
        signal.signal(getattr(signal, name), default)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < _DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(_DESCRIPTORS, hard), hard))
    if not re.fullmatch(r"[\w/.-]{1,40}", tempfile.gettempdir()):
        # The scripts of tests, configurations of ssh and the length of a socket's name rest on it.
        os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"


def _open_standard_descriptors() -> None:
    for fd, flags in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(fd)
        except OSError:
            # The lowest free number is this one: those below are open by now.
            os.set_inheritable(os.open(os.devnull, flags), True)
