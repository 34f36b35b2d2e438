"""One measured run, in a process of its own.

    run.py LIBRARY MODULE.FUNCTION PARAMETERS RESULT

The function is of a module beside, PARAMETERS is JSON for its keywords; what was measured goes as JSON
into the file RESULT.
"""

import importlib
import json
import sys
from pathlib import Path


def main() -> None:
    library, operation, parameters, result = sys.argv[1:]
    module, function = operation.split(".")
    run = getattr(importlib.import_module(module), function)
    measured = run(library, **json.loads(parameters))
    Path(result).write_text(json.dumps(measured))


if __name__ == "__main__":
    main()
