"""The transform stage run on made-up pairs."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import torch
from safetensors.torch import load_file

from cc_tuning.runtime.execution import Execution
from cc_tuning.runtime.progress import no_progress
from cc_tuning.runtime.sources import Location
from cc_tuning.runtime.step import Build
from cc_tuning.stages.transform import TransformPair, build_transform
from cc_tuning.transform.config import TransformConfig
from data_contracts.manifest import RowCounts
from data_contracts.parquet import read_parquet, write_parquet
from data_contracts.schemas import ParallelPair


def translated_pair(number: int, origin: str = "translated", **changes: object) -> dict[str, object]:
    """A pair of short prompts in Swahili and English."""
    row = {
        "pair_id": f"pair-{number:03d}",
        "language": "Swahili",
        "language_code": "swh",
        "flores_code": "swh_Latn",
        "inputs": f"Mji mkuu wa {number} ni {number * number} upi?",
        "targets": "Sijui.",
        "inputs_en": f"What is the capital of {number} or {number + 7}?",
        "targets_en": "I do not know.",
        "origin": origin,
        "quality": 1.0,
        "flags": [],
    }
    return {**row, **changes}


def prepared(
    folder: Path, rows: list[dict[str, object]], checkpoint: Path, batch: int = 4, **config: Any
) -> Build[TransformConfig]:
    """What the stage is given."""
    folder.mkdir()
    write_parquet(pl.DataFrame(rows), folder.with_suffix(".pairs.parquet"), ParallelPair)
    inputs = {"pairs": Location(str(folder.with_suffix(".pairs.parquet"))), "checkpoint": Location(str(checkpoint))}
    execution = Execution(device="cpu", threads=1, transform_batch_size=batch)
    return Build(TransformConfig.model_validate(config), inputs, folder, execution, no_progress)


def run_stage(
    folder: Path, rows: list[dict[str, object]], checkpoint: Path, batch: int = 4, **config: Any
) -> tuple[RowCounts, torch.Tensor, dict[str, Any], dict[str, str]]:
    """Row counts, matrix, diagnostics, and the side of each pair."""
    build = prepared(folder, rows, checkpoint, batch, **config)
    counts = build_transform(build)
    matrix = load_file(folder / "transform_matrix.safetensors")["transform_matrix"]
    splits = dict(read_parquet(folder / "pairs.parquet", TransformPair).iter_rows())
    return counts, matrix, json.loads((folder / "diagnostics.json").read_text()), splits
