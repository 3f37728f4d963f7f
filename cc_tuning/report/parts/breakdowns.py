"""The averages of the main table taken apart: by seed, by group of items, and by language."""

from cc_tuning.document.blocks import Cell, Section, Table
from cc_tuning.report.cells import measure_title, score_cell, score_table, variant_cell
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import AVERAGE, group_label, language_label, metric_label
from cc_tuning.report.results import Results
from cc_tuning.report.scores import Measure

_SEEDS = (
    "The averages of every training run behind the means above, each with the interval that the evaluation gave it. "
    "Runs of one method differ in the seed of their training only."
)
_GROUPS = (
    "The table above for each group of items apart; the groups are those that the benchmark files name. Averages are "
    "over the languages that have items of the group, each counting once."
)
_LANGUAGES = "Score with its interval for each language; the last column is the average shown above."


def seed_part(evidence: Evidence) -> Section | None:
    """One folded table with a row for each run of a family of several; None when every family is one run."""
    results = evidence.results
    if not results.have_seeds:
        return None
    rows = [
        [
            Cell(family.title(run), results.connection_label(variant)),
            *(score_cell(results.run_score(run.name, variant.connection, measure)) for measure in results.measures),
        ]
        for family in results.families
        if family.seeds > 1
        for run in family.runs
        for variant in results.variants
        if variant.family == family.name
    ]
    columns = ["run", *map(measure_title, results.measures)]
    table = Table("seeds", "Averages of every seed", columns, rows, is_folded=True)
    return Section("by-seed", "By seed", [_SEEDS], [table])


def group_part(evidence: Evidence) -> Section | None:
    """The main table once more for each group of items; None when no item has one."""
    results = evidence.results
    tables = [
        score_table(f"group-{place}", group_label(group), results, group) for place, group in enumerate(results.groups)
    ]
    return Section("groups", "By group of items", [_GROUPS], tables) if tables else None


def language_part(evidence: Evidence) -> Section | None:
    """One folded table for each benchmark and metric; None when nothing was measured."""
    tables = [_language_table(evidence.results, measure) for measure in evidence.results.measures]
    return Section("languages", "By language", [_LANGUAGES], tables) if tables else None


def _language_table(results: Results, measure: Measure) -> Table:
    languages = results.languages(measure)
    rows = [
        [
            variant_cell(results, variant),
            *(score_cell(results.score(variant, measure, at)) for at in (*languages, AVERAGE)),
        ]
        for variant in results.variants
        if results.score(variant, measure)
    ]
    columns = ["method", *map(language_label, languages), "average"]
    key = f"{measure.benchmark}-{measure.metric}".lower()
    return Table(key, f"{measure.benchmark}, {metric_label(measure.metric)}", columns, rows, is_folded=True)
