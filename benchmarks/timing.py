"""Comparing two ways of doing a thing on a machine that does other things too.

Both run in turn, the order swapped from pair to pair, and the figure is the median over pairs of their ratio: a slow
moment then hits both sides alike. Seconds are given as wall time and as CPU time of this process.
"""

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

RESULTS = Path(__file__).parent / "results"

Timings = dict[str, list[tuple[float, float]]]
"""Wall and CPU seconds of each side in each round."""


@dataclass(frozen=True)
class Comparison:
    """Medians over pairs; ratios are `new / base` of the same pair."""

    pairs: int
    base_seconds: float
    new_seconds: float
    ratio: float
    ratio_low: float  # lower quartile
    ratio_high: float  # upper quartile
    cpu_ratio: float


def seconds_of(action: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of one call, the GPU's work included in the wall time."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - wall, time.process_time() - cpu


def compare(base: Callable[[], object], new: Callable[[], object], pairs: int, warm_up: int = 2) -> Comparison:
    """Time `new` against `base` in interleaved pairs after `warm_up` untimed calls of each."""
    for _ in range(warm_up):
        base()
        new()
    timings: list[tuple[tuple[float, float], tuple[float, float]]] = []
    for pair in range(pairs):
        if pair % 2:
            new_time, base_time = seconds_of(new), seconds_of(base)
        else:
            base_time, new_time = seconds_of(base), seconds_of(new)
        timings.append((base_time, new_time))
    return summarised(timings)


def in_turn(sides: Mapping[str, Callable[[], object]], rounds: int, seconds: float) -> Timings:
    """Time several sides after an untimed call of each: `rounds` rounds, each begun by another side.

    No round begins after `seconds`, but two are always timed.
    """
    deadline = time.monotonic() + seconds
    for side in sides.values():
        seconds_of(side)  # which waits for a GPU's work
    names = list(sides)
    timings: Timings = {name: [] for name in names}
    for number in range(rounds):
        if number >= 2 and time.monotonic() > deadline:
            break
        first = number % len(names)
        for name in names[first:] + names[:first]:
            timings[name].append(seconds_of(sides[name]))
    return timings


def summarised(timings: Sequence[tuple[tuple[float, float], tuple[float, float]]]) -> Comparison:
    """The figures of at least two pairs; a pair is the wall and CPU seconds of the base, and those of the new."""
    ratios = [new_time[0] / base_time[0] for base_time, new_time in timings]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Comparison(
        pairs=len(timings),
        base_seconds=statistics.median(base_time[0] for base_time, _ in timings),
        new_seconds=statistics.median(new_time[0] for _, new_time in timings),
        ratio=statistics.median(ratios),
        ratio_low=low,
        ratio_high=high,
        cpu_ratio=statistics.median(new_time[1] / base_time[1] for base_time, new_time in timings),
    )


def parser(description: str, name: str, pairs: int) -> argparse.ArgumentParser:
    """The options that every comparison has."""
    options = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    options.add_argument("--pairs", type=int, default=pairs, help="interleaved pairs to time, at least 2")
    options.add_argument("--threads", type=int, default=torch.get_num_threads(), help="CPU threads of torch")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--output", type=Path, default=RESULTS / f"{name}.json", help="JSON file with the figures")
    return options


def report(title: str, comparisons: dict[str, Comparison], settings: dict[str, Any], output: Path) -> None:
    """Print a table and write the figures with the machine and the settings they belong to."""
    print(title)
    print(f"{'':<28}{'base s':>9}{'new s':>9}{'ratio':>8}{'quartiles':>16}{'CPU time':>10}{'pairs':>7}")
    for name, figures in comparisons.items():
        quartiles = f"{figures.ratio_low:.3f}-{figures.ratio_high:.3f}"
        print(
            f"{name:<28}{figures.base_seconds:>9.3f}{figures.new_seconds:>9.3f}{figures.ratio:>8.3f}"
            f"{quartiles:>16}{figures.cpu_ratio:>10.3f}{figures.pairs:>7}"
        )
    figures_by_name = {name: asdict(figures) for name, figures in comparisons.items()}
    write_figures(output, {"title": title, "settings": settings, "machine": machine(), "comparisons": figures_by_name})


def machine() -> dict[str, Any]:
    """What figures were measured on, and how busy it was."""
    known = {"cpu_count": os.cpu_count(), "processor": platform.machine(), "torch": torch.__version__}
    return known | {"load_average": os.getloadavg(), "openblas_coretype": os.environ.get("OPENBLAS_CORETYPE")}


def write_figures(output: Path, content: dict[str, Any]) -> None:
    """Write figures as JSON and say where."""
    output.parent.mkdir(parents=True, exist_ok=True)
    output.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    print(f"written to {output}")
