"""A deployed run that outlives its worker.

Prefect's worker reads what a run's process prints through pipes. When the worker is killed, the run itself is sound
and still speaks to the server; but the next line that any library prints raises BrokenPipeError in the middle of what
it was doing, and a stage that was loading a model then reports damaged weights. So what nobody reads any more goes
nowhere, and the run goes on to its end.
"""

import os
import select
import stat
import threading
from collections.abc import Sequence

from prefect.runtime import deployment

_OUTPUTS = (1, 2)


def outlive_worker() -> None:
    """Call it when a flow starts; it does something for the run of a deployment only.

    A command whose reader goes away, as `head` does, is to end.
    """
    if deployment.id is not None:
        forget_unread_output(_OUTPUTS)


def forget_unread_output(descriptors: Sequence[int]) -> None:
    """From the moment at which a pipe has no reader any more, let what is written to it go nowhere."""
    pipes = [each for each in descriptors if stat.S_ISFIFO(os.fstat(each).st_mode)]
    if pipes:
        threading.Thread(target=_watch, args=(pipes,), name="unread output", daemon=True).start()


def _watch(pipes: Sequence[int]) -> None:
    watched = select.poll()
    for each in pipes:
        watched.register(each, 0)  # that the reader is gone (POLLERR) is told without being asked for
    left = set(pipes)
    while left:
        for descriptor, _ in watched.poll():
            watched.unregister(descriptor)
            left.discard(descriptor)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
