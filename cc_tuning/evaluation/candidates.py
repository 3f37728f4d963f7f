"""The answers to an item whose likelihood is asked for, as text and as the token ids that the model would write.

They are the benchmark's options, each alone as a right answer would read, or the gold answer where it has none. The
token that ends the turn is none of theirs: how readily a model stops says nothing of what it knows.
"""

from collections.abc import Sequence

import polars as pl

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.scorers import normalised
from cc_tuning.text.prompts import ChatPrompts

GOLD = "gold"
"""The name of the gold answer among an item's candidates."""
_TEXTS, _IDS = pl.List(pl.String), pl.List(pl.List(pl.Int32))


def gold_answer(answers: Sequence[str]) -> str:
    """The first gold answer that is not blank, without the white space around it."""
    return next(text.strip() for text in answers if normalised(text))


def with_candidates(items: pl.DataFrame, prompts: ChatPrompts) -> pl.DataFrame:
    """BenchmarkItem rows with `gold`, `candidates` and `continuation_ids`, the ids of each candidate in their order.

    Raises:
        ConfigError: an answer holds a control token that cannot be kept as text.
    """
    gold = [gold_answer(answers) for answers in items["answers"].to_list()]
    texts = [
        BENCHMARKS[benchmark].options or (answer,) for benchmark, answer in zip(items["benchmark"], gold, strict=True)
    ]
    ids = _answer_ids(prompts, list(dict.fromkeys(text for of_item in texts for text in of_item)))
    return items.with_columns(
        gold=pl.Series(gold, dtype=pl.String),
        candidates=pl.Series([list(of_item) for of_item in texts], dtype=_TEXTS),
        continuation_ids=pl.Series([[ids[text] for text in of_item] for of_item in texts], dtype=_IDS),
    )


def turn_ids(prompts: ChatPrompts, texts: Sequence[str]) -> list[list[int]]:
    """The ids of whole answers, each with the token that ends its turn."""
    examples = prompts.encode_examples([""] * len(texts), list(texts))
    return [example.input_ids[example.prompt_length :] for example in examples]


def _answer_ids(prompts: ChatPrompts, texts: Sequence[str]) -> dict[str, list[int]]:
    return {text: ids[:-1] for text, ids in zip(texts, turn_ids(prompts, texts), strict=True)}
