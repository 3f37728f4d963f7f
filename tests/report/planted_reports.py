"""Reports as their readers find them, written with scores that a test chose: nothing is trained for them."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl

from data_contracts.parquet import write_parquet
from data_contracts.schemas import ItemScore

ITEMS = 400
_FIELDS = ("run", "connection", "benchmark", "language", "metric", "items", "value", "ci_low", "ci_high")


def plant_report(folder: Path, share: float, moved: int = 0, seed: int = 0, runs: Sequence[str] = ("ml-sft",)) -> Path:
    """A report of XNLI in one language with `share` of `ITEMS` right, of which `moved` are others than the first ones.

    So two reports of equal shares differ by 2 `moved` items, as two computations of one recipe may.
    """
    folder.mkdir(parents=True)
    values = 100.0 * (np.arange(ITEMS) < round(share * ITEMS))
    draw = np.random.default_rng(seed)
    for level in (0.0, 100.0):
        where = draw.choice(
            np.flatnonzero(100.0 * (np.arange(ITEMS) < round(share * ITEMS)) == level), moved, replace=False
        )
        values[where] = 100.0 - level
    rows = [
        {"run": run, "connection": "off", "benchmark": "XNLI", "language": "en", "item_id": f"x-{item}",
         "metric": "accuracy", "group": None, "cluster": None, "value": float(value)}
        for run in runs
        for item, value in enumerate(values)
    ]  # fmt: skip
    frame = pl.DataFrame(rows, schema_overrides={"group": pl.String, "cluster": pl.String})
    write_parquet(frame, folder / "item_scores.parquet", ItemScore)
    (folder / "index.html").write_text("<!doctype html>", encoding="utf-8")
    mean = f"{values.mean():.4f}"
    with (folder / "scores.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_FIELDS)
        for run in runs:
            for language in ("avg", "en"):
                writer.writerow([run, "off", "XNLI", language, "accuracy", ITEMS, mean, mean, mean])
    return folder
