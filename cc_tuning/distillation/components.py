"""The rows of each task of self-distillation, as text.

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
"""

from collections.abc import Callable

import polars as pl

from cc_tuning.distillation.cutting import cut_in_two

CONTINUE_TRANSLATION = (
    "Translate the following sentence from English to {language}. The translation begins with the words below it."
)
CONTINUE_TEXT = "Continue the following text in {language}."
_ENGLISH_CODE = "eng"


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
