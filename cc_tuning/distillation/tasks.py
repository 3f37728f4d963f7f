"""The tasks of self-distillation: which pairs each takes, and the rows it makes of them, as text.

The tasks follow Zhang et al. (2024) as far as Ye et al. (2025, Appendix A.1) name them; with `x_en` the English prompt,
`a_en` the base model's own answer to it, and `a` its translation into the language of `x` and `y`:

| task | prompt | response |
| --- | --- | --- |
| `distilled` | `x_en` | `a_en` |
| `cross_lingual` | `x` | `a_en` |
| `translated_answer` | `x` | `a` |
| `code_switched` | `x_en` with words of the language of `x` | `a_en` |
| `partial_translation` | an instruction, `x_en`, and the beginning of `x` | the rest of `x` |
| `completion` | an instruction, and the beginning of `y` | the rest of `y` |

The English prompt beside a row is `x_en`; for the last two it is the same request about the English text.

Pairs that are not English stand in one order, by the hash of seed and `pair_id`, and every task takes the first ones
that it can use. So one answer of the base model serves all tasks that need one, as in the four combinations of Zhang et
al. (2024), and the draw depends neither on the order of the file nor on the number of rows around a pair.
"""

from collections.abc import Callable

import polars as pl

from cc_tuning.distillation.code_switching import prose_words
from cc_tuning.distillation.config import DistillationConfig
from cc_tuning.text.draws import draw_places
from cc_tuning.text.icu import word_ends

CONTINUE_TRANSLATION = (
    "Translate the following sentence from English to {language}. The translation begins with the words below it."
)
CONTINUE_TEXT = "Continue the following text in {language}."
LEAST_WORDS = 2
"""The least words of each part; a text of fewer than twice as many has nothing to be continued."""
_ENGLISH_CODE = "eng"


def draw_tasks(pairs: pl.DataFrame, config: DistillationConfig) -> pl.DataFrame:
    """Columns pair_id and task, a row for each row to make: round(share · N) of each task, or as many as can be used.

    N counts all pairs, English ones too.
    """
    foreign = pairs.filter(pl.col("origin") != "english")
    # A word of its own, so that these are not the very rows that the selection of the same seed took first.
    places = draw_places([f"distill/{pair_id}" for pair_id in foreign["pair_id"]], config.seed)
    ordered = foreign.with_columns(places.alias("place")).sort("place", "pair_id")
    drawn = []
    for task, share in config.shares.items():
        wanted = round(share * pairs.height)
        taken: list[str] = []
        for pair in ordered.iter_rows(named=True):
            if len(taken) == wanted:
                break
            if _can_be_used(pair, task, config):
                taken.append(pair["pair_id"])
        drawn.append(pl.DataFrame({"pair_id": pl.Series(taken, dtype=pl.String), "task": [task] * len(taken)}))
    return pl.concat([frame.cast({"task": pl.String}) for frame in drawn])


def task_rows(task: str, pairs: pl.DataFrame, shown_part: float) -> pl.DataFrame:
    """The rows of one task: columns of DistilledRow, one row for each of `pairs`.

    `pairs` are ParallelPair rows, for tasks that need them with the columns english_answer, answer, answer_quality,
    answer_flags and switched_prompt.
    """
    rows = pairs.with_columns(
        pl.format("{}:{}", "pair_id", pl.lit(task)).alias("row_id"), pl.lit(task).alias("task"),
        pl.col("inputs_en").alias("english_prompt"),
    )  # fmt: skip
    if task in _CUT:
        return _cut_rows(rows, *_CUT[task], shown_part)
    prompt, response = _ANSWERED[task]
    if task == "distilled":
        rows = rows.with_columns(language_code=pl.lit(_ENGLISH_CODE))
    if task == "translated_answer":
        rows = rows.with_columns(
            quality=pl.min_horizontal("quality", "answer_quality"),
            flags=pl.col("flags").list.set_union("answer_flags").list.sort(),
        )
    return rows.with_columns(prompt=prompt, response=response)


def cut_in_two(text: str, share: float) -> tuple[str, str] | None:
    """The beginning of `text` with about `share` of its words, and the rest; None where a part would be too short.

    Words are those of ICU, which knows languages that are written without blanks. No part is a part of a word, and the
    white space between the two is in neither.
    """
    ends = word_ends(text)
    shown = min(max(round(share * len(ends)), LEAST_WORDS), len(ends) - LEAST_WORDS)
    if shown < LEAST_WORDS:
        return None
    # What follows the last word shown, a comma as a rule, belongs to it; a blank to neither.
    end = ends[shown - 1]
    while end < len(text) and not text[end].isspace() and not text[end].isalnum():
        end += 1
    beginning, rest = text[:end].strip(), text[end:].strip()
    return (beginning, rest) if beginning and rest else None


def _can_be_used(pair: dict[str, str], task: str, config: DistillationConfig) -> bool:
    if task == "code_switched":
        return bool(prose_words(pair["inputs_en"]))
    texts = {"partial_translation": ("inputs", "inputs_en"), "completion": ("targets", "targets_en")}.get(task, ())
    return all(cut_in_two(pair[name], config.shown_part) for name in texts)


def _cut_rows(rows: pl.DataFrame, text: str, request: Callable[..., str], share: float) -> pl.DataFrame:
    prompts, responses, english_prompts = [], [], []
    for row in rows.iter_rows(named=True):
        parts, english_parts = cut_in_two(row[text], share), cut_in_two(row[f"{text}_en"], share)
        assert parts and english_parts, f"pair {row['pair_id']} was drawn and cannot be cut"
        prompts.append(request(row, row["language"], parts[0]))
        responses.append(parts[1])
        english_prompts.append(request(row, "English", english_parts[0]))
    return rows.with_columns(
        prompt=pl.Series(prompts, dtype=pl.String),
        response=pl.Series(responses, dtype=pl.String),
        english_prompt=pl.Series(english_prompts, dtype=pl.String),
    )


def _continued_translation(row: dict[str, str], language: str, beginning: str) -> str:
    # The English side of a translation keeps its instruction, whose language is English already.
    instruction = CONTINUE_TRANSLATION.format(language=row["language"])
    return f"{instruction}\n{row['inputs_en']}\n{beginning}"


def _continued_text(row: dict[str, str], language: str, beginning: str) -> str:
    return f"{CONTINUE_TEXT.format(language=language)}\n{beginning}"


_ANSWERED = {
    "distilled": ("inputs_en", "english_answer"),
    "cross_lingual": ("inputs", "english_answer"),
    "translated_answer": ("inputs", "answer"),
    "code_switched": ("switched_prompt", "english_answer"),
}
_CUT: dict[str, tuple[str, Callable[..., str]]] = {
    "partial_translation": ("inputs", _continued_translation),
    "completion": ("targets", _continued_text),
}
