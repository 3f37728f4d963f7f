"""What a device can do at most and what was measured of it: a row of `devices.csv`, or this machine's processor.

A plan reads it, so it needs no torch. Figures are those of the makers' data sheets, dense arithmetic; where one was
measured the row says so. Gigabytes are 10^9 bytes, as in the sheets.
"""

import csv
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cc_tuning.errors import ConfigError

AUTO, CPU = "auto", "cpu"
CPU_FLOAT64_FLOPS = 47e9
"""Of one core, measured: 94 GFLOP/s on two in products of matrices (docs/performance.md, the Transform Matrix)."""
CPU_BYTES_PER_SECOND = 10e9  # of memory; an assumption for two channels that other processes use as well
CPU_PASS_SECONDS = 0.003
"""A forward pass of a model of a few layers through Python; a tenth of the 0.03 seconds that a training step of the
embedded default takes beside its arithmetic (three passes of a dozen layers, the Trainer, the optimizer)."""
_ON_THIS_MACHINE = Path("/proc/driver/nvidia/gpus")


@dataclass(frozen=True)
class Device:
    """One device; rates are per second."""

    kind: str
    """As `execution.device_kind` names it."""
    name: str
    """A part of the name that its driver gives it."""
    memory_bytes: float
    bytes_per_second: float
    """Of its memory."""
    flops: Mapping[str, float]
    """Most floating-point operations a second, by dtype."""
    utilisation: float
    """The share of them that training reaches."""
    pass_seconds: float
    """What a forward pass of a large model takes however few tokens it has: its kernels are started one by one."""
    source: str

    def speed(self, dtype: str) -> float:
        """Operations a second that a large product of matrices reaches."""
        return self.utilisation * self.flops[dtype if dtype in self.flops else "bfloat16"]


def find_device(kind: str, asked: str = AUTO, threads: int = 1) -> Device:
    """The device of `kind`; `auto` is this machine's first GPU, or its processor where there is none.

    A processor is one with `threads` threads; `asked` is `execution.device`, and `cpu` there asks for no GPU.

    Raises:
        ConfigError: no row has that kind.
    """
    if kind == AUTO:
        found = None if asked == CPU else _of_this_machine()
        return found or processor(threads)
    if kind == CPU:
        return processor(threads)
    if kind not in DEVICES:
        raise ConfigError(
            f"the device {kind!r} is not in the table (cc_tuning/runtime/devices.csv), which has: "
            f"{', '.join((AUTO, CPU, *DEVICES))}; take one of them, or add a row"
        )
    return DEVICES[kind]


def device_named(name: str) -> Device | None:
    """The device of the name that a driver gives it, as `NVIDIA H100 80GB HBM3`; None where no row fits."""
    return next((device for device in DEVICES.values() if device.name in name), None)


def processor(threads: int) -> Device:
    """This machine's memory, and what `threads` cores of the measured kind reach."""
    reached = CPU_FLOAT64_FLOPS * threads
    return Device(
        kind=CPU,
        name="CPU",
        memory_bytes=float(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")),
        bytes_per_second=CPU_BYTES_PER_SECOND,
        flops={"float64": reached, "float32": 2 * reached, "bfloat16": 2 * reached, "float16": 2 * reached},
        utilisation=1.0,  # the figures are measured ones
        pass_seconds=CPU_PASS_SECONDS,
        source="measured on two cores (docs/performance.md)",
    )


def _of_this_machine() -> Device | None:
    """The first GPU that NVIDIA's driver tells of, as far as the table has it."""
    for place in sorted(_ON_THIS_MACHINE.glob("*/information")):
        if found := device_named(place.read_text(errors="replace")):
            return found
    return None


def _read(path: Path) -> dict[str, Device]:
    with path.open(encoding="utf-8", newline="") as file:
        return {row["kind"]: _device(row) for row in csv.DictReader(file)}


def _device(row: Mapping[str, str]) -> Device:
    flops = {dtype: 1e12 * float(row[f"{dtype}_tflops"]) for dtype in ("bfloat16", "float32", "float64")}
    return Device(
        kind=row["kind"],
        name=row["name"],
        memory_bytes=1e9 * float(row["memory_gb"]),
        bytes_per_second=1e9 * float(row["gb_per_second"]),
        flops={**flops, "float16": flops["bfloat16"]},
        utilisation=float(row["utilisation"]),
        pass_seconds=float(row["pass_seconds"]),
        source=row["source"],
    )


DEVICES: Mapping[str, Device] = _read(Path(__file__).with_name("devices.csv"))
"""By kind; where several names fit a device's, the first row counts."""
