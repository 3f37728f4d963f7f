"""The figures of one part: printed and written as they come, with the machine they were measured on."""

import gc
import platform
import subprocess
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import timing
import torch
import transformers

from data_contracts.files import write_json
from gpu_parts.options import Options

Figure = float | int | str | bool | None
DRIVER_FILE = Path("/proc/driver/nvidia/version")


class Board:
    """Rows of named figures. `failures` names what went wrong, and `left` says how many seconds remain."""

    def __init__(self, part: str, options: Options, until: float) -> None:
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        self.failures: list[str] = []
        self._path = options.file_of(part)
        self._until = until
        settings = {name: str(value) for name, value in vars(options).items()}
        self._content: dict[str, Any] = {"part": part, "machine": machine(), "options": settings, "rows": []}
        self._write()
        print(" | ".join(f"{name} {value}" for name, value in self._content["machine"].items()))

    @property
    def left(self) -> float:
        """Seconds until this process is killed, less what ending takes."""
        return self._until - time.time() - 3

    def add(self, name: str, **figures: Figure) -> None:
        """One more row."""
        self._content["rows"].append({"name": name, **figures})
        self._write()
        known = {key: _shown(value) for key, value in figures.items() if value is not None}
        print(f"{name:<66} " + "  ".join(f"{key} {shown}" for key, shown in known.items()))

    def compare(self, name: str, timings: timing.Timings, base: str, new: str, **figures: Figure) -> None:
        """A row with the median over rounds of the ratio of two sides, its quartiles, and more figures."""
        found = timing.summarised(list(zip(timings[base], timings[new], strict=True)))
        ratios = {"ratio": found.ratio, "low": found.ratio_low, "high": found.ratio_high, "rounds": found.pairs}
        self.add(f"{name}: {new} / {base}", **ratios, **figures)

    def check(self, name: str, difference: float, tolerance: float) -> None:
        """A row that says whether `difference` is within `tolerance`."""
        holds = difference <= tolerance
        self.add(name, difference=difference, tolerance=tolerance, holds=holds)
        if not holds:
            self.failures.append(name)

    @contextmanager
    def attempted(self, name: str) -> Iterator[None]:
        """An error inside the block becomes a row, and the rest of the part goes on; a lack of memory is no failure."""
        try:
            yield
        except torch.OutOfMemoryError as error:
            self.add(name, does_not_fit=str(error)[:200])
        except Exception as error:  # whatever it is: the machine will not be there to look again
            traceback.print_exc()
            self.add(name, error=f"{type(error).__name__}: {str(error)[:500]}")
            self.failures.append(name)
        release_memory()

    def _write(self) -> None:
        write_json(self._path, self._content)


def peak_memory_gib(action: Callable[[], object]) -> float | None:
    """GiB that tensors on the card took at most during `action`; None on a CPU."""
    if not torch.cuda.is_available():
        return None
    torch.cuda.reset_peak_memory_stats()
    action()
    return torch.cuda.max_memory_allocated() / 2**30


def release_memory() -> None:
    """Give back what nothing refers to any more."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def machine() -> dict[str, Any]:
    """The card, its driver, and the versions that decide speed and arithmetic."""
    known = {"python": platform.python_version(), "transformers": transformers.__version__} | timing.machine()
    if not torch.cuda.is_available():
        return {"card": None, **known}
    card = torch.cuda.get_device_properties(0)
    memory = f"{card.total_memory / 2**30:.1f} GiB"
    return {"card": card.name, "memory": memory, "driver": driver_version(), "cuda": torch.version.cuda, **known}


def driver_version() -> str:
    """The version of NVIDIA's driver, by its tool or by the kernel's file; `unknown` where neither says it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout.split()[0]
    except (OSError, subprocess.SubprocessError, IndexError):
        return DRIVER_FILE.read_text().splitlines()[0] if DRIVER_FILE.is_file() else "unknown"


def _shown(value: Figure) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    return str(value)
