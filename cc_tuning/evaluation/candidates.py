"""The answers to an item whose likelihood is asked for, as text and as the token ids that the model would write.

They are the benchmark's options, each alone as a right answer would read, or the gold answer where it has none. An
option is asked for as the prompt labels it, `١` where an Arabic prompt has `(١)`, and keeps its name of the data, `1`.
The token that ends the turn is none of theirs: how readily a model stops says nothing of what it knows.
"""

from collections.abc import Sequence

import polars as pl

from cc_tuning.evaluation.benchmarks import BENCHMARKS
from cc_tuning.evaluation.prompts import labels_in
from cc_tuning.evaluation.scorers import normalised
from cc_tuning.text.prompts import ChatPrompts

GOLD = "gold"
"""The name of the gold answer among an item's candidates."""
_TEXTS, _IDS, _SIZES = pl.List(pl.String), pl.List(pl.List(pl.Int32)), pl.List(pl.Int32)


def gold_answer(answers: Sequence[str]) -> str:
    """The first gold answer that is not blank, without the white space around it."""
    return next(text.strip() for text in answers if normalised(text))


def with_candidates(items: pl.DataFrame, prompts: ChatPrompts) -> pl.DataFrame:
    """BenchmarkItem rows with `gold`, and of each candidate in their order its name (`candidates`), the bytes of its
    text in UTF-8 (`candidate_bytes`) and its ids (`continuation_ids`).

    Raises:
        ConfigError: an answer holds a control token that cannot be kept as text.
    """
    gold = [gold_answer(answers) for answers in items["answers"].to_list()]
    options = [BENCHMARKS[benchmark].options for benchmark in items["benchmark"]]
    names = [of_item or (answer,) for of_item, answer in zip(options, gold, strict=True)]
    texts = [
        labels_in(prompt, language, of_item, str(name)) or (answer,)
        for name, prompt, language, of_item, answer in zip(
            items["benchmark"], items["prompt"], items["language"], options, gold, strict=True
        )
    ]
    ids = _answer_ids(prompts, list(dict.fromkeys(text for of_item in texts for text in of_item)))
    return items.with_columns(
        gold=pl.Series(gold, dtype=pl.String),
        candidates=pl.Series([list(of_item) for of_item in names], dtype=_TEXTS),
        candidate_bytes=pl.Series([[len(text.encode()) for text in of_item] for of_item in texts], dtype=_SIZES),
        continuation_ids=pl.Series([[ids[text] for text in of_item] for of_item in texts], dtype=_IDS),
    )


def turn_ids(prompts: ChatPrompts, texts: Sequence[str]) -> list[list[int]]:
    """The ids of whole answers, each with the token that ends its turn."""
    examples = prompts.encode_examples([""] * len(texts), list(texts))
    return [example.input_ids[example.prompt_length :] for example in examples]


def _answer_ids(prompts: ChatPrompts, texts: Sequence[str]) -> dict[str, list[int]]:
    return {text: ids[:-1] for text, ids in zip(texts, turn_ids(prompts, texts), strict=True)}
