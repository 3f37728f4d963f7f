"""The order of the report: what was measured, then what it rests on.

A part that has nothing to show says so or is left out.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl
import yaml

from cc_tuning.document.blocks import Block, Document, Listing, Section, count
from cc_tuning.report.data_card.sections import compact_section
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.inside import learning_section, transform_section
from cc_tuning.report.names import run_label
from cc_tuning.report.paper import SOURCE, published_model
from cc_tuning.report.records import cost_table, counts_table, quarantine_table, versions_table
from cc_tuning.report.results import Results
from cc_tuning.report.samples import sample_answers
from cc_tuning.report.tables import connection_table, group_tables, headline_table, language_table, paper_table


def compose_document(
    name: str, base_model: str, recipe: Mapping[str, Any], evidence: Evidence, results: Results, per_benchmark: int
) -> Document:
    """The report of a recipe.

    Args:
        base_model: hub id or path of the base model, to find the paper's figures for it.
        recipe: the recipe without its execution section, shown as YAML.
        per_benchmark: how many sample items of each benchmark are shown.
    """
    sections = [
        _results_section(results),
        *_group_sections(results),
        *_paper_sections(results, base_model),
        *_language_sections(results),
        *transform_section(evidence),
        *learning_section(evidence),
        *_sample_sections(evidence, results, per_benchmark),
        *compact_section(evidence.data, evidence.pairs),
        _rows_section(evidence),
        _making_section(evidence, recipe),
    ]
    return Document(f"CC-Tuning report: {name}", _summary(results), _facts(base_model, evidence, results), sections)


def _summary(results: Results) -> str:
    """What the numbers are: measured on what, how many items, which interval."""
    if not results.measures:
        return "No run was evaluated, so this report holds no scores."
    benchmarks = len({measure.benchmark for measure in results.measures})
    languages = len({language for measure in results.measures for language in results.languages(measure)})
    smallest, largest = results.items_per_cell
    per_cell = count(smallest) if smallest == largest else f"{count(smallest)} to {count(largest)}"
    runs = _listed([run_label(run) for run in results.runs])
    return (
        f"Scores of {runs} on {benchmarks} benchmark{'s' * (benchmarks != 1)} in {languages} "
        f"language{'s' * (languages != 1)}, with {per_cell} items per benchmark and language, answered by greedy "
        "decoding. They describe these checkpoints on these items and nothing beyond them."
    )


def _method(results: Results) -> str:
    """How to read a cell of the main table."""
    settings = results.bootstrap
    return (
        f"{_what_is_counted(results)} Averages are over languages, each counting once. "
        f"In brackets the {settings.confidence:.0%} interval of a percentile bootstrap over items with "
        f"{count(settings.samples)} resamples, the translations of one item drawn together; differences are paired by "
        "item. Intervals say how much a score would move with other items, not with another training run."
    )


def _what_is_counted(results: Results) -> str:
    metrics = {measure.metric for measure in results.measures}
    sentences = ["Accuracy is the percentage of items answered correctly."] if "accuracy" in metrics else []
    if metrics & {"rougeL", "rougeL_ascii"}:
        sentences.append(
            "ROUGE-L (× 100) compares words split by Unicode rules; ROUGE-L ASCII drops every letter outside a to z, "
            "as the usual scorer does, and is the figure to hold beside published ones."
        )
    return " ".join(sentences)


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _facts(base_model: str, evidence: Evidence, results: Results) -> list[tuple[str, str]]:
    items = results.item_scores.select("benchmark", "language", "item_id").n_unique() if results.measures else 0
    seconds = sum(stage.manifest.seconds for stage in evidence.stages)
    facts = [("base model", base_model), ("runs", str(len(evidence.runs))), ("items", count(items))]
    if evidence.stages:
        commits = dict.fromkeys(stage.manifest.commit[:12] for stage in evidence.stages)
        facts += [("time of all stages", f"{seconds:,.0f} s"), ("source commit", ", ".join(commits))]
    return facts


def _results_section(results: Results) -> Section:
    if not results.measures:
        return Section("results", "Results", ["No evaluation was among the inputs of this report."])
    blocks = [table for table in (headline_table(results), connection_table(results)) if table is not None]
    return Section("results", "Results", [_method(results)], blocks)


def _group_sections(results: Results) -> list[Section]:
    tables = group_tables(results)
    text = (
        "The table above for each group of items apart; the groups are those that the benchmark files name. Averages "
        "are over the languages that have items of the group, each counting once."
    )
    return [Section("groups", "By group of items", [text], tables)] if tables else []


def _paper_sections(results: Results, base_model: str) -> list[Section]:
    model = published_model(base_model)
    table = paper_table(results, model) if model else None
    if table is None:
        return []
    text = (
        f"Averages over languages beside those printed in {SOURCE}, for {model}. The paper's training rows, "
        "translations and scorers are not published, so equal figures are not to be expected. ROUGE-L is compared "
        "with the ASCII figure."
    )
    return [Section("paper", "Beside the paper", [text], [table])]


def _language_sections(results: Results) -> list[Section]:
    tables = [language_table(results, measure) for measure in results.measures]
    text = "Score with its interval for each language; the last column is the average shown above."
    return [Section("languages", "By language", [text], tables)] if tables else []


def _sample_sections(evidence: Evidence, results: Results, per_benchmark: int) -> list[Section]:
    frames = [run.predictions for run in evidence.runs if run.predictions is not None]
    if evidence.items is None or not frames or not per_benchmark:
        return []
    samples = sample_answers(evidence.items, pl.concat(frames), results, per_benchmark, results.bootstrap.seed)
    text = (
        "Items are drawn by a hash of their ids, without looking at the answers. Control characters are shown by their "
        "code; nothing else in a text was changed."
    )
    return [Section("samples", "Sample answers", [text], samples)] if samples else []


def _rows_section(evidence: Evidence) -> Section:
    if not evidence.stages:
        return Section("rows", "Rows", ["The inputs carry no manifests, so rows were not counted."])
    table = quarantine_table(evidence.stages)
    blocks: Sequence[Block] = [counts_table(evidence.stages), *([table] if table else [])]
    text = "No row was set aside." if table is None else (
        "Rows that break a rule are set aside with the rule's name and kept in the stage's quarantine.parquet."
    )  # fmt: skip
    return Section("rows", "Rows", [text], blocks)


def _making_section(evidence: Evidence, recipe: Mapping[str, Any]) -> Section:
    listing = Listing("Recipe", yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True, width=100), "yaml")
    tables = [cost_table(evidence.stages), versions_table(evidence.stages)] if evidence.stages else []
    return Section("making", "How it was made", [], [*tables, listing])
