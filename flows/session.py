"""A session of its own for the flow of a terminal.

Ctrl-C reaches every process of a terminal's foreground group, so it would end Prefect's temporary server before the
flow, and the flow would wait a minute for a server that is gone. The flow therefore runs in a session of its own, and
gets Ctrl-C from here alone: it stops its workers, reports its state, and the server ends last.
"""

import os
import signal
import sys
import time
from collections.abc import Callable

from cc_tuning.runtime.subprocesses import die_with_parent

_POLL_SECONDS = 0.1


def in_own_session(work: Callable[[], int]) -> int:
    """The exit code of `work`, done in a forked process with a session of its own.

    The first Ctrl-C is passed on as it is, the second as SIGTERM, a third as SIGKILL. The process ends when this one
    does. Call it before any thread was started.
    """
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.setsid()
        die_with_parent(parent)
        sys.exit(work())  # through the interpreter's own end, where Prefect stops its temporary server
    return _wait(child)


def _wait(child: int) -> int:
    passed_on = iter((signal.SIGINT, signal.SIGTERM))
    while True:
        try:
            ended, status = os.waitpid(child, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                return code if code >= 0 else 128 - code  # as a shell counts a death by signal
            time.sleep(_POLL_SECONDS)
        except KeyboardInterrupt:
            os.kill(child, next(passed_on, signal.SIGKILL))
