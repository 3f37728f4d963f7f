"""The report as a document: a head that says what the numbers are, and the parts in their order."""

from cc_tuning.document.blocks import Document, Facet, count
from cc_tuning.report.config import Family
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import CONNECTION_LABELS, language_label, listed
from cc_tuning.report.parts import PARTS
from cc_tuning.report.results import Results


def compose_document(evidence: Evidence) -> Document:
    """The report of what was found; parts without anything to show are left out."""
    sections = [section for part in PARTS if (section := part(evidence)) is not None]
    title = f"CC-Tuning report: {evidence.config.name}"
    return Document(title, _summary(evidence), _facts(evidence), sections, _facets(evidence.results))


def _summary(evidence: Evidence) -> str:
    """What was run, in one sentence: the model, the methods, on what they were trained, on what they are measured."""
    results = evidence.results
    if not results.measures:
        return "No run was evaluated, so this report holds no scores."
    benchmarks = len({measure.benchmark for measure in results.measures})
    languages = len(_languages(results))
    smallest, largest = results.items_per_cell
    per_cell = count(smallest) if smallest == largest else f"{count(smallest)} to {count(largest)}"
    return (
        f"{listed([_with_seeds(family) for family in results.families])}, from {evidence.config.base_model}"
        f"{_trained_on(evidence)}, on {benchmarks} benchmark{'s' * (benchmarks != 1)} in {languages} "
        f"language{'s' * (languages != 1)} with {per_cell} items each, answered by greedy decoding. The figures "
        "describe these checkpoints on these items and nothing beyond them."
    )


def _trained_on(evidence: Evidence) -> str:
    """How many rows the runs were trained on, where their stages tell."""
    rows = sorted({stage.manifest.rows.kept for stage in evidence.stages if stage.manifest.stage == "materialize"})
    if not rows:
        return ""
    return (
        f" tuned on {count(rows[0])} rows"
        if len(rows) == 1
        else f" tuned on {count(rows[0])} to {count(rows[-1])} rows"
    )


def _languages(results: Results) -> list[str]:
    found = {language for measure in results.measures for language in results.languages(measure)}
    return sorted(found, key=lambda language: (language != "en", language))


def _facets(results: Results) -> list[Facet]:
    """What the tables can be filtered by: methods, connections and languages, each where there are several."""
    runs = [(family.name, family.label) for family in results.families]
    connections = [
        (name, label) for name, label in CONNECTION_LABELS.items() if name in {at.connection for at in results.variants}
    ]
    languages = [(code, language_label(code)) for code in _languages(results)]
    facets = [
        Facet("run", "Runs", runs),
        Facet("connection", "Connections", connections),
        Facet("language", "Languages", languages),
    ]
    return [facet for facet in facets if len(facet.values) > 1]


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
