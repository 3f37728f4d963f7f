"""The paper's two ablations (Figures 3 and 4): how the English layer is chosen, and which activation is carried over.

Runs are compared that were trained alike but for one of the two settings. The figures of the paper print no numbers,
so its part here is what it says about them.
"""

from collections.abc import Iterator, Mapping, Sequence

from matplotlib.axes import Axes

from cc_tuning.document.axes import add_legend, draw_svg, series_style
from cc_tuning.document.blocks import Cell, Figure, Section, Table, number
from cc_tuning.report.cells import measure_title
from cc_tuning.report.connection_modes import MODES, ConnectionModes, gain_cell
from cc_tuning.report.effects import Gain, gain_of
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import CONNECTION_LABELS, TRANSFORM, listed
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
    for place, ablation in enumerate(ablations(evidence.stages, evidence.results.families)):
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


def _gains(
    results: Results, ablation: Ablation, value: str, mode: str, measures: Sequence[Measure]
) -> Mapping[Measure, Gain]:
    """What the paper's choice gains over another one, judged among all `measures`."""
    chosen = next(iter(ablation.families))
    ours, theirs = (Variant(ablation.families[at].name, mode) for at in (chosen, value))
    return {found.measure: gain_of(found) for found in results.comparisons([(ours, theirs)], measures)}


def _table(key: str, results: Results, ablation: Ablation, mode: str, measures: Sequence[Measure]) -> Table:
    """What the paper's choice gains over each other one."""
    chosen, *others = ablation.families
    rows = []
    for value in others:
        gains = _gains(results, ablation, value, mode, measures)
        named = Cell(f"{ablation.label(chosen)} − {ablation.label(value)}", ablation.families[value].label)
        rows.append([named, *(gain_cell(gains.get(at), at) for at in measures)])
    note = f"With the {CONNECTION_LABELS[mode]}, paired by item; positive where the first is better, also by gold NLL."
    title = f"{_TITLES[ablation.setting]}: differences"
    return Table(key, title, ["difference", *map(measure_title, measures)], rows, note)


def _sentences(results: Results, ablation: Ablation, mode: str, measures: Sequence[Measure]) -> Iterator[str]:
    """On which benchmarks the paper's choice is better or worse than each other one."""
    chosen, *others = ablation.families
    for value in others:
        gains = _gains(results, ablation, value, mode, measures)
        on = {
            verdict: [measure_title(at) for at, gain in gains.items() if gain.verdict == verdict]
            for verdict in ("better", "worse")
        }
        found = [f"{verdict} on {listed(names)}" for verdict, names in on.items() if names]
        names = f"{ablation.label(chosen)} against {ablation.label(value)}"
        yield (
            f"{_TITLES[ablation.setting]}: {names} is {' and '.join(found) or 'nowhere clearly different'}, of "
            f"{len(gains)} figures compared (with {ablation.fixed} in both)."
        )


def _figure(key: str, results: Results, ablation: Ablation, mode: str, measures: Sequence[Measure]) -> Figure:
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
