"""Times a stretch of work in a measured process, and what the library's processes used for it."""

import time

import probe


class Meter:
    """A stretch of work, from its making to `stop`."""

    def __init__(self) -> None:
        self._before = probe.cpu_time()
        self._begin = time.monotonic()

    def stop(self) -> dict[str, float]:
        """Stop the clock, and return what was used by name: engines have to be there still."""
        seconds = time.monotonic() - self._begin
        now, before = probe.cpu_time(), self._before
        return {
            "seconds": seconds,
            "cpu": now.own - before.own,
            "coordinator_cpu": now.coordinator - before.coordinator,
            "commands_cpu": now.commands - before.commands,
            **probe.memory(),
        }
