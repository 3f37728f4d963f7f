"""Rows and machines that training must survive or name: nothing is trained wrongly without a word."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from cc_tuning.errors import TrainingFailed
from cc_tuning.model import checkpoint
from cc_tuning.training.collators import StepCollator
from cc_tuning.training.dataset import MicroBatchRows
from cc_tuning.training.job import TrainingJob
from cc_tuning.training.trainer_checkpoints import newest_complete_checkpoint, step_of
from cc_tuning.training.worker import train
from data_contracts.errors import ContractViolation
from tests.training.jobs import MakeJob, column, write_rows
from tests.training.sft_collators import connected

RARE = 77
"""A token that is in no prompt and no response of the other rows."""

# A job of a process that may take 200 MB more once its model is loaded.
WITH_LITTLE_MEMORY = """
import pathlib, resource, sys
import psutil
from cc_tuning.training import run, trainer, worker
class Confined(trainer.LengthGroupedTrainer):
    def train(self, *arguments, **named):
        used = psutil.Process().memory_info().vms
        resource.setrlimit(resource.RLIMIT_AS, (used + 200_000_000, resource.RLIM_INFINITY))
        return super().train(*arguments, **named)
run.LengthGroupedTrainer = Confined
sys.exit(worker.main(pathlib.Path(sys.argv[1])))
"""


def finite_losses(job: TrainingJob) -> list[float]:
    losses = column(job, "loss")
    assert all(0 < loss < 20 for loss in losses)
    return losses


@pytest.mark.parametrize("kind", ["sft", "cc"])
@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([([5, 6, 7, 8], 2, [9, 4])], id="a batch of one row"),
        pytest.param([([5, 6], 1, [9]), ([5, 7, 8], 1, [3, 4])], id="prompts of one token"),
        pytest.param([([*range(5, 205)], 199, [*range(3, 90)]), ([5, 6, 7], 2, [9])], id="a prompt up to the cut-off"),
    ],
)
def test_rows_at_the_edge_are_trained(
    rows: list[tuple[list[int], int, list[int]]], kind: str, make_job: MakeJob, tmp_path: Path
) -> None:
    job = make_job("run", kind=kind, global_batch_size=2, epochs=2)
    job = job.model_copy(update={"rows": write_rows(tmp_path / "rows.parquet", rows)})
    train(job)
    assert len(finite_losses(job)) == 2


def test_a_row_without_a_response_is_refused_when_it_is_read(tmp_path: Path) -> None:
    masked = [([5, 6, 7], 3, [9])]
    with pytest.raises(ContractViolation, match="response_is_trained"):
        write_rows(tmp_path / "rows.parquet", masked)


def test_a_row_whose_labels_are_all_masked_is_named_before_it_is_trained() -> None:
    rows = [
        {"row_id": "good", "input_ids": [5, 6, 7], "prompt_length": 2, "english_input_ids": [9]},
        {"row_id": "masked", "input_ids": [5, 6, 7], "prompt_length": 3, "english_input_ids": [9]},
    ]
    with pytest.raises(TrainingFailed, match="1 rows of a micro-batch have no response token to train, the first mask"):
        StepCollator(connected(0))([MicroBatchRows(rows)])


def test_an_idle_micro_batch_counts_as_padding_alone() -> None:
    row = {"row_id": "r0", "input_ids": [5, 6, 7], "prompt_length": 2, "english_input_ids": [9]}
    step = StepCollator(connected(0))([MicroBatchRows([row]), MicroBatchRows([row], is_idle=True)])
    assert [(batch.row_ids, batch.is_idle) for batch in step.micro_batches] == [(["r0"], False), (["r0"], True)]
    assert (step.counts.tokens, step.counts.padded, step.counts.labels) == (3, 6, 1)
    assert (step.counts.english_tokens, step.counts.english_padded) == (1, 2)


def test_loss_that_is_not_a_number_names_its_rows_and_keeps_the_last_good_checkpoint(
    make_job: MakeJob, tiny_llama_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The base model's embedding of one token is broken; one row of eight has it, alone in its micro-batch.

    Such weights are refused when they are loaded, which is switched off here: training has to find them by itself.
    """
    monkeypatch.setattr(checkpoint, "require_finite", lambda *_: None)
    rows = [([5, 6, 7 + i, 9], 2, [4, 5]) for i in range(7)] + [([5, RARE, *[8] * 40], 2, [4, 5])]
    broken = AutoModelForCausalLM.from_pretrained(tiny_llama_directory)
    broken.model.embed_tokens.weight.data[RARE] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    settings = {"log_every_steps": 100, "checkpoint_every_steps": 1, "device_batch_size": 1}
    for seed in range(20):
        job = make_job(f"run{seed}", kind="cc", execution=settings, global_batch_size=2, epochs=1, seed=seed)
        job = job.model_copy(
            update={"base": str(tmp_path / "broken"), "rows": write_rows(tmp_path / "rows.parquet", rows)}
        )
        with pytest.raises(TrainingFailed, match=r"of 4: loss nan.*first loss that is not finite.* rows r7\.") as error:
            train(job)
        kept = newest_complete_checkpoint(job.folder / "trainer")
        if kept is not None:  # the row was not in the first step
            step = step_of(kept)
            break
    assert f"is in step {step + 1}, rows r7" in str(error.value)
    weights = torch.load(kept / "optimizer.pt", weights_only=True)["state"]
    assert all(torch.isfinite(state["exp_avg"]).all() for state in weights.values())


def test_running_out_of_memory_says_batch_and_length_and_what_to_lower(make_job: MakeJob, tmp_path: Path) -> None:
    """Really out of memory: the process may take 200 MB more, and a micro-batch of 32,000 tokens does not fit."""
    job = make_job("run", kind="cc", execution={"device_batch_size": 32, "device_batch_tokens": 64000})
    rows = [([5] * 1000, 2, [9] * 100) for _ in range(32)]
    training = job.config.training.model_copy(update={"global_batch_size": 32})
    config = job.config.model_copy(update={"training": training})
    job = job.model_copy(update={"config": config, "rows": write_rows(tmp_path / "rows.parquet", rows)})
    job_file = tmp_path / "job.json"
    job_file.write_text(job.model_dump_json())
    process = subprocess.run(
        [sys.executable, "-c", WITH_LITTLE_MEMORY, str(job_file)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert process.returncode == 1
    said = process.stderr.strip().splitlines()[-1]
    assert said.startswith("TrainingFailed: out of memory in step 1, in a micro-batch of 32 rows x 1000 tokens")
    assert "with English prompts of 100, rows r" in said
    assert "Lower execution.device_batch_tokens below 32000, or set execution.gradient_checkpointing" in said
