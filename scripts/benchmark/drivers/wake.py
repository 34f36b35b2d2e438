"""What the same piece of Python costs in a row, and after a pause in which its process sleeps."""

import os
import pickle
import select
import time

_NODES = 6


def _called(number: int) -> int:
    return _also_called(number) + 1


def _also_called(number: int) -> int:
    return {"number": number}["number"]


def pieces(library: str, count: int, pause: float) -> dict[str, float]:
    """Do a piece `count` times, as a turn of a loop does it: a pipe, a poll, a pickle, 120 calls."""
    read_end, write_end = os.pipe()
    poll = select.epoll()
    poll.register(read_end, select.EPOLLIN)

    def piece() -> None:
        os.write(write_end, b"twenty bytes, no more")
        poll.poll()
        os.read(read_end, 4096)
        pickle.loads(pickle.dumps([(n, f"node{n}", 0, None) for n in range(_NODES)]))
        sum(_called(number) for number in range(60))

    cpu = seconds = 0.0
    for _ in range(count):
        if pause:
            time.sleep(pause)
        begin, cpu_before = time.monotonic(), time.thread_time()
        piece()
        cpu += time.thread_time() - cpu_before
        seconds += time.monotonic() - begin
    return {"seconds": seconds, "cpu": cpu}
