"""Seconds of a device's work, without waiting for it.

A CPU has done its work when a call returns. A GPU has only been given it, so events around it are read later, when
both have passed: waiting for them would hold up the steps that are measured.
"""

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds that were measured since they were last taken."""

    def __init__(self) -> None:
        self._seconds = 0.0
        self._pending: deque[tuple[torch.Event, torch.Event]] = deque()

    @contextmanager
    def running(self, device: torch.device) -> Iterator[None]:
        """Measure what the device does for the code inside."""
        if device.type == "cpu":
            begin = time.perf_counter()
            yield
            self._seconds += time.perf_counter() - begin
            return
        events = torch.Event(device, enable_timing=True), torch.Event(device, enable_timing=True)
        events[0].record()
        yield
        events[1].record()
        self._pending.append(events)

    def taken(self) -> float:
        """The seconds of all work that is done, which begin anew; what a GPU still works on comes with a later call."""
        while self._pending and self._pending[0][1].query():
            begin, end = self._pending.popleft()
            self._seconds += begin.elapsed_time(end) / 1000
        seconds, self._seconds = self._seconds, 0.0
        return seconds
