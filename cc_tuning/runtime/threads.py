"""Threads that watch over worker processes."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

RunAll = Callable[[Callable[[int], None], int], None]
"""`run_all(work, workers)` calls `work(0)` to `work(workers - 1)`, each in a thread, and raises what one raised."""


def in_threads(work: Callable[[int], None], workers: int) -> None:
    """The plain `RunAll`."""
    pool = ThreadPoolExecutor(workers)
    try:
        for future in [pool.submit(work, worker) for worker in range(workers)]:
            future.result()
    finally:
        # On Ctrl-C the threads learn to stop only after this returns.
        pool.shutdown(wait=False)
