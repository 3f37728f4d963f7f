"""Training with the head on one label at a time, under the engines: the gradients of a head on all of them at once.

The head's weights are those of the input embedding, so that one gradient is summed up from the look-up, from every part
and, recomputed, from every part's backward pass.
"""

from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from cc_tuning.training.job import TrainingJob
from cc_tuning.training.worker import train
from tests.training.gradients import gradients_of
from tests.training.jobs import MakeJob, column, difference, resuming, tensors
from tests.training.test_engine_gradients import STEP, TOLERANCE, on_ranks, shown

KINDS = ("sft", "cc", "cc-distil")
ENGINES: dict[str, dict[str, object]] = {
    "ddp": {"processes": 2},
    "fsdp2": {"processes": 2, "sharding": "fsdp2"},
    "fsdp2-recomputed": {"processes": 2, "sharding": "fsdp2", "gradient_checkpointing": True},
}
ONE_LABEL = {"device_logit_bytes": 1}


@pytest.fixture
def tied_base(tmp_path: Path, tiny_llama_directory: Path) -> Path:
    """The tiny model with one matrix for the input embedding and the head."""
    folder = tmp_path / "tied"
    config = LlamaConfig.from_pretrained(tiny_llama_directory, tie_word_embeddings=True)
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    return folder


def job_of(make_job: MakeJob, base: Path, kind: str, name: str, **execution: object) -> TrainingJob:
    job = make_job(f"{kind}-{name}", kind, {"device_batch_size": 3, **execution}, **STEP)
    return job.model_copy(update={"base": str(base)})


def test_one_label_at_a_time_gives_the_same_gradients(make_job: MakeJob, tied_base: Path) -> None:
    for kind in KINDS:
        expected = gradients_of(job_of(make_job, tied_base, kind, "whole"))
        assert not any("lm_head" in name for name in expected), "the head is tied"
        for recomputes in (False, True):
            name = f"parts-{recomputes}"
            job = job_of(make_job, tied_base, kind, name, gradient_checkpointing=recomputes, **ONE_LABEL)
            assert shown(kind, name, gradients_of(job), expected) <= TOLERANCE


def test_one_label_at_a_time_gives_the_same_gradients_under_ddp_and_fsdp2(make_job: MakeJob, tied_base: Path) -> None:
    names = [(engine, kind) for engine in ENGINES for kind in KINDS]
    jobs = [job_of(make_job, tied_base, kind, engine, **ENGINES[engine], **ONE_LABEL) for engine, kind in names]
    expected = {kind: gradients_of(job_of(make_job, tied_base, kind, "whole")) for kind in KINDS}
    for (engine, kind), got in zip(names, on_ranks(jobs), strict=True):
        assert shown(kind, f"{engine}, one label at a time", got, expected[kind]) <= TOLERANCE


def test_a_run_in_parts_goes_on_to_the_same_bits_and_measures_held_out_rows(make_job: MakeJob) -> None:
    settings = {"validation_fraction": 0.25, "validations": 2}
    plain, whole = make_job("plain", "cc", **settings), make_job("whole", "cc", ONE_LABEL, **settings)
    train(plain)
    train(whole)
    resumed = resuming(make_job("resumed", "cc", ONE_LABEL, **settings), whole, 8)
    train(resumed)
    assert difference(tensors(resumed), tensors(whole)) == 0.0
    assert column(whole, "loss") == pytest.approx(column(plain, "loss"), abs=2e-4)
