"""A run whose loss over its held-out rows falls and then rises, for the tests of what is kept."""

from typing import Any

import torch

from cc_tuning.model.connection import CrossLingualModel, load_checkpoint
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.metrics import read_metrics
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from cc_tuning.training.parquet_rows import read_rows
from cc_tuning.training.validation import held_out_indices, split_rows
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


def slow_loss(job: TrainingJob) -> float:
    """Of the published checkpoint over the held-out rows: one row and one token at a time."""
    model: Any = load_checkpoint(job.folder / "checkpoint").eval()
    rows = split_rows(read_rows(job.rows, SupervisedFineTuning.contract), FRACTION, job.config.training.seed).held_out
    assert rows is not None
    total, tokens = 0.0, 0
    for row in (rows[index] for index in range(len(rows))):
        ids, english, prompt = row["input_ids"], row["english_input_ids"], row["prompt_length"]
        inputs = {"input_ids": torch.tensor([ids]), "attention_mask": torch.ones(1, len(ids), dtype=torch.long)}
        if isinstance(model, CrossLingualModel):
            inputs["connection_positions"] = torch.tensor([prompt - 1])
            inputs["english_input_ids"] = torch.tensor([english])
            inputs["english_attention_mask"] = torch.ones(1, len(english), dtype=torch.long)
            inputs["english_positions"] = torch.tensor([len(english) - 1])
        with torch.no_grad():
            log_probabilities = model(**inputs).logits[0].double().log_softmax(-1)
        total -= sum(float(log_probabilities[place - 1, ids[place]]) for place in range(prompt, len(ids)))
        tokens += len(ids) - prompt
    return total / tokens
