"""What stands between a command and its terminal: the console, logs, errors, and a session for the flow.

Ctrl-C reaches every process of a terminal's foreground group, so it would end Prefect's temporary server before the
flow, and the flow would wait a minute for a server that is gone. The flow therefore runs in a session of its own, and
gets Ctrl-C from here alone: it stops its workers, reports its state, and the server ends last.

SIGTERM (of a supervisor or a batch system) and SIGHUP (of a terminal that is closed) stop the work as Ctrl-C does,
with the exit code that a shell gives them. A SIGHUP that is ignored, as under `nohup`, stays ignored.
"""

import errno
import io
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress

from rich.console import Console
from rich.markup import escape

from cc_tuning.errors import CcTuningError
from cc_tuning.runtime.subprocesses import die_with_parent
from data_contracts.errors import DataContractError

MISTAKE, STOPPED, UNREAD = 2, 130, 141
"""Exit codes: of a user's mistake, of Ctrl-C, and of output that nobody reads on (as of SIGPIPE in a shell)."""
_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_PLAIN_WIDTH = 110  # columns in a file or a pipe, where rich would assume 80
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_PREFECT_LOGGERS = ("flow_runs", "task_runs", "engine", "task_engine", "flow_engine")


class _Stopped(KeyboardInterrupt):
    """One of the signals that stop the work; whatever ends in order at Ctrl-C does so at each of them."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.exit_code = 128 + number


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
        if (interrupt := _interrupt_behind(stop)) is not None:
            return _say_stopped(interrupt)
        return stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except (CcTuningError, DataContractError) as error:
        if "--debug" in sys.argv:
            raise
        _show_error(str(error))
        return MISTAKE
    except BrokenPipeError:
        _forget_output()
        return UNREAD
    except KeyboardInterrupt as interrupt:
        return _say_stopped(interrupt)
    except OSError as error:
        if error.errno not in _DISK_ERRORS or "--debug" in sys.argv:
            raise
        _show_error(f"cannot write {error.filename or 'a file'}: {error.strerror}; mend that and run the same again")
        return MISTAKE
    return 0


def leave_when_interrupted_twice() -> None:
    """Let the first Ctrl-C, SIGTERM or SIGHUP stop the work, and a second one end the process at once, workers with it.

    Nothing is lost by it that the first would have kept: files take their names when they are whole.
    """

    def stop(number: int, _frame: object) -> None:
        _handle_stopping(leave)
        if number == signal.SIGHUP:
            _forget_terminal()
        raise _Stopped(number)

    def leave(number: int, _frame: object) -> None:
        os._exit(_say_stopped(_Stopped(number)))

    _handle_stopping(stop)


def _handle_stopping(handler: Callable[[int, object], None]) -> None:
    for number in _STOPPING:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def _interrupt_behind(stop: SystemExit) -> KeyboardInterrupt | None:
    """The interrupt of which Typer made an exit, which it does without a word."""
    cause: BaseException | None = stop
    while cause is not None and not isinstance(cause, KeyboardInterrupt):
        cause = cause.__cause__ or cause.__context__
    return cause


def _say_stopped(interrupt: KeyboardInterrupt) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # what is left takes a moment
    _show_error("stopped; finished stages and shards are kept, run the same command to go on")
    return interrupt.exit_code if isinstance(interrupt, _Stopped) else STOPPED


def escaped(text: str) -> str:
    """`text` as rich shows it literally."""
    return escape(text)


def _forget_output() -> None:
    """Let what is still buffered for a reader that is gone go nowhere, also at the interpreter's end."""
    _send_nowhere(sys.stdout.fileno())


def _forget_terminal() -> None:
    """Let what is still said to a terminal that was closed go nowhere, where writing would be an error."""
    for stream in (sys.stdout, sys.stderr):
        if stream.isatty():
            _send_nowhere(stream.fileno())


def _send_nowhere(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)


def _show_error(message: str) -> None:
    with suppress(OSError):  # nobody reads it
        _error_console.print(f"[bold red]error:[/] {escaped(message)}", soft_wrap=True)


def in_own_session(work: Callable[[], int]) -> int:
    """The exit code of `work`, done in a forked process with a session of its own.

    The first signal reaches it as Ctrl-C, or as SIGHUP where it is one; the second as SIGTERM, a third as SIGKILL. The
    process ends when this one does. Call it before any thread was started.
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
    """The exit code of a process, to which signals are passed on; a stop has the code of the signal that came first."""
    signals: list[int] = []

    def pass_on(number: int, _frame: object) -> None:
        first = number if number == signal.SIGHUP else signal.SIGINT
        signals.append(number)
        with suppress(ProcessLookupError):
            os.kill(child, (first, signal.SIGTERM, signal.SIGKILL)[min(len(signals), 3) - 1])

    _handle_stopping(pass_on)
    _, status = os.waitpid(child, 0)
    for number in _STOPPING:
        signal.signal(number, signal.SIG_IGN)
    code = os.waitstatus_to_exitcode(status)
    if signals and code == STOPPED:
        return 128 + signals[0]
    return code if code >= 0 else 128 - code  # as a shell counts a death by signal
