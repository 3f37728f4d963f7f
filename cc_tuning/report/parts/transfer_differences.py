"""Runs that are moved into a language held against SFT and SFT+DPO: what they gain there, and whether English is kept.

Lee et al. 2025 compare CLO with both. A difference is paired by item; the figures of a row are one family of tests, so
a difference is called one only when it survives the adjustment for all of them (docs/statistics.md).
"""

from collections.abc import Iterator, Sequence

from cc_tuning.document.blocks import Cell, Table
from cc_tuning.evaluation.benchmark import IN_LANGUAGE
from cc_tuning.report.cells import difference_cell
from cc_tuning.report.config import Family
from cc_tuning.report.names import language_label, metric_label
from cc_tuning.report.published_transfer import WIN_RATE
from cc_tuning.report.scores import Comparison, Measure
from cc_tuning.report.transfer import Column, Transfer
from cc_tuning.report.verdicts import adjusted_for_all

_AGAINST = ("SFT", "SFT+DPO")
_IN_QUESTION = "CLO"
"""How the methods that the paper is about begin: CLO, and CLO with the connection."""
_NOTE = (
    "Score minus score on the items that both were scored on, with its interval; an arrow where the difference stays "
    "one after an adjustment for all figures of its row."
)

_Compared = dict[Column, Comparison]


def against_table(transfer: Transfer) -> Table | None:
    """Differences of each family from SFT and from SFT+DPO by score and language; None where there are none."""
    columns = _columns(transfer)
    rows, tags = [], []
    for family, other, found in _pairs(transfer, columns):
        rows.append([Cell(family.label, f"− {other.label}"), *(difference_cell(found.get(at)) for at in columns)])
        tags.append({"run": family.name})
    language = language_label(transfer.target)
    titles = ["method", *(f"{at.benchmark} {metric_label(at.metric)}, {language_label(at.language)}" for at in columns)]
    title = f"Against SFT and SFT+DPO, {language}"
    return Table(f"against-{transfer.target}", title, titles, rows, _NOTE, row_tags=tags) if rows else None


def language_sentences(transfer: Transfer) -> Iterator[str]:
    """Whether more or fewer answers of CLO are in the language of their prompt than those of SFT and SFT+DPO.

    Of the other methods the table says it: a page of sentences without a finding hides those that have one.
    """
    columns = _columns(transfer)
    for family, _, found in _pairs(transfer, columns):
        if not family.runs[0].method.startswith(_IN_QUESTION):
            continue
        for column in columns:
            if column.metric == IN_LANGUAGE.name and column in found:
                yield f"{language_label(column.language)}: {transfer.evidence.results.sentence(found[column])}"


def opponents(transfer: Transfer, family: Family) -> Sequence[Family]:
    """What a family is held against: SFT and SFT+DPO with the most pairs of their kind; SFT itself against neither."""
    found = []
    for method in _AGAINST:
        if family.runs[0].method == method and family in _largest(transfer, method):
            break
        found += [other for other in _largest(transfer, method) if other != family]
    return found


def _largest(transfer: Transfer, method: str) -> list[Family]:
    of_method = [family for family in transfer.families if family.runs[0].method == method]
    most = max((family.runs[0].pairs for family in of_method), default=0)
    return [family for family in of_method if family.runs[0].pairs == most]


def _columns(transfer: Transfer) -> tuple[Column, ...]:
    return tuple(column for column in transfer.columns if column.metric != WIN_RATE)


def _pairs(transfer: Transfer, columns: Sequence[Column]) -> Iterator[tuple[Family, Family, _Compared]]:
    """Every family with each of its opponents, and how they differ in what both were measured by."""
    results = transfer.evidence.results
    for family in transfer.families:
        for other in opponents(transfer, family):
            ours, theirs = transfer.variant(family), transfer.variant(other)
            found = {
                column: comparison
                for column in columns
                if (
                    comparison := results.comparison(
                        ours, theirs, Measure(column.benchmark, column.metric), language=column.language
                    )
                )
            }
            if found:
                adjusted = adjusted_for_all(list(found.values()), results.bootstrap.confidence)
                yield family, other, dict(zip(found, adjusted, strict=True))
