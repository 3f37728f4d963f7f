"""Foreign programs that must end: a chat template is one, and may loop for ever.

The work is done in a thread of its own, which an exception of this module ends between two instructions of Python. What
is stuck below Python is left behind as a thread that no longer keeps the process alive.
"""

import ctypes
import threading
import time
from collections.abc import Callable
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
