"""A limit on what somebody else's program may take: a chat template is one, and can go round for ever."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """A context that ends with TimeoutError after `seconds` of computing, which a busy machine does not shorten.

    In a thread other than the main one there is no way to end it, and no limit: whoever needs one has tried the same in
    the main thread before. Contexts do not nest.

    Raises:
        TimeoutError: the block took longer.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(_signal: int, _frame: object) -> None:
        raise TimeoutError(f"it takes longer than {seconds:g} seconds of computing")

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
