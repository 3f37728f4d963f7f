"""The report as a document: a head that says what the numbers are, and the parts in their order."""

from cc_tuning.document.blocks import Document, count
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import listed
from cc_tuning.report.parts import PARTS
from cc_tuning.report.results import Results


def compose_document(evidence: Evidence) -> Document:
    """The report of what was found; parts without anything to show are left out."""
    sections = [section for part in PARTS if (section := part(evidence)) is not None]
    title = f"CC-Tuning report: {evidence.config.name}"
    return Document(title, _summary(evidence.results), _facts(evidence), sections)


def _summary(results: Results) -> str:
    """What the numbers are: measured on what, how many items, which interval."""
    if not results.measures:
        return "No run was evaluated, so this report holds no scores."
    benchmarks = len({measure.benchmark for measure in results.measures})
    languages = len({language for measure in results.measures for language in results.languages(measure)})
    smallest, largest = results.items_per_cell
    per_cell = count(smallest) if smallest == largest else f"{count(smallest)} to {count(largest)}"
    return (
        f"Scores of {listed([_with_seeds(family) for family in results.families])} on {benchmarks} "
        f"benchmark{'s' * (benchmarks != 1)} in {languages} language{'s' * (languages != 1)}, with {per_cell} items "
        "per benchmark and language, answered by greedy decoding. They describe these checkpoints on these items and "
        "nothing beyond them."
    )


def _with_seeds(family: Family) -> str:
    return family.label if family.seeds == 1 else f"{family.label} ({family.seeds} seeds)"


def _facts(evidence: Evidence) -> list[tuple[str, str]]:
    results, stages = evidence.results, evidence.stages
    items = results.item_scores.select("benchmark", "language", "item_id").n_unique() if results.measures else 0
    facts = [("base model", evidence.config.base_model), ("runs", str(len(evidence.runs))), ("items", count(items))]
    if stages:
        seconds = sum(stage.manifest.seconds for stage in stages)
        commits = dict.fromkeys(stage.manifest.commit[:12] for stage in stages)
        facts += [("time of all stages", f"{seconds:,.0f} s"), ("source commit", ", ".join(commits))]
    return facts
