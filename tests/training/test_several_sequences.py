"""Rows of two sequences under an objective that no file of training knows: the seam holds for it."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from cc_tuning.errors import TrainingFailed
from cc_tuning.text.prompts import load_tokenizer
from cc_tuning.training import run
from cc_tuning.training.arguments import training_arguments
from cc_tuning.training.collators import MicroBatch, StepCollator
from cc_tuning.training.dataset import MicroBatchRows, Rows
from cc_tuning.training.failures import named_when_out_of_memory
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.models import build_model
from cc_tuning.training.validation import held_out_indices, split_rows
from data_contracts.errors import ContractViolation
from tests.training.jobs import MakeJob, column
from tests.training.preference import BETA, LAMBDA, REFERENCE_FILE, Preference

PREFERENCES = [
    {
        "row_id": f"r{i}",
        "chosen_ids": [5, 6, 7, *range(20, 22 + i)],
        "chosen_prompt": 3,
        "other_ids": [5, 6, *range(60, 70 - i)],
        "other_prompt": 2,
        "english_input_ids": [40, 41, 42 + i],
    }
    for i in range(6)
]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """What the reference model says of the two sequences of each row."""
    folder = tmp_path / "reference"
    folder.mkdir()
    values = {row["row_id"]: [-9.0 - number, -30.0 + number] for number, row in enumerate(PREFERENCES)}
    (folder / REFERENCE_FILE).write_text(json.dumps(values))
    return folder


def trained(job: TrainingJob, reference: Path, monkeypatch: pytest.MonkeyPatch) -> TrainingJob:
    """`job`, trained to its end under the objective."""
    monkeypatch.setattr(run, "load_objective", lambda *settings: Preference())
    job = job.model_copy(update={"inputs": {"reference": reference}})
    tokenizer, arguments = load_tokenizer(job.tokenizer), training_arguments(job)
    rows = Rows.of(PREFERENCES, Preference.contract)
    torch.manual_seed(0)
    split = split_rows(rows, job.config.training.validation_fraction, seed=0)
    run.build_trainer(job, build_model(job, tokenizer), arguments, split, tokenizer).train()
    return job


def slow_parts(model: Any, row: dict[str, Any], reference: list[float]) -> tuple[float, float]:
    """The log-probability of a row's preferred response, and the margin, one token at a time."""
    ratios = []
    for name, known in zip(("chosen", "other"), reference, strict=True):
        ids, prompt = row[f"{name}_ids"], row[f"{name}_prompt"]
        with torch.no_grad():
            log_probabilities = model(torch.tensor([ids])).logits[0].log_softmax(-1)
        own = sum(float(log_probabilities[place - 1, ids[place]]) for place in range(prompt, len(ids)))
        ratios.append(own - known)
    return ratios[0] + reference[0], BETA * (ratios[0] - ratios[1])


@pytest.mark.parametrize("device_rows", [6, 1])
def test_loss_and_metrics_are_those_of_one_row_at_a_time(
    make_job: MakeJob, reference: Path, monkeypatch: pytest.MonkeyPatch, device_rows: int
) -> None:
    execution = {"device_batch_size": device_rows, "max_padding": 1.0}
    job = make_job("run", execution=execution, global_batch_size=6, epochs=1)
    trained(job, reference, monkeypatch)
    model = AutoModelForCausalLM.from_pretrained(job.base).eval()
    known = json.loads((reference / REFERENCE_FILE).read_text())
    chosen, margins = zip(*(slow_parts(model, row, known[row["row_id"]]) for row in PREFERENCES), strict=True)
    tokens = sum(len(row["chosen_ids"]) - row["chosen_prompt"] for row in PREFERENCES)
    preference = sum(math.log1p(math.exp(-margin)) for margin in margins) / 6
    assert column(job, "loss") == pytest.approx([-LAMBDA * sum(chosen) / tokens + (1 - LAMBDA) * preference], rel=1e-4)
    assert column(job, "margin") == pytest.approx([sum(margins) / 6], abs=1e-3)
    assert column(job, "is_preferred") == pytest.approx([sum(margin > 0 for margin in margins) / 6], abs=1e-4)
    real = sum(len(row["chosen_ids"]) + len(row["other_ids"]) for row in PREFERENCES)
    longest = [max(len(row["chosen_ids"]), len(row["other_ids"])) for row in PREFERENCES]
    padded = 2 * (6 * max(longest) if device_rows == 6 else sum(longest))
    assert column(job, "padding") == pytest.approx([1 - real / padded], abs=1e-4)


def test_the_loss_of_held_out_rows_divides_each_part_by_its_own_count(
    make_job: MakeJob, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Over two of six rows, one in each micro-batch."""
    execution = {"device_batch_size": 1, "checkpoint_every_steps": 1}
    job = make_job("run", execution=execution, global_batch_size=4, epochs=1, validation_fraction=1 / 3, validations=1)
    trained(job, reference, monkeypatch)
    model = AutoModelForCausalLM.from_pretrained(job.folder / "trainer/checkpoint-1").eval()
    held_out = [PREFERENCES[index] for index in held_out_indices([row["row_id"] for row in PREFERENCES], 1 / 3, seed=0)]
    known = json.loads((reference / REFERENCE_FILE).read_text())
    chosen, margins = zip(*(slow_parts(model, row, known[row["row_id"]]) for row in held_out), strict=True)
    tokens = sum(len(row["chosen_ids"]) - row["chosen_prompt"] for row in held_out)
    preference = sum(math.log1p(math.exp(-margin)) for margin in margins) / 2
    expected = -LAMBDA * sum(chosen) / tokens + (1 - LAMBDA) * preference
    assert column(job, "validation_loss") == pytest.approx([expected], rel=1e-4)


def test_with_a_connection_each_sequence_is_connected(
    make_job: MakeJob, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = make_job("run", "cc", global_batch_size=3, epochs=2)
    trained(job, reference, monkeypatch)
    assert [sum(counts) for counts in column(job, "selection_counts")] == [6, 6, 6, 6]  # two for each of three rows
    assert all(0 <= entropy <= 1.0987 for entropy in column(job, "selection_entropy"))


def test_running_out_of_memory_says_how_many_sequences_a_row_has(reference: Path) -> None:
    batch = Preference().collator(0, {"reference": reference})(PREFERENCES)
    micro_batch = MicroBatch(batch, [row["row_id"] for row in PREFERENCES], False)
    with (
        pytest.raises(TrainingFailed, match=r"6 rows x 2 sequences x 12 tokens, rows r0.*_tokens below 144"),
        named_when_out_of_memory(3, micro_batch),
    ):
        raise MemoryError


def test_a_sequence_without_a_response_is_named(reference: Path) -> None:
    rows = [PREFERENCES[0], {**PREFERENCES[1], "other_prompt": len(PREFERENCES[1]["other_ids"])}]
    with pytest.raises(TrainingFailed, match="1 rows of a micro-batch have no response token to train, the first r1"):
        StepCollator(Preference().collator(0, {"reference": reference}))([MicroBatchRows(rows)])


def test_a_row_that_breaks_the_contract_is_named() -> None:
    row = {name: value for name, value in PREFERENCES[1].items() if name != "other_ids"}
    with pytest.raises(ContractViolation, match=r"training row 1 \(r1\) lacks other_ids; expected row_id, chosen_ids"):
        Rows.of([PREFERENCES[0], row], Preference.contract)
    with pytest.raises(TrainingFailed, match="no rows to train on"):
        Rows.of([], Preference.contract)
