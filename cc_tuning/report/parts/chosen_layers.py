"""Which layer is carried over when prompts are answered: by kind of connection, and by benchmark (Figure 8).

The paper finds layer 19 of LLaMA-3.1-8B and layer 17 of Qwen2.5-7B chosen most often for understanding and generation
alike, and the choice for generation more spread out. How spread out a choice is, is told as the number of equally
often chosen layers with the same entropy, exp(−Σ p log p).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from cc_tuning.document.axes import add_legend, draw_svg
from cc_tuning.document.blocks import Figure, Section, number
from cc_tuning.document.svg import GRID, SERIES
from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.report.config import Family
from cc_tuning.report.connection_modes import MODES
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import CONNECTION_LABELS, PARALLEL, TRANSFORM, benchmark_place, html_key, listed
from cc_tuning.report.published import published_model

Shares = NDArray[np.float64]

_KEY = ["run", "benchmark", "language", "item_id"]
_PAPERS_LAYER = {"LLaMA-3.1-8B": 19, "Qwen2.5-7B": 17}


@dataclass(frozen=True)
class _Choices:
    """Of one family's prompts, which layer each was answered with."""

    family: Family
    rows: pl.DataFrame
    """run, connection, benchmark, language, item_id, selected_layer (from 0)."""
    layers: int

    @property
    def modes(self) -> list[str]:
        """The kinds of connection that chose a layer, the matrix first."""
        found = set(self.rows["connection"].unique())
        order = [TRANSFORM, *(mode for mode in MODES if mode != TRANSFORM)]
        return [mode for mode in order if mode in found]

    @property
    def benchmarks(self) -> list[str]:
        return sorted(self.rows["benchmark"].unique(), key=benchmark_place)

    def shares(self, mode: str, benchmarks: Sequence[str] | None = None) -> Shares:
        """`[L]`: the share of prompts that chose each layer; zeros where there are none."""
        rows = self.rows.filter(pl.col("connection") == mode)
        if benchmarks is not None:
            rows = rows.filter(pl.col("benchmark").is_in(benchmarks))
        counts = np.bincount(rows["selected_layer"].to_numpy(), minlength=self.layers).astype(np.float64)
        return counts / max(counts.sum(), 1.0)


def chosen_layer_part(evidence: Evidence) -> Section | None:
    """Two figures for each family that chooses, and what they say; None when no answer names a layer."""
    found = [choices for family in evidence.families if (choices := _choices(evidence, family))]
    if not found:
        return None
    figures = [figure for choices in found for figure in (_mode_figure(choices), _benchmark_figure(choices))]
    sentences = [sentence for choices in found for sentence in _sentences(choices)]
    model = published_model(evidence.config.base_model)
    if model:
        sentences.append(
            f"In the paper's Figure 8 layer {_PAPERS_LAYER[model]} of {model} is chosen most often, for understanding "
            "and for generation, and more different layers are for generation."
        )
    return Section("chosen-layer", "The chosen layer", sentences, figures)


def _choices(evidence: Evidence, family: Family) -> _Choices | None:
    frames = [
        at.predictions.select(
            pl.lit(at.run.name).alias("run"), pl.col("connection", "benchmark").cast(pl.String), "language", "item_id",
            "selected_layer",
        ).drop_nulls("selected_layer")
        for at in evidence.of(family)
        if at.predictions is not None
    ]  # fmt: skip
    rows = pl.concat(frames) if frames else pl.DataFrame()
    if rows.is_empty():
        return None
    largest = rows["selected_layer"].max()
    assert isinstance(largest, int)
    trained = [
        len(at.training.layer_counts[0]) for at in evidence.of(family) if at.training and at.training.layer_counts
    ]
    return _Choices(family, rows, max(largest + 1, *trained) if trained else largest + 1)


def _sentences(choices: _Choices) -> Iterator[str]:
    """The layer chosen most often for each kind of task, how spread out the choice is, and whether the matrix leads to
    the layer that the real English prompt leads to."""
    mode, label = choices.modes[0], choices.family.label
    generation = [at for at in choices.benchmarks if at in BENCHMARKS and not BENCHMARKS[at].options]
    understanding = [at for at in choices.benchmarks if at not in generation]
    parts = []
    for kind, benchmarks in (("understanding", understanding), ("generation", generation)):
        if benchmarks:
            shares = choices.shares(mode, benchmarks)
            most = int(shares.argmax())
            parts.append(
                f"layer {most + 1} for {shares[most]:.0%} of the prompts in {kind} ({listed(benchmarks)}), spread over "
                f"{number(effective_layers(shares), 1)} of {choices.layers} layers"
            )
    yield f"{label} with the {CONNECTION_LABELS[mode]} most often chooses {'; '.join(parts)}."
    if {TRANSFORM, PARALLEL} <= set(choices.modes):
        same, prompts = agreement(choices.rows)
        if prompts:
            yield (
                f"For {same / prompts:.0%} of {prompts:,} prompts of {label} the matrix leads to the layer that the "
                f"real English prompt leads to; by chance, with the same frequencies, it would be "
                f"{float(choices.shares(TRANSFORM) @ choices.shares(PARALLEL)):.0%}."
            )


def effective_layers(shares: Shares) -> float:
    """How many equally often chosen layers have the entropy of `shares [L]`: 1 for a constant choice, L for none."""
    positive = shares[shares > 0]
    return math.exp(-float((positive * np.log(positive)).sum()))


def agreement(rows: pl.DataFrame) -> tuple[int, int]:
    """For how many prompts the matrix and the real English prompt choose one layer, and of how many."""
    ours, theirs = (rows.filter(pl.col("connection") == mode) for mode in (TRANSFORM, PARALLEL))
    both = ours.join(theirs, on=_KEY, how="inner", suffix="_parallel", validate="1:1")
    return both.filter(pl.col("selected_layer") == pl.col("selected_layer_parallel")).height, both.height


def _mode_figure(choices: _Choices) -> Figure:
    """Share of prompts for which each layer was chosen, by kind of connection."""
    found = {CONNECTION_LABELS[mode]: choices.shares(mode) for mode in choices.modes}
    key, label = f"chosen-{html_key(choices.family)}", choices.family.label

    def draw(axes: Axes) -> None:
        width = 0.8 / len(found)
        for index, (mode, shares) in enumerate(found.items()):
            places = np.arange(1, len(shares) + 1) + (index - (len(found) - 1) / 2) * width
            axes.bar(places, shares, width, label=mode, color=SERIES[index], hatch=("", "////")[index % 2],
                     edgecolor=GRID, linewidth=0.4)  # fmt: skip
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="layer", ylabel="share of prompts", ylim=(0, None))
        axes.grid(axis="x", visible=False)
        add_legend(axes)

    words = "; ".join(f"{mode}: layer {int(at.argmax()) + 1} for {at.max():.0%}" for mode, at in found.items())
    alternative = f"Bar chart of the layer chosen at inference by {label}; most often {words} of the prompts."
    return Figure(key, f"Chosen layer at inference, {label}", alternative, draw_svg(key, draw))


def _benchmark_figure(choices: _Choices) -> Figure:
    """A row for each benchmark, a column for each layer; the shares in a row add up to 1."""
    mode, label = choices.modes[0], choices.family.label
    shares = np.stack([choices.shares(mode, [benchmark]) for benchmark in choices.benchmarks])
    key = f"chosen-by-benchmark-{html_key(choices.family)}"

    def draw(axes: Axes) -> None:
        edges = np.arange(shares.shape[1] + 1) + 0.5, np.arange(shares.shape[0] + 1) - 0.5
        image = axes.pcolormesh(*edges, shares, cmap="cividis", vmin=0.0, edgecolors="face", linewidth=0.4)
        bar = axes.figure.colorbar(image, ax=axes, pad=0.02)
        bar.set_label("share of prompts")
        bar.outline.set_visible(False)
        axes.grid(False)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_yticks(range(len(choices.benchmarks)), choices.benchmarks)
        axes.invert_yaxis()
        axes.set(xlabel="layer")

    words = ", ".join(
        f"{benchmark} layer {int(of.argmax()) + 1} ({of.max():.0%})"
        for benchmark, of in zip(choices.benchmarks, shares, strict=True)
    )
    alternative = (
        f"Heat map of the layer chosen by {label} with the {CONNECTION_LABELS[mode]}, by benchmark; most often {words}."
    )
    svg = draw_svg(key, draw, height=1.2 + 0.3 * len(choices.benchmarks))
    return Figure(key, f"Chosen layer by benchmark, {label}", alternative, svg)
