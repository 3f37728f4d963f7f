"""Prompts of three languages in the output space before and after tuning (the paper's Figure 7).

Drawn are the first two principal components that the stage `transform` stored, not t-SNE: distances in a linear map are
distances, and equal numbers give an equal picture. The two figures beside it are computed in all dimensions.
"""

from collections.abc import Iterator, Mapping

from matplotlib.axes import Axes

from cc_tuning.document.axes import add_legend, draw_svg, series_style
from cc_tuning.document.blocks import Cell, Figure, Section, Table, count, number, numeric
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import html_key
from cc_tuning.report.run_evidence import Embedding
from cc_tuning.text.languages import UnknownLanguage, find_language

_ENGLISH = "eng"
_MODELS = {"base": "before tuning", "tuned": "after tuning"}
_TEXT = (
    "A prompt's vector is the mean of the last hidden states over its tokens, from a pass without a connection, for "
    "pairs of the two languages with the most of them. The drawings are the first two principal components of each "
    "model, not t-SNE as in the paper's Figure 7, in which the distances between groups mean nothing."
)
_NOTE = (
    "Nearest is the parallel: the share of prompts whose nearest English prompt by cosine is their own parallel. "
    "Between languages: the share of the vectors' variance that lies between the means of languages."
)


def embedding_part(evidence: Evidence) -> Section | None:
    """A drawing before and after tuning for each family, of its first seed, and what changed; None without any."""
    found = {
        family: embeddings
        for family in evidence.families
        if (embeddings := next((at.embeddings for at in evidence.of(family) if at.embeddings), None))
    }
    if not found:
        return None
    figures = [figure for family, of in found.items() for figure in _figures(family, of)]
    sentences = [sentence for family, of in found.items() for sentence in _sentences(family, of)]
    return Section("embeddings", "Languages before and after", [_TEXT, *sentences], [_table(found), *figures])


def _table(found: Mapping[Family, Mapping[str, Embedding]]) -> Table:
    rows = [
        [
            Cell(family.label, title),
            numeric(count(of[name].pairs)),
            numeric(_percent(of[name].nearest_is_parallel)),
            numeric(_percent(of[name].language_share)),
            numeric(_percent(sum(of[name].variance_shown))),
        ]
        for family, of in found.items()
        for name, title in _MODELS.items()
        if name in of
    ]
    columns = ["run", "pairs", "nearest is the parallel", "between languages", "variance shown"]
    return Table("embeddings", "Parallel prompts in the output space", columns, rows, _NOTE)


def _sentences(family: Family, of: Mapping[str, Embedding]) -> Iterator[str]:
    if not set(_MODELS) <= set(of):
        return
    before, after = (of[name] for name in _MODELS)
    yield (
        f"{family.label}: the nearest English prompt is the parallel one for {_percent(before.nearest_is_parallel)} of "
        f"{count(before.pairs)} prompts before tuning and for {_percent(after.nearest_is_parallel)} after."
    )
    if before.language_share is not None and after.language_share is not None:
        moved = "further apart" if after.language_share > before.language_share else "closer together"
        yield (
            f"{family.label}: {_percent(before.language_share)} of the variance lies between languages before tuning, "
            f"{_percent(after.language_share)} after, so tuning brought languages {moved}. "
            "The paper sees more compact languages with clearer boundaries after CC-Tuning (Figure 7, by eye)."
        )


def _figures(family: Family, of: Mapping[str, Embedding]) -> Iterator[Figure]:
    for name, title in _MODELS.items():
        if name in of and len(of[name].points):
            key = f"embedding-{name}-{html_key(family)}"
            yield _figure(key, f"Three languages {title}, {family.label}", of[name])


def _figure(key: str, title: str, embedding: Embedding) -> Figure:
    languages = sorted(embedding.points, key=lambda code: (code == _ENGLISH, code))

    def draw(axes: Axes) -> None:
        for index, code in enumerate(languages):
            style = series_style(index) | {"linestyle": "none", "markersize": 3.0, "alpha": 0.7}
            points = embedding.points[code]
            axes.plot([x for x, _ in points], [y for _, y in points], label=_name(code), **style)
        shares = [*embedding.variance_shown, 0.0, 0.0]
        axes.set(xlabel=f"first component ({shares[0]:.0%} of the variance)", ylabel=f"second ({shares[1]:.0%})")
        axes.set_aspect("equal", adjustable="datalim")
        add_legend(axes)

    centres = [
        f"{_name(code)} about ({number(sum(x for x, _ in points) / len(points))}, "
        f"{number(sum(y for _, y in points) / len(points))})"
        for code in languages
        if (points := embedding.points[code])
    ]
    alternative = f"Scatter of {count(embedding.pairs)} pairs of prompts in two dimensions: {', '.join(centres)}."
    return Figure(key, title, alternative, draw_svg(key, draw, height=3.4))


def _name(code: str) -> str:
    """A language of the data in words; its code where it is not known."""
    try:
        return find_language(code).name
    except UnknownLanguage:
        return code


def _percent(share: float | None) -> str:
    return number(None) if share is None else f"{number(100 * share, 1)}\u00a0%"
