"""What a person reads while a stage works: its rate and the time left are those of the work that was reported."""

import pytest

from cc_tuning.runtime import progress as module
from cc_tuning.runtime.progress import throttled


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


def told(clock: Clock, *reports: tuple[float, int], total: int) -> list[str]:
    """The lines of a listener that is told (seconds, done) in turn."""
    lines: list[str] = []
    listener = throttled(lines.append, seconds_between_lines=10)
    for clock.seconds, done in reports:
        listener(done, total, "steps")
    return lines


def test_time_spent_on_loading_is_not_in_the_rate_of_steps(clock: Clock) -> None:
    *_, line = told(clock, (90, 1), (145, 2), (200, 3), total=40)  # a step in 55 seconds, after 35 of loading
    assert line == f"3/40 steps | 1.1 steps/min | {37 * 55:,} s left"


def test_work_of_an_earlier_run_is_not_in_the_rate(clock: Clock) -> None:
    *_, line = told(clock, (20, 1_000), (30, 1_020), total=1_100)
    assert line == "1,020/1,100 steps | 2.0 steps/s | 40 s left"


def test_work_told_at_once_has_no_rate(clock: Clock) -> None:
    assert told(clock, (5, 640), total=640) == ["640/640 steps"]


@pytest.mark.parametrize(("done", "rate"), [(3, "0.6 steps/min"), (1 + 200, "1.0 steps/s"), (101, "30.0 steps/min")])
def test_a_slow_rate_is_told_by_the_minute(clock: Clock, done: int, rate: str) -> None:
    *_, line = told(clock, (0, 1), (200, done), total=done)
    assert line == f"{done}/{done} steps | {rate}"
