"""Small files of the data stages under their real contracts: rows, pairs, training rows and quarantines."""

import json
from typing import Any

import polars as pl

from data_contracts.schemas import AyaRow, ParallelPair, QuarantinedRow, TrainingRow

LANGUAGES = {
    "eng": ("English", "eng_Latn", "Which town?", "Harbour."),
    "urd": ("Urdu", "urd_Arab", "کون سا شہر؟", "لاہور۔"),
    "arb": ("Standard Arabic", "arb_Arab", "أي مدينة؟", "الرباط."),
    "swh": ("Swahili", "swh_Latn", "Mji upi?", "Bandari."),
}
SET_ASIDE = {
    "select": [("contaminated_exact", "swh"), ("contaminated_ngram", "urd"), ("not_text", None), ("empty_text", "swh")],
    "translate": [("empty_translation", "arb")],
    "materialize": [],
}


def pair_rows(count: int = 5) -> pl.DataFrame:
    """ParallelPair rows, `count` of each language; the texts of the n-th repeat n times, and p0 is given."""
    rows = []
    for code, (language, flores_code, prompt, answer) in LANGUAGES.items():
        for n in range(1, count + 1):
            texts = {"inputs": prompt * n, "targets": answer * (count + 1 - n)}
            english = texts.values() if code == "eng" else (f"Which town? {n}", f"A harbour. {n}")
            origin = "english" if code == "eng" else "given" if n == 1 else "translated"
            rows.append(
                {"pair_id": f"{code}{n}", "language": language, "language_code": code, "flores_code": flores_code,
                 **texts, **dict(zip(("inputs_en", "targets_en"), english, strict=True)), "origin": origin,
                 "quality": 0.5 if origin == "translated" and n == 2 else 1.0,
                 "flags": ["numbers"] if origin == "translated" and n == 2 else []}
            )  # fmt: skip
    return pl.DataFrame(rows)


def data_files(stage: str, pairs: pl.DataFrame) -> dict[str, Any]:
    """The files of `select`, `translate` or `materialize` for these pairs, each with its contract."""
    files: dict[str, Any] = {"quarantine.parquet": (_quarantine(stage), QuarantinedRow)}
    if stage == "select":
        unknown = {"annotation_type": pl.lit("made"), "user_id": pl.lit("u")}
        rows = pairs.rename({"pair_id": "row_id"}).with_columns(**unknown)
        files["rows.parquet"] = (rows, AyaRow)
        by_language = {"swh_Latn": (9, 1), "zho_Hans": (2, 0), "zho_Hant": (3, 2), "und": (1, 0)}
        files["selection.json"] = {
            "languages": {
                code: {"read": read, "near_duplicates_kept": twins} for code, (read, twins) in by_language.items()
            }
        }
    elif stage == "translate":
        files["pairs.parquet"] = (pairs, ParallelPair)
    else:
        rows = pairs.select(
            "pair_id", "language_code", prompt="inputs", response="targets", english_prompt="inputs_en",
            row_id=pl.format("{}:native", "pair_id"), task=pl.lit("native"),
            prompt_length=pl.col("inputs").str.len_chars() + 4,
            input_ids=pl.int_ranges(0, pl.col("inputs").str.len_chars() + 4 + pl.col("targets").str.len_chars()),
            english_input_ids=pl.int_ranges(0, pl.col("inputs_en").str.len_chars() + 4),
        )  # fmt: skip
        files["training_rows.parquet"] = (rows, TrainingRow)
        files["summary.json"] = {"rows_by_task": {"native": rows.height}}
    return files


def _quarantine(stage: str) -> pl.DataFrame:
    rows = [
        {"row_id": f"q{n}", "rule": rule, "detail": "", "row_json": json.dumps({"language_code": code, "inputs": 1})}
        for n, (rule, code) in enumerate(SET_ASIDE[stage])
    ]
    return pl.DataFrame(rows, schema=dict.fromkeys(QuarantinedRow.column_names(), pl.String))
