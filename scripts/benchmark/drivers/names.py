"""Node sets: text to set, over the names, set to text, set to parts."""

import time
from collections.abc import Callable
from typing import Any

import probe
from libraries import load


def node_sets(library: str, sizes: dict[str, int]) -> dict[str, float]:
    """Time each operation of `sizes` on so many names.

    `seconds` is what all of them but fromlist take for a million names each, at these rates.
    """
    node_set = load(library).NodeSet
    seconds: dict[str, float] = {}

    def timed(operation: str, run: Callable[[], Any]) -> Any:
        begin = time.process_time()
        value = run()
        seconds[operation] = time.process_time() - begin
        return value

    text = {operation: f"node[0-{size - 1}]" for operation, size in sizes.items()}
    timed("parse", lambda: node_set(text["parse"]))
    whole = node_set(text["iterate"])
    if timed("iterate", lambda: sum(1 for _ in whole)) != sizes["iterate"]:
        raise RuntimeError("names are missing")
    whole = node_set(text["fold"])
    if timed("fold", lambda: str(whole)) != text["fold"]:
        raise RuntimeError("it folds to something else")
    whole = node_set(text["split"])
    parts = timed("split", lambda: list(whole.split(64)))
    if sum(len(part) for part in parts) != sizes["split"] or len(parts) != 64:
        raise RuntimeError("the parts are not the whole")
    names = list(node_set(text["fromlist"]))
    timed("fromlist", lambda: node_set.fromlist(names))
    rates = {f"{operation}_rate": sizes[operation] / spent for operation, spent in seconds.items()}
    counted = (
        seconds[operation] / sizes[operation] for operation in sizes if operation != "fromlist"
    )
    return {"seconds": 1e6 * sum(counted), **rates, **probe.memory()}
