"""What goes round for ever is ended, and what does not is left alone."""

import signal
import threading

import pytest

from cc_tuning.runtime.time_limit import time_limit


def test_a_loop_without_an_end_is_ended() -> None:
    with pytest.raises(TimeoutError, match=r"longer than 0\.1 seconds"), time_limit(0.1):
        while True:
            pass


def test_what_ends_in_time_leaves_no_alarm_behind() -> None:
    before = signal.getsignal(signal.SIGVTALRM)
    with time_limit(50):
        assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] > 0
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGVTALRM) == before


def test_in_another_thread_there_is_no_limit_and_no_error() -> None:
    ended = []

    def work() -> None:
        with time_limit(1e-6):
            ended.append(sum(range(10**5)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended == [4999950000]
