"""Foreign programs that must end: what they return and raise travels, and one that loops is ended."""

import threading

import pytest

from cc_tuning.runtime.deadline import DeadlinePassed, done_within


def test_what_the_work_returns_and_raises_travels() -> None:
    assert done_within(60, lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        done_within(60, lambda: 1 // 0)


def test_a_loop_is_ended_and_its_thread_with_it() -> None:
    started = threading.Event()

    def loop() -> None:
        started.set()
        while True:
            pass

    with pytest.raises(DeadlinePassed, match=r"within 0\.2 seconds"):
        done_within(0.2, loop)
    assert started.is_set()
    for thread in threading.enumerate():
        if thread.name == "foreign program":
            thread.join(60)
            assert not thread.is_alive()


def test_time_in_which_nothing_is_computed_is_not_counted() -> None:
    """As on a machine that is busy with other work."""
    released = threading.Timer(0.5, lambda: None)
    released.start()
    assert done_within(0.2, lambda: released.join() or 7) == 7


def test_a_loop_in_a_thread_other_than_the_main_one_is_ended_as_well() -> None:
    ended: list[BaseException] = []

    def loop() -> None:
        while True:
            pass

    def work() -> None:
        try:
            done_within(0.2, loop)
        except DeadlinePassed as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(60)
    assert len(ended) == 1
