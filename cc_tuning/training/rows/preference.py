"""Preference rows: a pair as four sequences, each prompt with the response of its own language and with the other.

A row teaches which language to answer in, so a pair that does not say it is set aside by rule: an English pair (both
sides are one), a side without a character, sides that are equal, a side in another language than its own. A row is
never cut, because a response without its end has another probability: it is set aside where one of its sequences is
longer than the cut-off.
"""

import polars as pl

from cc_tuning.text.languages import ENGLISH_FLORES_CODE, by_flores_code, count_letters, is_mostly_outside
from cc_tuning.text.prompts import ChatPrompts, connection_position
from cc_tuning.training.rows.config import MaterializationConfig
from data_contracts.quarantine import quarantine_rows

ENGLISH_PAIR, EQUAL_SIDES = "english_pair", "equal_sides"
EMPTY_SIDE, WRONG_LANGUAGE, TOO_LONG = "empty_side", "wrong_language", "longer_than_cutoff"
BY_CHOICE = frozenset({ENGLISH_PAIR, EQUAL_SIDES})
"""Rules that are no damage: a name or a number is rightly the same in both languages."""
TEXT_COLUMNS = ["row_id", "pair_id", "language_code", "prompt", "response", "english_prompt", "english_response"]
SEQUENCES = {
    "chosen_ids": ("prompt", "response"),
    "rejected_ids": ("prompt", "english_response"),
    "english_chosen_ids": ("english_prompt", "english_response"),
    "english_rejected_ids": ("english_prompt", "response"),
}
"""The prompt and the response of each sequence."""
_JUDGED_LETTERS = 3
_FLAGS_OF_LANGUAGE = ["not_english", "wrong_language"]


def preference_texts(pairs: pl.DataFrame) -> pl.DataFrame:
    """Pairs (ParallelPair) as the texts of preference rows, with FLORES code, quality, flags and origin."""
    return pairs.select(
        pl.format("{}:preference", "pair_id").alias("row_id"),
        "pair_id",
        "language_code",
        "flores_code",
        prompt="inputs",
        response="targets",
        english_prompt="inputs_en",
        english_response="targets_en",
        quality="quality",
        flags="flags",
        origin=pl.col("origin").cast(pl.String),
    )


def split_by_content(texts: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The texts that say which language to answer in, and the others as QuarantinedRow, each by the first rule.

    A side is in the wrong language if the checks of its translation say so, or if most of its letters (three at least)
    are not of the language's script. Sides are compared without case and spacing.
    """
    sides = ["prompt", "response", "english_prompt", "english_response"]
    rules = {
        ENGLISH_PAIR: (pl.col("origin") == "english", "an English pair has one side, which is both"),
        EMPTY_SIDE: (
            pl.any_horizontal(pl.col(sides).str.strip_chars() == ""),
            "a prompt or a response is white space alone",
        ),
        EQUAL_SIDES: (
            (_plain("prompt") == _plain("english_prompt")) | (_plain("response") == _plain("english_response")),
            "a prompt or a response is the same in both languages",
        ),
        WRONG_LANGUAGE: (
            pl.col("flags").list.set_intersection(_FLAGS_OF_LANGUAGE).list.len() > 0,
            "the checks of its translation find another language",
        ),
    }
    set_aside = []
    for rule, (is_broken, detail) in rules.items():
        set_aside.append(quarantine_rows(texts.filter(is_broken).select(TEXT_COLUMNS), "row_id", rule, detail))
        texts = texts.filter(~is_broken)
    is_foreign = pl.Series([_is_in_other_script(row) for row in texts.iter_rows(named=True)], dtype=pl.Boolean)
    detail = "most letters of a side are not of its language's script"
    broken = texts.filter(is_foreign).select(TEXT_COLUMNS)
    set_aside.append(quarantine_rows(broken, "row_id", WRONG_LANGUAGE, detail))
    return texts.filter(~is_foreign), pl.concat(set_aside)


def encode_preferences(texts: pl.DataFrame, prompts: ChatPrompts, offset: int) -> pl.DataFrame:
    """`texts` with the token ids and prompt lengths of a PreferenceRow, nothing cut.

    Raises:
        PromptNotFound: `offset` reaches beyond the beginning of a prompt.
    """
    encoded = {
        name: prompts.encode_examples(texts[prompt].to_list(), texts[response].to_list())
        for name, (prompt, response) in SEQUENCES.items()
    }
    lengths = {
        name: [example.prompt_length for example in encoded[sequence]]
        for name, sequence in (("prompt_length", "chosen_ids"), ("english_prompt_length", "english_chosen_ids"))
    }
    for length in (*lengths["prompt_length"], *lengths["english_prompt_length"]):
        connection_position(length, offset)
    ids = pl.List(pl.Int32)
    columns = [pl.Series(name, [example.input_ids for example in of], dtype=ids) for name, of in encoded.items()]
    columns += [pl.Series(name, of, dtype=pl.Int32) for name, of in lengths.items()]
    english = [example.input_ids[: example.prompt_length] for example in encoded["english_chosen_ids"]]
    return texts.select(TEXT_COLUMNS).with_columns(*columns, pl.Series("english_input_ids", english, dtype=ids))


def split_by_sequence_length(encoded: pl.DataFrame, config: MaterializationConfig) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The rows of which every sequence fits, and the others as QuarantinedRow."""
    longest = pl.max_horizontal([pl.col(name).list.len() for name in SEQUENCES])
    is_too_long = (longest > config.cutoff_tokens) | (
        pl.col("english_input_ids").list.len() > config.english_cutoff_tokens
    )
    detail = (
        f"each of the four sequences may have {config.cutoff_tokens} tokens, the English prompt "
        f"{config.english_cutoff_tokens}; none is cut"
    )
    too_long = quarantine_rows(encoded.filter(is_too_long).select(TEXT_COLUMNS), "row_id", TOO_LONG, detail)
    return encoded.filter(~is_too_long), too_long


def _plain(column: str) -> pl.Expr:
    return pl.col(column).str.to_lowercase().str.replace_all(r"\s+", "")


def _is_in_other_script(row: dict[str, str]) -> bool:
    own, english = by_flores_code(row["flores_code"]).script, by_flores_code(ENGLISH_FLORES_CODE).script
    scripts = {"prompt": own, "response": own, "english_prompt": english, "english_response": english}
    return any(
        count_letters(row[side]) >= _JUDGED_LETTERS and is_mostly_outside(row[side], script)
        for side, script in scripts.items()
    )
