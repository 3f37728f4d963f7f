"""What a stage took is measured where it can be, and nothing that a card's library does can fail a stage."""

import time
from collections.abc import Iterator
from itertools import count

import pytest

from cc_tuning.runtime import device_meter
from cc_tuning.runtime.device_meter import metered


class Cards:
    """Two cards in the place of NVML's library: each reading is 500 J a card later, and both are half busy."""

    def __init__(self, broken: str = "") -> None:
        self.broken = broken
        self.energy: Iterator[int] = count(0, 500_000)

    def nvmlInit(self) -> None:  # noqa: N802
        if self.broken == "nvmlInit":
            raise RuntimeError("no driver")

    def nvmlShutdown(self) -> None: ...  # noqa: N802

    def nvmlDeviceGetCount(self) -> int:  # noqa: N802
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:  # noqa: N802
        return index

    def nvmlDeviceGetName(self, handle: int) -> bytes:  # noqa: N802
        return f"card {handle}".encode()

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: int) -> int:  # noqa: N802
        if self.broken == "energy":
            raise RuntimeError("not supported")
        return next(self.energy)


def test_cpu_seconds_are_those_of_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_meter, "pynvml", None)
    with metered(asks_gpus=True) as meter:
        until = time.process_time() + 0.2
        while time.process_time() < until:
            pass
    assert meter.cpu_seconds >= 0.2 and meter.gpu is None


def test_energy_is_what_the_counters_of_all_cards_grew_by(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_meter, "pynvml", Cards())
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    with metered(asks_gpus=True) as meter:
        pass
    assert meter.gpu is not None and meter.gpu.names == ["card 0", "card 1"]
    assert meter.gpu.joules == (1000 + 1500) - (0 + 500)


@pytest.mark.parametrize(("devices", "names"), [("1", ["card 1"]), ("", None)])
def test_cards_that_this_process_may_not_use_are_not_counted(
    monkeypatch: pytest.MonkeyPatch, devices: str, names: list[str] | None
) -> None:
    monkeypatch.setattr(device_meter, "pynvml", Cards())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", devices)
    with metered(asks_gpus=True) as meter:
        pass
    assert (meter.gpu.names if meter.gpu else None) == names


def test_a_library_that_raises_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(device_meter, "pynvml", Cards("nvmlInit"))
    with metered(asks_gpus=True) as without_driver:
        pass
    monkeypatch.setattr(device_meter, "pynvml", Cards("energy"))
    with metered(asks_gpus=True) as without_energy:
        pass
    assert without_driver.gpu is None
    assert without_energy.gpu is not None and without_energy.gpu.joules is None


def test_what_a_stage_raises_is_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_meter, "pynvml", Cards())
    with pytest.raises(KeyError), metered(asks_gpus=True):
        raise KeyError("of the stage")
