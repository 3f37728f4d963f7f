"""A few benchmark items with what each run answered.

Which items are shown depends on their ids and the seed only, never on the answers: nobody picks the flattering ones.
"""

from collections.abc import Sequence

import polars as pl

from cc_tuning.document.blocks import Answer, Sample, Section
from cc_tuning.report.answers import Answers
from cc_tuning.report.data_card.examples import draw_order
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import language_label, score_text, text_direction
from cc_tuning.report.results import Results

_TEXT = (
    "Items are drawn by a hash of their ids, without looking at the answers. Control characters are shown by their "
    "code; nothing else in a text was changed."
)
_FIRST_SEED = "Of a method with several seeds the answers of the first are shown."


def sample_part(evidence: Evidence) -> Section | None:
    """Items of each benchmark with the answers of every family; None without items or answers."""
    wanted, answers = evidence.config.samples_per_benchmark, evidence.answers
    if evidence.items is None or answers is None or not wanted:
        return None
    samples = [
        _sample(benchmark, language, answers.of(benchmark, language).filter(item_id=item_id), evidence.results)
        for benchmark, language, item_id in _chosen_items(answers, wanted, evidence.config.seed)
    ]
    paragraphs = [f"{_TEXT} {_FIRST_SEED}" if evidence.results.have_seeds else _TEXT]
    return Section("samples", "Sample answers", paragraphs, samples) if samples else None


def _chosen_items(answers: Answers, per_benchmark: int, seed: int) -> list[tuple[str, str, str]]:
    """Items of each benchmark that some run answered, in different languages as far as there are, English last."""
    chosen = []
    for benchmark in dict.fromkeys(benchmark for benchmark, _ in answers.cells):
        languages = [language for at, language in answers.cells if at == benchmark]
        chosen += _choose(answers, benchmark, languages, per_benchmark, seed)
    return chosen


def _choose(
    answers: Answers, benchmark: str, languages: Sequence[str], wanted: int, seed: int
) -> list[tuple[str, str, str]]:
    """One item of each language in turn until there are enough; the order is that of a hash of the ids."""
    in_order = sorted(languages, key=lambda language: (language == "en", draw_order(seed, benchmark, language)))
    drawn = {
        language: sorted(answers.item_ids(benchmark, language), key=lambda item: draw_order(seed, language, item))
        for language in in_order[:wanted]
    }
    rounds = range(max(map(len, drawn.values()), default=0))
    return [
        (benchmark, language, drawn[language][turn])
        for turn in rounds
        for language in drawn
        if turn < len(drawn[language])
    ][:wanted]


def _sample(benchmark: str, language: str, rows: pl.DataFrame, results: Results) -> Sample:
    responses, item = [], rows.row(0, named=True)
    by_side = {(row["run"], row["connection"]): row for row in rows.iter_rows(named=True)}
    for variant in results.variants:
        family = results.family(variant.family)
        first = family.runs[0]
        if row := by_side.get((first.name, variant.connection)):
            label = ", ".join(part for part in (family.title(first), results.connection_label(variant)) if part)
            layer = "" if row["selected_layer"] is None else f"layer {row['selected_layer'] + 1}"
            responses.append(Answer(label, row["response"], score_text(row["metric"], row["score"]), layer))
    heading = f"{benchmark}, {language_label(language)}, {item['item_id']}"
    gold = [str(answer) for answer in item["answers"] or ()]
    return Sample(heading, language, text_direction(language), item["prompt"] or "", gold, responses)
