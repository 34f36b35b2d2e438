"""The names of ClusterShell.Task. As there, `import *` gives `os` too."""

from mpshell.defaults import config_paths as config_paths
from mpshell.errors import EngineAbortException as EngineAbortException
from mpshell.errors import EngineAlreadyRunningError as EngineAlreadyRunningError
from mpshell.errors import EngineClientError as EngineClientError
from mpshell.errors import EngineTimeoutException as EngineTimeoutException
from mpshell.pollers import PreferredEngine as PreferredEngine
from mpshell.task import *  # noqa: F403
from mpshell.worker.base import FANOUT_UNLIMITED as FANOUT_UNLIMITED
