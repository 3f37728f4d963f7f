"""A run whose loss over its held-out rows falls and then rises, for the tests of what is kept."""

from typing import Any

from cc_tuning.training.job import TrainingJob
from cc_tuning.training.metrics import read_metrics
from cc_tuning.training.validation import held_out_indices
from tests.training.jobs import write_rows

ROWS, FRACTION, HELD_OUT, STEPS, BEST = 24, 0.25, 6, 15, 7
SHARED, TRAINED, MEASURED = 30, 40, 50
TURNING: dict[str, Any] = {
    "epochs": 3, "learning_rate": 0.02, "scheduler": "constant_with_warmup", "validation_fraction": FRACTION,
    "validations": 7,
}  # fmt: skip
"""Eighteen rows are trained, four a step; the loss is lowest after step `BEST`."""


def with_turning_rows(job: TrainingJob) -> TrainingJob:
    """`job` on rows that end in a token of their own where they are held out.

    First all responses get likelier, since most of their tokens are the same; then only those that are trained.
    """
    held_out = held_out_indices([f"r{i}" for i in range(ROWS)], FRACTION, job.config.training.seed)
    rows = []
    for number in range(ROWS):
        response = [SHARED] * (3 + number % 4) + [MEASURED if number in held_out else TRAINED] * 2
        rows.append(([5, 6, 7 + number, *response], 3, [9, 4 + number]))
    return job.model_copy(update={"rows": write_rows(job.folder / "rows.parquet", rows)})


def validation_losses(job: TrainingJob) -> dict[int, float]:
    """By step."""
    lines = read_metrics(job.folder / "metrics.jsonl")
    return {line["step"]: line["validation_loss"] for line in lines if "validation_loss" in line}
