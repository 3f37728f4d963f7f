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
    """A listener that passes a line with rate and time left to `tell`, at most once per interval.

    The rate counts from the first report on, so a line has one from the second report on.
    """
    last_told = time.monotonic()
    first: tuple[float, int] | None = None

    def progress(done: int, total: int, unit: str, detail: str = "") -> None:
        nonlocal last_told, first
        now = time.monotonic()
        # What was done before the first report may be an earlier, killed run's, and the time before it was spent on
        # loading: neither is this run's speed.
        first = first or (now, done)
        if now - last_told < seconds_between_lines and done < total:
            return
        last_told = now
        rate = (done - first[1]) / max(now - first[0], 1e-9)
        speed = f" | {_rate_text(rate, unit)}" if rate > 0 else ""
        left = f" | {(total - done) / rate:,.0f} s left" if rate > 0 and done < total else ""
        more = f" | {detail}" if detail else ""
        tell(f"{done:,}/{total:,} {unit}{speed}{more}{left}")

    return progress


def _rate_text(rate: float, unit: str) -> str:
    """A rate for people: by the minute where the second would round it away."""
    return f"{rate:,.1f} {unit}/s" if rate >= 1 else f"{60 * rate:,.1f} {unit}/min"
