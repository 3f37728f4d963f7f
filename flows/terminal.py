"""What stands between a command and its terminal: the console, logs, errors, and a session for the flow.

Ctrl-C reaches every process of a terminal's foreground group, so it would end Prefect's temporary server before the
flow, and the flow would wait a minute for a server that is gone. The flow therefore runs in a session of its own, and
gets Ctrl-C from here alone: it stops its workers, reports its state, and the server ends last.
"""

import errno
import io
import logging
import os
import signal
import sys
import time
from collections.abc import Callable

from rich.console import Console
from rich.markup import escape

from cc_tuning.errors import CcTuningError
from cc_tuning.runtime.subprocesses import die_with_parent
from data_contracts.errors import DataContractError

MISTAKE, STOPPED, UNREAD = 2, 130, 141
"""Exit codes: of a user's mistake, of Ctrl-C, and of output that nobody reads on (as of SIGPIPE in a shell)."""

_PLAIN_WIDTH = 110  # columns in a file or a pipe, where rich would assume 80
_POLL_SECONDS = 0.1
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PREFECT_LOGGERS = ("flow_runs", "task_runs", "engine", "task_engine", "flow_engine")


class _PipedConsole(Console):
    """A console whose reader may go away, as `head` does: that ends the command, quietly."""

    def on_broken_pipe(self) -> None:
        _forget_output()
        raise SystemExit(UNREAD)


console = _PipedConsole(highlight=False, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
_error_console = Console(stderr=True, highlight=False)


def replace_unknown_characters() -> None:
    """Let a terminal or file in another encoding than UTF-8 show `?` where it lacks a character."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def say(text: str) -> None:
    """Print `text` as it is: no part of a path is markup, and no line is broken."""
    console.print(text, markup=False, soft_wrap=True)


def log_to_terminal(debug: bool) -> None:
    """Library logs on standard error, one dense line each, and no bars between them."""
    # By its variable: transformers and the hub's client read it when they are imported, which most commands never do.
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, format="%(asctime)s | %(message)s")
    for name in ("cc_tuning", "data_contracts"):
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.INFO)


def shorten_prefect_errors() -> None:
    """Let Prefect log a user's mistake without its traceback; call it after Prefect has set up its loggers."""
    for name in _PREFECT_LOGGERS:
        logging.getLogger(f"prefect.{name}").addFilter(WithoutTraceback())


class WithoutTraceback(logging.Filter):
    """Takes the traceback off a logged mistake of the user's: its message says what to do, the traceback does not."""

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
        if isinstance(error, CcTuningError | DataContractError):
            record.exc_info = None
        return True


def exit_code_of(work: Callable[[], object]) -> int:
    """The exit code of a command; a user's mistake is one red line, and a traceback only with --debug."""
    try:
        work()
    except SystemExit as stop:
        if _was_interrupted(stop):
            return _say_stopped()
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (CcTuningError, DataContractError) as error:
        if "--debug" in sys.argv:
            raise
        _show_error(str(error))
        return MISTAKE
    except BrokenPipeError:
        _forget_output()
        return UNREAD
    except KeyboardInterrupt:
        return _say_stopped()
    except OSError as error:
        if error.errno not in _DISK_ERRORS or "--debug" in sys.argv:
            raise
        _show_error(f"cannot write {error.filename or 'a file'}: {error.strerror}; mend that and run the same again")
        return MISTAKE
    return 0


def leave_when_interrupted_twice() -> None:
    """Let the first Ctrl-C stop the work, and a second one end the process at once, workers with it.

    Nothing is lost by it that the first would have kept: files take their names when they are whole.
    """

    def stop(_signal: int, _frame: object) -> None:
        signal.signal(signal.SIGINT, leave)
        raise KeyboardInterrupt

    def leave(_signal: int, _frame: object) -> None:
        _say_stopped()
        os._exit(STOPPED)

    signal.signal(signal.SIGINT, stop)


def _was_interrupted(stop: SystemExit) -> bool:
    """Whether Typer made an exit of Ctrl-C, which it does without a word."""
    cause: BaseException | None = stop
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def _say_stopped() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left takes a moment
    _show_error("stopped; finished stages and shards are kept, run the same command to go on")
    return STOPPED


def escaped(text: str) -> str:
    """`text` as rich shows it literally."""
    return escape(text)


def _forget_output() -> None:
    """Let what is still buffered for a reader that is gone go nowhere, also at the interpreter's end."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _show_error(message: str) -> None:
    _error_console.print(f"[bold red]error:[/] {escaped(message)}", soft_wrap=True)


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
    signal.signal(signal.SIGINT, signal.default_int_handler)
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
