"""How far a stage is: one call, whoever listens (a terminal, a log, Prefect)."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

logger = logging.getLogger(__name__)


class Progress(Protocol):
    """Told how much is done; must be cheap, since it is called once per batch.

    `detail` is for people: other rates of the same work, say.
    """

    def __call__(self, done: int, total: int, unit: str, detail: str = "") -> None: ...


def no_progress(done: int, total: int, unit: str, detail: str = "") -> None:
    """Nobody listens."""


def counting(progress: Progress, done: int, total: int, unit: str) -> Callable[[int], None]:
    """A function that takes how much more is done, from any thread, and tells `progress` how much that is in all."""
    lock = threading.Lock()

    def count(more: int) -> None:
        nonlocal done
        with lock:
            done += more
            progress(done, total, unit)

    return count


def logged_progress(label: str, seconds_between_lines: float = 10.0) -> Progress:
    """A listener that logs one line per interval, and the last one: `translate | 640/1,024 rows | 12.8 rows/s`."""
    return throttled(lambda line: logger.info("%s | %s", label, line), seconds_between_lines)


def throttled(tell: Callable[[str], None], seconds_between_lines: float) -> Progress:
    """A listener that passes a line with rate and time left to `tell`, at most once per interval."""
    started = time.monotonic()
    last_told = started
    first_done: int | None = None

    def progress(done: int, total: int, unit: str, detail: str = "") -> None:
        nonlocal last_told, first_done
        now = time.monotonic()
        # What an earlier, killed run had finished is not this run's speed.
        first_done = done if first_done is None else first_done
        if now - last_told < seconds_between_lines and done < total:
            return
        last_told = now
        rate = (done - first_done) / max(now - started, 1e-9)
        left = f" | {(total - done) / rate:,.0f} s left" if rate > 0 and done < total else ""
        more = f" | {detail}" if detail else ""
        tell(f"{done:,}/{total:,} {unit} | {rate:,.1f} {unit}/s{more}{left}")

    return progress
