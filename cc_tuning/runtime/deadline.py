"""Foreign programs that must end: a chat template is one, and may loop for ever.

The work is done in a thread of its own, which an exception of this module ends between two instructions of Python. What
is stuck below Python is left behind as a thread that no longer keeps the process alive.

One operation that makes a text of ten gigabytes holds the interpreter's lock all the while, so that no other thread
runs to look at the clock. What bounds it is memory.
"""

import ctypes
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

ResultT = TypeVar("ResultT")

_LOOKS_PER_SECOND = 20


class DeadlinePassed(Exception):
    """The work did not end in its time."""


def done_within(seconds: float, work: Callable[[], ResultT]) -> ResultT:
    """What `work` returns; its errors travel.

    The time is that of the clock and of the process's computing, whichever is the shorter: neither a busy machine nor
    threads beside it take any of it away.

    Raises:
        DeadlinePassed: it did not end within `seconds`.
    """
    results: list[ResultT] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True, name="foreign program")
    clock, computing = time.monotonic(), time.process_time()
    thread.start()
    while thread.is_alive() and min(time.monotonic() - clock, time.process_time() - computing) < seconds:
        thread.join(1 / _LOOKS_PER_SECOND)
    if thread.is_alive():
        assert thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(DeadlinePassed))
        thread.join(1.0)
        raise DeadlinePassed(f"it did not end within {seconds:g} seconds of computing")
    if errors:
        raise errors[0]
    return results[0]


@contextmanager
def at_most_more_memory(bytes_more: int) -> Iterator[None]:
    """A context in which this process may map `bytes_more` beyond what it has; more is a MemoryError.

    All of its threads are bound. Where the kernel does not tell what a process has mapped (other than Linux), nothing
    is.
    """
    told = Path("/proc/self/statm")
    if not told.is_file():
        yield
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    most = int(told.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") + bytes_more
    if soft != resource.RLIM_INFINITY:
        most = min(most, soft)
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
