"""Foreign programs that must end: a chat template is one, and may loop for ever.

The work is done in a thread of its own, which an exception of this module ends between two instructions of Python. What
is stuck below Python is left behind as a thread that no longer keeps the process alive.
"""

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar

ResultT = TypeVar("ResultT")


class DeadlinePassed(Exception):
    """The work did not end in its time."""


def done_within(seconds: float, work: Callable[[], ResultT]) -> ResultT:
    """What `work` returns; its errors travel.

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
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        assert thread.ident is not None
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(DeadlinePassed))
        thread.join(1.0)
        raise DeadlinePassed(f"it did not end within {seconds:g} seconds")
    if errors:
        raise errors[0]
    return results[0]
