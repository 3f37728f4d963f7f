"""A few benchmark items with what each run answered.

Which items are shown depends on their ids and the seed only, never on the answers: nobody picks the flattering ones.
"""

import hashlib
from collections.abc import Sequence

import polars as pl

from cc_tuning.document.blocks import Answer, Sample, number
from cc_tuning.report.names import full_label, language_label, metric_label, metric_place, text_direction
from cc_tuning.report.results import Results, Variant
from data_contracts.schemas import BENCHMARKS

_KEY = ("benchmark", "language", "item_id")


def sample_answers(
    items: pl.DataFrame, predictions: pl.DataFrame, results: Results, per_benchmark: int, seed: int
) -> list[Sample]:
    """`per_benchmark` items of each benchmark, in different languages as far as there are, English last.

    Args:
        items: BenchmarkItem rows.
        predictions: Prediction rows of all runs.
    """
    answered = items.join(predictions.select(_KEY).unique(), on=_KEY, how="semi")
    samples = []
    for benchmark in BENCHMARKS:
        rows = answered.filter(pl.col("benchmark").cast(pl.String) == benchmark).to_dicts()
        for item in _choose(rows, benchmark, per_benchmark, seed):
            samples.append(_sample(item, predictions, results))
    return samples


def _choose(items: Sequence[dict[str, object]], benchmark: str, wanted: int, seed: int) -> list[dict[str, object]]:
    """One item of each language in turn until there are enough; the order is that of a hash of the ids."""
    by_language: dict[str, list[dict[str, object]]] = {}
    for item in sorted(items, key=lambda item: _lot(seed, str(item["language"]), str(item["item_id"]))):
        by_language.setdefault(str(item["language"]), []).append(item)
    languages = sorted(by_language, key=lambda language: (language == "en", _lot(seed, benchmark, language)))
    rounds = max(map(len, by_language.values()), default=0)
    in_turn = [by_language[at][turn] for turn in range(rounds) for at in languages if turn < len(by_language[at])]
    return in_turn[:wanted]


def _lot(seed: int, *parts: str) -> str:
    return hashlib.sha256("\0".join((str(seed), *parts)).encode()).hexdigest()


def _sample(item: dict[str, object], predictions: pl.DataFrame, results: Results) -> Sample:
    language = str(item["language"])
    answers = item["answers"]
    assert isinstance(answers, list)
    of_item = _of_item(predictions, item)
    scores = _of_item(results.item_scores, item)
    responses = []
    for variant in results.variants:
        for row in _of_variant(of_item, variant).iter_rows(named=True):
            layer = "" if row["selected_layer"] is None else f"layer {row['selected_layer'] + 1}"
            score = _score_text(_of_variant(scores, variant))
            responses.append(Answer(full_label(variant.run, variant.connection), row["response"], score, layer))
    heading = f"{item['benchmark']}, {language_label(language)}, {item['item_id']}"
    gold = [str(answer) for answer in answers]
    return Sample(heading, language, text_direction(language), str(item["prompt"]), gold, responses)


def _of_item(frame: pl.DataFrame, item: dict[str, object]) -> pl.DataFrame:
    return frame.filter([pl.col(column).cast(pl.String) == str(item[column]) for column in _KEY])


def _of_variant(frame: pl.DataFrame, variant: Variant) -> pl.DataFrame:
    return frame.filter(pl.col("run") == variant.run, pl.col("connection").cast(pl.String) == variant.connection)


def _score_text(scores: pl.DataFrame) -> str:
    """`correct`, `wrong`, or each metric with its value."""
    values = dict(zip(scores["metric"].to_list(), scores["value"].to_list(), strict=True))
    if set(values) == {"accuracy"}:
        return "correct" if values["accuracy"] > 0 else "wrong"
    return "\n".join(f"{metric_label(name)} {number(values[name], 1)}" for name in sorted(values, key=metric_place))
