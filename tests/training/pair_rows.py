"""Preference rows of made-up ids, what a reference model says of them, and a model that computes in float64."""

from pathlib import Path
from typing import Any

import polars as pl
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from data_contracts.layout import REFERENCE_VALUES
from data_contracts.parquet import write_parquet
from data_contracts.schemas import PreferenceRow, ReferenceRow

NAMES = ("chosen", "rejected", "english_chosen", "english_rejected")


def preference_row(number: int) -> dict[str, Any]:
    """Prompts and responses of different lengths in both languages."""
    prompt, english_prompt = [5, 6, 7][: 1 + number % 3], [8, 9, 10, 11][: 2 + number % 2]
    response, english_response = [*range(20, 23 + number), 4], [*range(50, 56 - number), 4]
    return {
        "row_id": f"p{number}:preference",
        "pair_id": f"p{number}",
        "language_code": "swh",
        "prompt": f"Swali {number}",
        "response": "Jibu",
        "english_prompt": f"Question {number}",
        "english_response": "Answer",
        "chosen_ids": prompt + response,
        "rejected_ids": prompt + english_response,
        "english_chosen_ids": english_prompt + english_response,
        "english_rejected_ids": english_prompt + response,
        "prompt_length": len(prompt),
        "english_prompt_length": len(english_prompt),
        "english_input_ids": english_prompt,
    }


ROWS = [preference_row(number) for number in range(5)]
REFERENCE = {row["row_id"]: (-9.0 - number, -30.0 + number, -12.5, -20.25) for number, row in enumerate(ROWS)}


def slow_row(row: dict[str, Any]) -> dict[str, Any]:
    """The row as the slow implementation reads it; a row that is none of `ROWS` has no reference values."""
    sequences = {
        name: (row[f"{name}_ids"], row["english_prompt_length" if "english" in name else "prompt_length"])
        for name in NAMES
    }
    return {**sequences, "reference": dict(zip(NAMES, REFERENCE.get(row["row_id"], (0.0,) * 4), strict=True))}


def write_reference(folder: Path, values: dict[str, tuple[float, ...]] = REFERENCE) -> Path:
    """A file of reference values in `folder`."""
    rows = [{"row_id": row_id, **dict(zip(NAMES, of_row, strict=True))} for row_id, of_row in values.items()]
    frame = pl.DataFrame(rows, schema=ReferenceRow.create_empty().schema)
    write_parquet(frame, folder / REFERENCE_VALUES, ReferenceRow)
    return folder


def write_preference_rows(path: Path) -> Path:
    """A file of `ROWS`."""
    write_parquet(pl.DataFrame(ROWS, schema=PreferenceRow.create_empty().schema), path, PreferenceRow)
    return path


def float64_model() -> GPT2LMHeadModel:
    """A family whose every operation keeps float64; the norms of Llama compute in float32."""
    torch.manual_seed(0)
    config = GPT2Config(
        vocab_size=64, n_positions=32, n_embd=16, n_layer=2, n_head=2, attn_pdrop=0, embd_pdrop=0, resid_pdrop=0
    )
    return GPT2LMHeadModel(config).double()
