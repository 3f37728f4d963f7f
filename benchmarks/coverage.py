"""How often intervals hold the truth, and how often a difference is called where there is none, by simulation.

Experiments are drawn from populations whose true difference is known, with clusters (items that share a passage), items
that several languages share, and runs that differ more on some clusters than on others. Each experiment is judged by
the functions that judge real runs. Prints a table and writes `benchmarks/results/coverage.json`.
"""

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from cc_tuning.evaluation.statistics.differences import Difference, differences_of
from cc_tuning.evaluation.statistics.distributions import NORMAL
from cc_tuning.evaluation.statistics.intervals import Bounds, Settings, mean_intervals
from cc_tuning.evaluation.statistics.seeds import seed_spreads
from cc_tuning.evaluation.statistics.significance import holm
from cc_tuning.evaluation.statistics.units import Cells, average_sample

RESULTS = Path(__file__).parent / "results" / "coverage.json"
PERCENT: Bounds = (0.0, 100.0)
LEVEL = 0.05
_AT_ONCE = 100
"""Experiments that are drawn together."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Design:
    """What an experiment asks: clusters of items, each in every language; or not, where it is not parallel."""

    clusters: int
    items: int = 1
    """Per cluster; with `is_uneven` between 1 and twice as many."""
    languages: int = 1
    is_uneven: bool = False
    is_parallel: bool = True

    def cells(self) -> tuple[Cells, NDArray[np.intp]]:
        """The rows of one experiment, and the item of each."""
        sizes = np.full(self.clusters, self.items)
        if self.is_uneven:
            sizes = 1 + np.arange(self.clusters) % (2 * self.items - 1)
        cluster_of_item = np.repeat(np.arange(self.clusters), sizes)
        item = np.repeat(np.arange(len(cluster_of_item)), self.languages)
        language = np.tile(np.arange(self.languages), len(cluster_of_item))
        if not self.is_parallel:  # each cluster is in one language alone
            kept = cluster_of_item[item] % self.languages == language
            item, language = item[kept], language[kept]
        names = tuple(f"l{place:02d}" for place in range(self.languages))
        return Cells(names, language.astype(np.intp), cluster_of_item[item].astype(np.intp)), item.astype(np.intp)


Draw = Callable[[Cells, NDArray[np.intp], int, np.random.Generator], tuple[Floats, Floats]]
"""Scores `[N, experiments]` of two runs."""


@dataclass(frozen=True)
class Scenario:
    """A population with what is asked of it."""

    name: str
    design: Design
    draw: Draw
    truth: float
    """The true difference."""
    bounds: Bounds | None = PERCENT
    first_mean: float | None = None
    """The true mean of the first run, where it is known."""


@dataclass(frozen=True)
class Judged:
    """A scenario's experiments."""

    scenario: Scenario
    differences: Sequence[Difference]
    mean_is_held: NDArray[np.bool_]

    @property
    def coverage(self) -> float:
        """Share of the intervals of the difference that hold the truth."""
        return float(np.mean([at.low <= self.scenario.truth <= at.high for at in self.differences]))

    @property
    def false_alarms(self) -> float:
        """Share of experiments with a significant difference on the wrong side, or any where there is none."""
        return float(np.mean([at.p <= LEVEL and self._is_wrong(at) for at in self.differences]))

    @property
    def width(self) -> float:
        """The mean width of the intervals."""
        return float(np.mean([at.high - at.low for at in self.differences]))

    @property
    def power(self) -> float:
        """Share of experiments that tell the difference, on the right side."""
        told = [
            at.p <= LEVEL and at.low * at.high > 0 and at.value * self.scenario.truth > 0 for at in self.differences
        ]
        return float(np.mean(told))

    def _is_wrong(self, at: Difference) -> bool:
        return at.low * at.high > 0 and at.value * self.scenario.truth <= 0


def right_or_wrong(first: float, second: float) -> Draw:
    """Answers that are right with these probabilities: hard and easy clusters, items and cells, which both runs share,
    and clusters that suit one of them."""
    shared, own = (
        (0.2, 0.25, 0.15),
        0.12,
    )  # shares of the variance of what decides: cluster, item, cell; run and cluster

    def draw(cells: Cells, item: NDArray[np.intp], count: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        rows = len(item)
        common = np.sqrt(shared[0]) * generator.standard_normal((cells.units, count))[cells.unit]
        common += np.sqrt(shared[1]) * generator.standard_normal((int(item.max()) + 1, count))[item]
        common += np.sqrt(shared[2]) * generator.standard_normal((rows, count))
        runs = []
        for probability in (first, second):
            suits = np.sqrt(own) * generator.standard_normal((cells.units, count))[cells.unit]
            noise = np.sqrt(1 - sum(shared) - own) * generator.standard_normal((rows, count))
            runs.append(100.0 * (common + suits + noise < NORMAL.inv_cdf(probability)))
        return runs[0], runs[1]

    return draw


def likelihoods(difference: float) -> Draw:
    """Figures like nats per token: skewed over items, with differences that are skewed and alike within a cluster."""

    def draw(cells: Cells, item: NDArray[np.intp], count: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        base = np.exp(0.5 * generator.standard_normal((int(item.max()) + 1, count)))[item]
        second = base + 0.1 * np.abs(generator.standard_normal((len(item), count)))
        of_cluster = 0.05 * generator.standard_normal((cells.units, count))[cells.unit]
        of_cell = 0.15 * (generator.exponential(size=(len(item), count)) - 1)
        return second + difference + of_cluster + of_cell, second

    return draw


def overlaps(difference: float) -> Draw:
    """Figures like F1: many at 0 and at 100, the others between; the first run gains `difference` in the mean."""
    gain = difference / (0.25 * 50)  # a quarter of the items move by 50

    def draw(cells: Cells, item: NDArray[np.intp], count: int, generator: np.random.Generator) -> tuple[Floats, Floats]:
        kind = generator.random((int(item.max()) + 1, count))[item]
        middle = 100 * generator.random((len(item), count))
        second = np.where(kind < 0.4, 0.0, np.where(kind < 0.65, 100.0, middle))
        suits = generator.random((cells.units, count))[cells.unit] < 0.5 + gain / 2
        moved = np.where(suits, 100.0, -100.0)
        first = np.where(kind < 0.25, np.clip(50 + moved / 2, 0, 100), second)
        return first, np.where(kind < 0.25, 50.0, second)

    return draw


def scenarios() -> Sequence[Scenario]:
    """Populations of the sizes of real benchmarks, and small ones."""
    xnli, mkqa, passages = Design(67, 3, 5), Design(100, 1, 10), Design(48, 5, 3, is_uneven=True)
    separate, one = Design(300, 1, 3, is_parallel=False), Design(200)
    found = []
    for name, design, first, second in (
        ("right or wrong, 67 premises of 3, 5 languages", xnli, 0.42, 0.42),
        ("the same, 4 points apart", xnli, 0.46, 0.42),
        ("100 items in 10 languages", mkqa, 0.25, 0.25),
        ("the same, 4 points apart", mkqa, 0.29, 0.25),
        ("48 passages of 1 to 9, 3 languages", passages, 0.6, 0.6),
        ("100 items in each of 3 languages, not parallel", separate, 0.5, 0.44),
        ("200 items, one language", one, 0.5, 0.5),
        ("30 items, one language", Design(30), 0.4, 0.4),
        ("12 items, one language", Design(12), 0.5, 0.5),
        ("200 items, 2 % right", one, 0.02, 0.02),
        ("100 items, 99 % and 96 % right", Design(100), 0.99, 0.96),
        ("20 items in 10 languages, 3 % right", Design(20, 1, 10), 0.03, 0.03),
    ):
        truth = 100 * (first - second)
        found.append(Scenario(name, design, right_or_wrong(first, second), truth, first_mean=100 * first))
    for name, design, difference in (
        ("nats per token, 67 premises of 3, 5 languages", xnli, 0.0),
        ("the same, 0.02 apart", xnli, 0.02),
        ("nats per token, 48 passages of 1 to 9, 3 languages", passages, 0.0),
        ("nats per token, 30 items, one language", Design(30), 0.0),
        ("nats per token, 10 items, one language", Design(10), 0.0),
    ):
        found.append(Scenario(name, design, likelihoods(difference), difference, bounds=None))
    for name, design, difference in (
        ("overlap, 100 items in 10 languages", mkqa, 0.0),
        ("overlap, 48 passages of 1 to 9, 3 languages", passages, 3.0),
    ):
        found.append(Scenario(name, design, overlaps(difference), difference))
    return found


def judge(scenario: Scenario, experiments: int, settings: Settings, seed: int) -> Judged:
    """Draw the experiments of a scenario and judge each."""
    cells, item = scenario.design.cells()
    generator = np.random.default_rng(seed)
    differences: list[Difference] = []
    held: list[NDArray[np.bool_]] = []
    for first in range(0, experiments, _AT_ONCE):
        ours, theirs = scenario.draw(cells, item, min(_AT_ONCE, experiments - first), generator)
        found = differences_of(ours, theirs, cells, bounds=scenario.bounds, settings=settings)
        differences += [at for at in found if at is not None]
        if scenario.first_mean is not None:
            low, high = mean_intervals(average_sample(ours, cells), scenario.bounds, settings)
            held.append((low <= scenario.first_mean) & (scenario.first_mean <= high))
    return Judged(scenario, differences, np.concatenate(held) if held else np.array([], dtype=bool))


def gate_alarms(judged: Sequence[Judged]) -> float:
    """Share of experiments in which a gate over all these scenarios, none with a difference, calls a drop."""
    alarms = []
    for at in zip(*[of.differences for of in judged if of.scenario.truth == 0], strict=True):
        adjusted = holm([difference.p for difference in at])
        alarms.append(any(p <= LEVEL and one.high < 0 for p, one in zip(adjusted, at, strict=True)))
    return float(np.mean(alarms))


@dataclass(frozen=True)
class SeedFigures:
    """Runs with several seeds, none better: how far the seeds lie apart, and how often a difference is called."""

    seeds: int
    seed_points: float
    coverage: float
    called: float
    called_by_items_alone: float


def seed_figures(seeds: int, seed_points: float, experiments: int, settings: Settings, seed: int) -> SeedFigures:
    """Two methods of equal mean, with `seeds` trainings each; `seed_points` is the standard deviation of theirs."""
    generator = np.random.default_rng(seed)
    cells, item = Design(200, 1, 5).cells()
    held, called, by_items = [], [], []
    for _ in range(experiments):
        hardness = generator.standard_normal((int(item.max()) + 1, 1))[item]
        sides = []
        for _ in range(2):
            bars = 0.2 + seed_points / 30 * generator.standard_normal(
                seeds
            )  # 30 points a standard deviation of what decides
            sides.append(100.0 * (0.7 * hardness + 0.7 * generator.standard_normal((len(item), seeds)) < bars))
        by_seed = average_sample(sides[0] - sides[1], cells).value
        means = [side.mean(axis=1, keepdims=True) for side in sides]
        (over_items,) = differences_of(means[0], means[1], cells, bounds=PERCENT, settings=settings)
        assert over_items is not None
        over_both = over_items.over_seeds(seed_spreads(by_seed.tolist(), ()), settings.confidence, 100.0)
        held.append(over_both.low <= 0 <= over_both.high)
        called.append(over_both.p <= LEVEL and over_both.low * over_both.high > 0)
        by_items.append(over_items.p <= LEVEL and over_items.low * over_items.high > 0)
    return SeedFigures(seeds, seed_points, *(float(np.mean(figures)) for figures in (held, called, by_items)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=2_000)
    parser.add_argument("--samples", type=int, default=4_000, help="Resamples of each bootstrap.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    settings = Settings(samples=arguments.samples)
    began = time.perf_counter()
    print(f"{'':<52}{'truth':>8}{'holds':>8}{'mean':>8}{'width':>9}{'wrong':>8}{'told':>8}")
    judged = []
    for place, scenario in enumerate(scenarios()):
        judged.append(judge(scenario, arguments.experiments, settings, arguments.seed + place))
        print(_line(judged[-1]), flush=True)
    gate = gate_alarms(judged)
    print(f"\nA gate over the {sum(at.scenario.truth == 0 for at in judged)} without a difference: alarms {gate:.2%}")
    seeds = [
        seed_figures(count, points, arguments.experiments // 4, Settings(samples=1_000), arguments.seed)
        for count, points in ((2, 2.0), (3, 0.0), (3, 2.0), (5, 2.0))
    ]
    for at in seeds:
        print(
            f"{at.seeds} seeds {at.seed_points:.0f} points apart: holds {at.coverage:.2%}, called {at.called:.2%}, "
            f"by items alone {at.called_by_items_alone:.2%}"
        )
    seconds = time.perf_counter() - began
    print(f"{arguments.experiments} experiments each, {seconds:.0f} s")
    arguments.output.parent.mkdir(exist_ok=True)
    arguments.output.write_text(json.dumps(_as_json(judged, gate, seeds, arguments, seconds), indent=1) + "\n")


def _line(at: Judged) -> str:
    mean = f"{at.mean_is_held.mean():.2%}" if len(at.mean_is_held) else ""
    told = f"{at.power:.2%}" if at.scenario.truth else ""
    return (
        f"{at.scenario.name:<52}{at.scenario.truth:>8.2f}{at.coverage:>8.2%}{mean:>8}{at.width:>9.3f}"
        f"{at.false_alarms:>8.2%}{told:>8}"
    )


def _as_json(
    judged: Sequence[Judged], gate: float, seeds: Sequence[SeedFigures], arguments: argparse.Namespace, seconds: float
) -> dict[str, object]:
    rows = [
        {
            "scenario": at.scenario.name, "truth": at.scenario.truth, "coverage": at.coverage,
            "coverage_of_the_mean": float(at.mean_is_held.mean()) if len(at.mean_is_held) else None,
            "width": at.width, "false_alarms": at.false_alarms, "power": at.power if at.scenario.truth else None,
        }
        for at in judged
    ]  # fmt: skip
    return {
        "experiments": arguments.experiments, "samples": arguments.samples, "seed": arguments.seed, "seconds": seconds,
        "scenarios": rows, "gate_false_alarms": gate, "seeds": [vars(at) for at in seeds],
    }  # fmt: skip


if __name__ == "__main__":
    main()
