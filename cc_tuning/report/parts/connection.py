"""What the connection is worth: every kind of it against the same checkpoint with the connection off.

The paper says of its Transform Matrix that scores with it and with real English prompts hardly differ (|Δ| of Table 2).
That is also true of two connections that do nothing, so the difference to `off` stands first here, and beside it the
share of the gain of the real English prompt that the matrix reaches.
"""

from collections.abc import Iterator, Sequence

from matplotlib.axes import Axes

from cc_tuning.document.axes import add_legend, draw_svg, series_style
from cc_tuning.document.blocks import MISSING, Cell, Figure, Section, Table, Tags, number, numeric
from cc_tuning.document.svg import INK
from cc_tuning.report.cells import language_columns, language_tags, measure_title, variant_tags
from cc_tuning.report.config import Family
from cc_tuning.report.connection_modes import (
    CONSTANT,
    IDENTITY,
    OTHER,
    ConnectionModes,
    gain_cell,
    signed,
    unit_of,
)
from cc_tuning.report.effects import Gain
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import (
    AVERAGE,
    CONNECTION_LABELS,
    CONTEXT,
    PARALLEL,
    PIVOT,
    PIVOT_CONTEXT,
    TRANSFORM,
    html_key,
    listed,
)
from cc_tuning.report.published import PAPER, PARALLEL_MINUS_TRANSFORM, published, published_model
from cc_tuning.report.scores import Measure, Variant

_TEXT = (
    "The same checkpoint answers the same items with different things added at the connection position, or nothing; "
    "where competitors were asked for, also with English text before the prompt, which needs no connection. A "
    "gain is the difference to the connection off, paired by item and averaged over languages; it is positive where "
    "the connection helps, also for a negative log-likelihood, which is better when it is lower. ▲ or ▼ marks a "
    "difference: its interval excludes zero and its p value, adjusted for the benchmarks of the table (Holm), is small."
)
_SUBJECTS = {
    PARALLEL: "the real English prompt",
    TRANSFORM: "the Transform Matrix",
    OTHER: "another English prompt",
    CONSTANT: "a constant vector",
    IDENTITY: "the prompt's own activation",
    PIVOT: "the English prompt of a translator",
    CONTEXT: "the English version as text",
    PIVOT_CONTEXT: "a translator's English version as text",
}
_SHARE_NOTE = (
    "(Transform Matrix − off) / (real English prompt − off), with Fieller's interval, which counts other items and no "
    "other seeds; undefined where the real English prompt does not clearly help: there is no gain to have a share of."
)


def connection_part(evidence: Evidence) -> Section | None:
    """Gains by benchmark and by language, the share that the matrix recovers; None when no run has a connection."""
    modes = ConnectionModes(evidence.results)
    families = modes.families
    if not families:
        return None
    blocks: list[Table | Figure] = []
    paragraphs = [_TEXT]
    for key, measures in (("points", modes.headline_measures), ("likelihood", modes.likelihood_measures)):
        if measures:
            paragraphs += [sentence for family in families for sentence in _sentences(modes, family, measures)]
            blocks += [_gain_table(modes, key, measures)]
            blocks += [_gain_figure(modes, key, family, measures) for family in families]
    if share := _share_table(modes):
        blocks.append(share)
    if paper := _paper_table(evidence, modes):
        blocks.append(paper)
    for measure in (*modes.headline_measures, *modes.likelihood_measures):
        blocks.append(_language_table(modes, measure))
    return Section("connection-worth", "What the connection is worth", paragraphs, blocks)


def _gain_table(modes: ConnectionModes, key: str, measures: Sequence[Measure]) -> Table:
    named = [(family, mode) for family in modes.families for mode in _measured(modes, family, measures)]
    rows = [
        [Cell(family.label, CONNECTION_LABELS[mode]), *(gain_cell(modes.gain(family, at, mode), at) for at in measures)]
        for family, mode in named
    ]
    title = f"Gain over the connection off, in {unit_of(measures[0])}"
    return Table(f"gains-{key}", title, ["run", *map(measure_title, measures)], rows, row_tags=_tags(named))


def _tags(named: Sequence[tuple[Family, str]]) -> list[Tags]:
    """What the page's filters hide rows by."""
    return [variant_tags(Variant(family.name, mode)) for family, mode in named]


def _measured(modes: ConnectionModes, family: Family, measures: Sequence[Measure]) -> list[str]:
    """Controls are measured by likelihood only, so not every kind has every metric."""
    return [mode for mode in modes.of(family) if any(modes.gain(family, at, mode) for at in measures)]


def _language_table(modes: ConnectionModes, measure: Measure) -> Table:
    languages = modes.languages(measure)
    named = [(family, mode) for family in modes.families for mode in _measured(modes, family, [measure])]
    rows = [
        [
            Cell(family.label, CONNECTION_LABELS[mode]),
            *(gain_cell(modes.gain(family, measure, mode, language=at), measure) for at in (*languages, AVERAGE)),
        ]
        for family, mode in named
    ]
    columns = ["run", *language_columns(languages), "average"]
    title = f"{measure_title(measure)}: gain by language, in {unit_of(measure)}"
    key = f"gains-{measure.benchmark}-{measure.metric}".lower()
    tags = [*language_tags(languages), {}]
    return Table(key, title, columns, rows, is_folded=True, row_tags=_tags(named), column_tags=tags)


def _share_table(modes: ConnectionModes) -> Table | None:
    """The share of the parallel gain that the matrix recovers, by benchmark and metric."""
    rows = []
    for family in modes.families:
        if {TRANSFORM, PARALLEL} <= set(modes.of(family)):
            for measure in (*modes.headline_measures, *modes.likelihood_measures):
                if modes.gain(family, measure, PARALLEL):
                    rows.append([Cell(family.label, measure_title(measure)), *_share_cells(modes, family, measure)])
    columns = ["run", "gain of the real English prompt", "gain of the matrix", "share recovered"]
    title = "Share of the gain of the real English prompt that the matrix recovers"
    return Table("recovered", title, columns, rows, _SHARE_NOTE) if rows else None


def _share_cells(modes: ConnectionModes, family: Family, measure: Measure) -> list[Cell]:
    gains = [gain_cell(modes.gain(family, measure, mode), measure) for mode in (PARALLEL, TRANSFORM)]
    share = modes.share(family, measure)
    if share is None:
        return [*gains, numeric("undefined")]
    detail = f"[{_percent(share.low)}, {_percent(share.high)}]"
    return [*gains, numeric(_percent(share.value), detail, value=share.value, bounds=(share.low, share.high))]


def _paper_table(evidence: Evidence, modes: ConnectionModes) -> Table | None:
    """|Δ| between real English prompts and the matrix, ours and the paper's."""
    model = published_model(evidence.config.base_model)
    rows = []
    for family in modes.families:
        pairs = [(at, modes.gain(family, at, PARALLEL, TRANSFORM)) for at in modes.headline_measures]
        paper = [
            published(model, family.name, at.benchmark, PARALLEL_MINUS_TRANSFORM) if model else None for at, _ in pairs
        ]
        if any(gain for _, gain in pairs):
            rows.append([Cell(family.label, "ours"), *(_unsigned_cell(gain, at) for at, gain in pairs)])
        if any(paper):
            rows.append([Cell(family.label, "paper"), *(numeric(number(at.value) if at else MISSING) for at in paper)])
    if not rows:
        return None
    source = f" The paper's are |Δ| of Table 2 in {PAPER}." if model else ""
    note = (
        "Without its sign, in points; below ours the interval of the signed difference. A small one says that the two "
        f"connections do the same, not that either does anything.{source}"
    )
    columns = ["run", *map(measure_title, modes.headline_measures)]
    return Table("parallel-transform", "Real English prompt against the matrix", columns, rows, note)


def _unsigned_cell(gain: Gain | None, measure: Measure) -> Cell:
    if gain is None:
        return numeric(MISSING)
    detail = f"signed [{signed(gain.low, measure)}, {signed(gain.high, measure)}]"
    return numeric(number(abs(gain.value)), detail, value=abs(gain.value))


def _sentences(modes: ConnectionModes, family: Family, measures: Sequence[Measure]) -> Iterator[str]:
    """In how many benchmarks each kind helps and hurts clearly, and what the matrix recovers."""
    name = "the gold answer's likelihood" if measures[0] in modes.likelihood_measures else "the headline metric"
    parts = []
    for mode in _measured(modes, family, measures):
        gains = [gain for at in measures if (gain := modes.gain(family, at, mode))]
        helps, hurts = (sum(gain.verdict == at for gain in gains) for at in ("better", "worse"))
        parts.append(f"{_SUBJECTS[mode]} {_verdict(helps, hurts, len(gains))}")
    if parts:
        yield f"{family.label} by {name}: {'; '.join(parts)}."
    shares = {at: share for at in measures if (share := modes.share(family, at))}
    if shares and {TRANSFORM, PARALLEL} <= set(modes.of(family)):
        reached = [
            f"{_percent(share.value)} [{_percent(share.low)}, {_percent(share.high)}] on {at.benchmark}"
            for at, share in shares.items()
        ]
        yield f"Of that gain of the real English prompt the matrix reaches {listed(reached)}."


def _verdict(helps: int, hurts: int, benchmarks: int) -> str:
    of = f"of {benchmarks} benchmark{'s' * (benchmarks != 1)}"
    if helps and hurts:
        return f"helps on {helps} and hurts on {hurts} {of}"
    if helps or hurts:
        return f"{'helps' if helps else 'hurts'} on {helps or hurts} {of}"
    return f"changes nothing that {benchmarks} benchmark{'s' * (benchmarks != 1)} could show"


def _percent(share: float) -> str:
    return f"{number(100 * share, 0)}\u00a0%"


def _short_titles(measures: Sequence[Measure]) -> list[str]:
    """The benchmarks alone where all have one metric, which the axis names."""
    return [at.benchmark if len({of.metric for of in measures}) == 1 else measure_title(at) for at in measures]


def _gain_figure(modes: ConnectionModes, key: str, family: Family, measures: Sequence[Measure]) -> Figure:
    """A dot and an interval for each kind on each benchmark."""
    kinds = _measured(modes, family, measures)
    found = {mode: [modes.gain(family, at, mode) for at in measures] for mode in kinds}
    height = 1.2 + 0.17 * len(measures) * max(len(kinds), 1)

    def draw(axes: Axes) -> None:
        for index, (mode, gains) in enumerate(found.items()):
            style = series_style(index) | {"linestyle": "none", "markersize": 4.5}
            shift = (index - (len(found) - 1) / 2) * 0.7 / len(found)
            drawn = [(place + shift, gain) for place, gain in enumerate(gains) if gain]
            places, values = [place for place, _ in drawn], [gain.value for _, gain in drawn]
            ends = [[gain.value - gain.low for _, gain in drawn], [gain.high - gain.value for _, gain in drawn]]
            axes.errorbar(values, places, xerr=ends, label=CONNECTION_LABELS[mode], elinewidth=1.2, **style)
        axes.axvline(0, color=INK, linewidth=0.8)
        axes.set_yticks(range(len(measures)), _short_titles(measures))
        axes.set_ylim(len(measures) - 0.5, -0.5)
        axes.grid(axis="y", visible=False)
        axes.set(xlabel=f"gain over the connection off, {unit_of(measures[0])}")
        add_legend(axes)

    words = [
        f"{CONNECTION_LABELS[mode]} on {at.benchmark} {signed(gain.value, at)}"
        for mode, gains in found.items()
        for at, gain in zip(measures, gains, strict=True)
        if gain
    ]
    alternative = (
        f"Dot chart with intervals of the gain over the connection off for {family.label}, in {unit_of(measures[0])}: "
        f"{', '.join(words)}."
    )
    figure = f"gains-{key}-{html_key(family)}"
    svg = draw_svg(figure, draw, height=height)
    return Figure(figure, f"Gain over the connection off, {family.label}", alternative, svg)
