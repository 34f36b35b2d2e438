"""`python -m mpshell`: the same program as the command `mpshell`."""

import sys

from mpshell.cli.main import main

sys.exit(main())
