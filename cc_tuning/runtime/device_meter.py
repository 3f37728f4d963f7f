"""What a stage takes of this machine: CPU seconds, and what NVIDIA's library tells of its GPUs where it is installed.

GPU seconds are those in which some kernel ran, joules those that the card took, whoever asked for them: NVML knows
cards, no stages. Energy is there from Volta on. A GPU that cannot be asked is as none: nothing here fails a stage.
Workers of Ray on other machines are not counted.
"""

import os
import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from data_contracts.manifest import DeviceUse

try:
    import pynvml  # the `gpu` extra
except ImportError:
    pynvml = None

SECONDS_BETWEEN_READINGS = 1.0


@dataclass
class Meter:
    """Filled when the context of `metered` ends."""

    cpu_seconds: float = 0.0
    """User and system time of this process and of the children that it waited for."""
    gpu: DeviceUse | None = None
    """None where no GPU could be asked."""


@contextmanager
def metered(asks_gpus: bool) -> Iterator[Meter]:
    """A context that measures what is taken inside, of GPUs where `asks_gpus`."""
    meter, before = Meter(), _cpu_seconds()
    cards = _Cards(pynvml) if asks_gpus and pynvml is not None else None
    try:
        yield meter
    finally:
        meter.cpu_seconds = round(_cpu_seconds() - before, 3)
        meter.gpu = cards.finish() if cards else None


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


@dataclass
class _Cards:
    """The GPUs that this process may use, read once a second until `finish`."""

    library: Any
    handles: list[Any] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    busy_seconds: float = 0.0

    def __post_init__(self) -> None:
        self._ended = threading.Event()
        self._began = time.monotonic()
        try:
            self.library.nvmlInit()
            self.handles = [self._handle(name) for name in self._visible()]
            self.names = [_text(self.library.nvmlDeviceGetName(handle)) for handle in self.handles]
        except Exception:  # whatever the library raises: no driver, no permission, a card that fell off the bus
            self.handles = []
        self._energy = self._millijoules()
        self._reader = threading.Thread(target=self._read, name="device-meter", daemon=True)
        if self.handles:
            self._reader.start()

    def finish(self) -> DeviceUse | None:
        """What the cards did since the beginning; None where there are none."""
        if not self.handles:
            return None
        self._ended.set()
        self._reader.join(timeout=2 * SECONDS_BETWEEN_READINGS)
        seconds, energy = time.monotonic() - self._began, self._millijoules()
        joules = None if self._energy is None or energy is None else round((energy - self._energy) / 1000, 1)
        with suppress(Exception):
            self.library.nvmlShutdown()
        return DeviceUse(
            names=self.names,
            held_seconds=round(seconds * len(self.handles), 3),
            busy_seconds=round(self.busy_seconds, 3),
            joules=joules,
        )

    def _visible(self) -> list[str]:
        named = os.environ.get("CUDA_VISIBLE_DEVICES")
        if named is None:
            return [str(index) for index in range(self.library.nvmlDeviceGetCount())]
        return [name for name in named.split(",") if name]

    def _handle(self, name: str) -> Any:
        if name.isdigit():
            return self.library.nvmlDeviceGetHandleByIndex(int(name))
        return self.library.nvmlDeviceGetHandleByUUID(name)

    def _millijoules(self) -> int | None:
        """Since the driver was loaded, of all cards; None where one does not say it."""
        try:
            return sum(self.library.nvmlDeviceGetTotalEnergyConsumption(handle) for handle in self.handles)
        except Exception:
            return None

    def _read(self) -> None:
        last = self._began
        while not self._ended.wait(SECONDS_BETWEEN_READINGS):
            now = time.monotonic()
            with suppress(Exception):
                rates = [self.library.nvmlDeviceGetUtilizationRates(handle).gpu for handle in self.handles]
                self.busy_seconds += (now - last) * sum(rates) / 100
            last = now


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
