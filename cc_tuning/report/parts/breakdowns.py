"""The averages of the main table taken apart: by seed, by group of items, and by language."""

from cc_tuning.document.blocks import Cell, Section, Table
from cc_tuning.report.cells import (
    difference_table,
    language_columns,
    language_tags,
    measure_title,
    metric_title,
    score_cell,
    score_table,
    variant_cell,
    variant_tags,
)
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import AVERAGE, group_label
from cc_tuning.report.parts.heat_map import heat_maps
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Measure

_SENSITIVE = "gold_nll"
"""The other metric that is shown by language: it moves with every item."""
_SEEDS = (
    "The averages of every training run behind the means above, each with the interval that the evaluation gave it. "
    "Runs of one method differ in the seed of their training only."
)
_GROUPS = (
    "The tables above for each group of items apart; the groups are those that the benchmark files name. Averages are "
    "over the languages that have items of the group, each counting once."
)
_LANGUAGES = (
    "Score with its interval for each language; the last column is the average shown above. Other measures by language "
    "are in scores.csv."
)


def seed_part(evidence: Evidence) -> Section | None:
    """One folded table with a row for each run of a family of several; None when every family is one run."""
    results = evidence.results
    if not results.have_seeds:
        return None
    measures, rows, tags = results.headline_measures, [], []
    for variant in results.variants:
        family = results.family(variant.family)
        for run in family.runs if family.seeds > 1 else ():
            scores = [results.run_score(run.name, variant.connection, measure) for measure in measures]
            if any(scores):
                name = Cell(family.title(run), results.connection_label(variant))
                rows.append([name, *map(score_cell, scores, measures)])
                tags.append(variant_tags(variant))
    columns = ["run", *map(measure_title, measures)]
    table = Table("seeds", "Averages of every seed", columns, rows, is_folded=True, row_tags=tags)
    return Section("by-seed", "By seed", [_SEEDS], [table])


def group_part(evidence: Evidence) -> Section | None:
    """The main tables once more for each group of items; None when no item has one."""
    results, tables = evidence.results, []
    for place, group in enumerate(results.groups):
        measures = [at for at in results.headline_measures if _has(results, at, group)]
        title = group_label(group)
        tables.append(score_table(f"group-{place}", title, results, measures, group))
        differences = difference_table(
            f"group-{place}-differences", f"{title}: differences to the baseline", results, measures, group
        )
        tables += [differences] if differences else []
    return Section("groups", "By group of items", [_GROUPS], tables) if tables else None


def language_part(evidence: Evidence) -> Section | None:
    """The other heat maps, and a table for each benchmark's headline metric and gold NLL, all of them folded."""
    results = evidence.results
    if not results.measures:
        return None
    shown = [*results.headline_measures, *(at for at in results.measures if at.metric == _SENSITIVE)]
    tables = [*heat_maps(results, results.headline_measures)[1:], *(_language_table(results, at) for at in shown)]
    return Section("languages", "By language", [_LANGUAGES], tables)


def _has(results: Results, measure: Measure, group: str) -> bool:
    return any(results.group_score(variant, measure, group) for variant in results.variants)


def _language_table(results: Results, measure: Measure) -> Table:
    languages = results.languages(measure)
    variants = [variant for variant in results.variants if results.score(variant, measure)]
    rows = [
        [
            variant_cell(results, variant),
            *(score_cell(results.score(variant, measure, at), measure) for at in (*languages, AVERAGE)),
        ]
        for variant in variants
    ]
    return Table(
        f"{measure.benchmark}-{measure.metric}".lower(),
        f"{measure.benchmark}, {metric_title(measure.metric)}",
        ["method", *language_columns(languages), "average"],
        rows,
        is_folded=True,
        row_tags=list(map(variant_tags, variants)),
        column_tags=[*language_tags(languages), {}],
    )
