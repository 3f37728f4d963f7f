"""The paper's two ablations (Figures 3 and 4): how the English layer is chosen, and which activation is carried over.

Runs are compared that were trained alike but for one of the two settings. The figures of the paper print no numbers,
so its part here is what it says about them.
"""

from collections.abc import Iterator

from matplotlib.axes import Axes

from cc_tuning.document.axes import add_legend, draw_svg, series_style
from cc_tuning.document.blocks import Cell, Figure, Section, Table, number
from cc_tuning.report.cells import difference_cell, measure_title
from cc_tuning.report.connection_modes import MODES, ConnectionModes
from cc_tuning.report.effects import is_lower_better
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import TRANSFORM, listed
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Measure, Variant
from cc_tuning.report.trained_runs import Ablation, ablations

_TITLES = {"selector": "Choice of the English layer", "source": "Activation that is carried over"}
_PAPER = {
    "selector": "The paper has the Decision Maker above the mean of all layers and above a random layer on XNLI and "
    "MKQA (Figure 3, without numbers).",
    "source": "The paper has the feed-forward output above the attention output and above the whole layer's on XNLI "
    "and MKQA (Figure 4, without numbers).",
}


def ablation_part(evidence: Evidence) -> Section | None:
    """A dot chart, a table of differences and a sentence for each ablation; None where no two runs are one."""
    modes = ConnectionModes(evidence.results)
    paragraphs: list[str] = []
    blocks: list[Table | Figure] = []
    for place, ablation in enumerate(ablations(evidence)):
        measures = (*modes.headline_measures, *modes.likelihood_measures)
        mode = _shared_mode(modes, ablation)
        if mode is None:
            continue
        key = f"ablation-{ablation.setting}-{place}"
        paragraphs += [*_sentences(evidence.results, ablation, mode, measures), _PAPER[ablation.setting]]
        blocks += [
            _figure(key, evidence.results, ablation, mode, modes.headline_measures),
            _table(key, evidence.results, ablation, mode, measures),
        ]
    return Section("ablations", "Selector and source", list(dict.fromkeys(paragraphs)), blocks) if blocks else None


def _shared_mode(modes: ConnectionModes, ablation: Ablation) -> str | None:
    """The kind of connection that all runs were measured with: the Transform Matrix where they have one."""
    shared = set.intersection(*(set(modes.of(family)) for family in ablation.families.values()))
    return TRANSFORM if TRANSFORM in shared else next((mode for mode in MODES if mode in shared), None)


def _table(key: str, results: Results, ablation: Ablation, mode: str, measures: tuple[Measure, ...]) -> Table:
    """The paper's choice minus each other one."""
    chosen, *others = ablation.families
    rows = [
        [
            Cell(f"{ablation.label(chosen)} − {ablation.label(value)}", ablation.families[value].label),
            *(difference_cell(results.difference(*_variants(ablation, chosen, value, mode), at)) for at in measures),
        ]
        for value in others
    ]
    note = f"With the {MODES[mode]}, paired by item. A difference of gold NLL is better when it is negative."
    title = f"{_TITLES[ablation.setting]}: differences"
    return Table(key, title, ["difference", *map(measure_title, measures)], rows, note)


def _variants(ablation: Ablation, chosen: str, other: str, mode: str) -> tuple[Variant, Variant]:
    ours, theirs = (Variant(ablation.families[value].name, mode) for value in (chosen, other))
    return ours, theirs


def _sentences(results: Results, ablation: Ablation, mode: str, measures: tuple[Measure, ...]) -> Iterator[str]:
    """On how many benchmarks the paper's choice is better or worse than each other one."""
    chosen, *others = ablation.families
    for value in others:
        compared = [
            (at, difference)
            for at in measures
            if (difference := results.difference(*_variants(ablation, chosen, value, mode), at)) is not None
        ]
        clear_of_zero = [(at, each.low > 0) for at, each in compared if each.low > 0 or each.high < 0]
        better = [measure_title(at) for at, is_higher in clear_of_zero if is_higher != is_lower_better(at.metric)]
        worse = [measure_title(at) for at, is_higher in clear_of_zero if is_higher == is_lower_better(at.metric)]
        clear = [f"{word} on {listed(names)}" for word, names in (("better", better), ("worse", worse)) if names] or [
            "nowhere clearly different"
        ]
        names = f"{ablation.label(chosen)} against {ablation.label(value)}"
        yield (
            f"{_TITLES[ablation.setting]}: {names} is {' and '.join(clear)}, of {len(compared)} figures compared (with "
            f"{ablation.fixed} in both)."
        )


def _figure(key: str, results: Results, ablation: Ablation, mode: str, measures: tuple[Measure, ...]) -> Figure:
    """A dot and an interval for each value of the setting on each benchmark."""
    found = {
        ablation.label(value): [results.score(Variant(family.name, mode), at) for at in measures]
        for value, family in ablation.families.items()
    }

    def draw(axes: Axes) -> None:
        for index, (label, scores) in enumerate(found.items()):
            shift = (index - (len(found) - 1) / 2) * 0.6 / len(found)
            drawn = [(place + shift, score) for place, score in enumerate(scores) if score]
            values = [score.value for _, score in drawn]
            ends = [[score.value - score.low for _, score in drawn], [score.high - score.value for _, score in drawn]]
            style = series_style(index) | {"linestyle": "none", "markersize": 4.5}
            axes.errorbar([place for place, _ in drawn], values, yerr=ends, label=label, elinewidth=1.2, **style)
        axes.set_xticks(range(len(measures)), [measure_title(at) for at in measures])
        axes.set(ylabel="score", xlim=(-0.5, len(measures) - 0.5))
        axes.grid(axis="x", visible=False)
        add_legend(axes)

    words = [
        f"{label} on {at.benchmark} {number(score.value, 1)}"
        for label, scores in found.items()
        for at, score in zip(measures, scores, strict=True)
        if score
    ]
    title = _TITLES[ablation.setting]
    alternative = f"Dot chart with intervals, {title.lower()}: {', '.join(words)}."
    return Figure(f"{key}-scores", title, alternative, draw_svg(key, draw))
