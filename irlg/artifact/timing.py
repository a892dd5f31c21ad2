"""Seconds of work."""

import time
from collections.abc import Callable


def best_seconds(work: Callable[[], object], times: int = 3) -> float:
    """Seconds of `work`, the least of so many `times`."""
    taken = []
    for _ in range(times):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)
