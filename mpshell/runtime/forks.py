"""State that a child of os.fork has to repair: it has the locks of its parent, but only one of its threads.

A leaf; called in the child, before anything else runs there.
"""

from __future__ import annotations

import threading


def renewed(condition: threading.Condition) -> threading.Condition:
    """Return a Condition, or a new one if a thread holds it that does not exist here."""
    if condition.acquire(blocking=False):
        condition.release()
        return condition
    return threading.Condition()
