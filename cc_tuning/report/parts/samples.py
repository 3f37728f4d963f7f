"""A few benchmark items with what each run answered.

Which items are shown depends on their ids and the seed only, never on the answers: nobody picks the flattering ones.
"""

from collections.abc import Sequence

import polars as pl

from cc_tuning.document.blocks import Answer, Sample, Section, number
from cc_tuning.report.data_card.examples import draw_order
from cc_tuning.report.evidence import Evidence
from cc_tuning.report.names import benchmark_place, language_label, metric_label, metric_place, text_direction
from cc_tuning.report.results import Results

_KEY = ("benchmark", "language", "item_id")
_TEXT = (
    "Items are drawn by a hash of their ids, without looking at the answers. Control characters are shown by their "
    "code; nothing else in a text was changed."
)
_FIRST_SEED = "Of a method with several seeds the answers of the first are shown."


def sample_part(evidence: Evidence) -> Section | None:
    """Items of each benchmark with the answers of every family; None without items or answers."""
    frames = [run.predictions for run in evidence.runs if run.predictions is not None]
    wanted, results = evidence.config.samples_per_benchmark, evidence.results
    if evidence.items is None or not frames or not wanted:
        return None
    predictions = pl.concat(frames)
    chosen = _chosen_items(evidence.items, predictions, wanted, evidence.config.seed)
    samples = [_sample(item, predictions, results) for item in chosen]
    paragraphs = [f"{_TEXT} {_FIRST_SEED}" if results.have_seeds else _TEXT]
    return Section("samples", "Sample answers", paragraphs, samples) if samples else None


def _chosen_items(
    items: pl.DataFrame, predictions: pl.DataFrame, per_benchmark: int, seed: int
) -> list[dict[str, object]]:
    """Items of each benchmark that some run answered, in different languages as far as there are, English last.

    Args:
        items: BenchmarkItem rows.
        predictions: Prediction rows of all runs.
    """
    answered = items.join(predictions.select(_KEY).unique(), on=_KEY, how="semi")
    chosen = []
    for benchmark in sorted(answered["benchmark"].cast(pl.String).unique(), key=benchmark_place):
        rows = answered.filter(pl.col("benchmark").cast(pl.String) == benchmark).to_dicts()
        chosen += _choose(rows, benchmark, per_benchmark, seed)
    return chosen


def _choose(items: Sequence[dict[str, object]], benchmark: str, wanted: int, seed: int) -> list[dict[str, object]]:
    """One item of each language in turn until there are enough; the order is that of a hash of the ids."""
    by_language: dict[str, list[dict[str, object]]] = {}
    for item in sorted(items, key=lambda item: draw_order(seed, str(item["language"]), str(item["item_id"]))):
        by_language.setdefault(str(item["language"]), []).append(item)
    languages = sorted(by_language, key=lambda language: (language == "en", draw_order(seed, benchmark, language)))
    rounds = max(map(len, by_language.values()), default=0)
    in_turn = [by_language[at][turn] for turn in range(rounds) for at in languages if turn < len(by_language[at])]
    return in_turn[:wanted]


def _sample(item: dict[str, object], predictions: pl.DataFrame, results: Results) -> Sample:
    language, answers = str(item["language"]), item["answers"]
    assert isinstance(answers, list)
    of_item, scores = _of_item(predictions, item), _of_item(results.item_scores, item)
    responses = []
    for variant in results.variants:
        family = results.family(variant.family)
        first = family.runs[0]
        label = ", ".join(part for part in (family.title(first), results.connection_label(variant)) if part)
        for row in _of_run(of_item, first.name, variant.connection).iter_rows(named=True):
            layer = "" if row["selected_layer"] is None else f"layer {row['selected_layer'] + 1}"
            score = _score_text(_of_run(scores, first.name, variant.connection))
            responses.append(Answer(label, row["response"], score, layer))
    heading = f"{item['benchmark']}, {language_label(language)}, {item['item_id']}"
    gold = [str(answer) for answer in answers]
    return Sample(heading, language, text_direction(language), str(item["prompt"]), gold, responses)


def _of_item(frame: pl.DataFrame, item: dict[str, object]) -> pl.DataFrame:
    return frame.filter([pl.col(column).cast(pl.String) == str(item[column]) for column in _KEY])


def _of_run(frame: pl.DataFrame, run: str, connection: str) -> pl.DataFrame:
    return frame.filter(pl.col("run") == run, pl.col("connection").cast(pl.String) == connection)


def _score_text(scores: pl.DataFrame) -> str:
    """`correct`, `wrong`, or each metric with its value."""
    values = dict(zip(scores["metric"].to_list(), scores["value"].to_list(), strict=True))
    if set(values) == {"accuracy"}:
        return "correct" if values["accuracy"] > 0 else "wrong"
    return "\n".join(f"{metric_label(name)} {number(values[name], 1)}" for name in sorted(values, key=metric_place))
