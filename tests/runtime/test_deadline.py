"""Foreign programs that must end: what they return and raise travels, and one that loops is ended."""

import resource
import threading
from pathlib import Path

import pytest

from cc_tuning.runtime.deadline import DeadlinePassed, at_most_more_memory, done_within


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


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="the kernel does not tell what a process has mapped")
def test_memory_is_bound_inside_and_as_before_behind() -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with pytest.raises(MemoryError), at_most_more_memory(1 << 28):
        assert len(bytes(1 << 20)) == 1 << 20
        bytes(1 << 33)
    assert resource.getrlimit(resource.RLIMIT_AS) == before
