"""What one training process computes and leaves behind."""

from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from cc_tuning.errors import TrainingFailed, UnsupportedModel
from cc_tuning.model import checkpoint
from cc_tuning.model.connection import CrossLingualModel, load_checkpoint
from cc_tuning.text.prompts import ChatPrompts
from cc_tuning.training.metrics import read_metrics
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from cc_tuning.training.parquet_rows import read_rows
from cc_tuning.training.worker import train
from data_contracts.errors import ArtifactMismatch
from data_contracts.files import read_json
from tests.training.jobs import MakeJob, column


def test_first_loss_is_the_mean_over_response_tokens(make_job: MakeJob, tiny_llama_directory: Path) -> None:
    """Equation 1, by hand, one row at a time; gradients accumulate over micro-batches of unequal token counts."""
    job = make_job("run", execution={"device_batch_size": 3}, global_batch_size=24, epochs=1)
    train(job)
    model = AutoModelForCausalLM.from_pretrained(tiny_llama_directory).eval()
    total, tokens = 0.0, 0
    rows = read_rows(job.rows, SupervisedFineTuning.contract)
    for row in (rows[index] for index in range(len(rows))):
        ids, prompt_length = torch.tensor(row["input_ids"]), row["prompt_length"]
        with torch.no_grad():
            log_probabilities = model(ids[None]).logits[0].log_softmax(-1)
        for position in range(prompt_length, len(ids)):
            total -= float(log_probabilities[position - 1, ids[position]])
            tokens += 1
    assert column(job, "loss")[0] == pytest.approx(total / tokens, abs=1e-5)


def test_micro_batch_size_changes_no_loss(make_job: MakeJob) -> None:
    losses = []
    for size in (4, 1):
        job = make_job(f"size{size}", kind="cc", execution={"device_batch_size": size}, learning_rate=1e-12)
        train(job)
        losses.append(column(job, "loss"))
    # The noise of each row differs with the size, the choice of a layer moves an untrained loss by less than this.
    assert losses[0] == pytest.approx(losses[1], abs=5e-3)


def test_checkpoint_is_a_model_that_any_tool_loads_and_that_stops(make_job: MakeJob) -> None:
    job = make_job("run", learning_rate=1e-2, epochs=15)
    train(job)
    checkpoint = job.folder / "checkpoint"
    tokenizer = AutoTokenizer.from_pretrained(checkpoint)
    model = AutoModelForCausalLM.from_pretrained(checkpoint)
    prompts = ChatPrompts(tokenizer)
    assert model.generation_config.eos_token_id == list(prompts.stop_token_ids)
    assert model.config.use_cache
    prompt = torch.tensor([prompts.encode_prompt("Swali 0?")])
    answer = model.generate(prompt, max_new_tokens=60, do_sample=False)[0, prompt.shape[1] :]
    assert answer[-1] == prompts.end_of_turn_id
    assert tokenizer.decode(answer[:-1]).startswith("Jibu")


def test_cc_checkpoint_loads_with_its_connection_and_layers_are_counted(make_job: MakeJob) -> None:
    job = make_job("run", kind="cc")
    train(job)
    model = load_checkpoint(job.folder / "checkpoint", torch.float32, "cpu")
    assert isinstance(model, CrossLingualModel)
    lines = read_metrics(job.folder / "metrics.jsonl")
    assert [line["step"] for line in lines] == list(range(1, 13))
    for line in lines:
        assert sum(line["selection_counts"]) == 4
        assert 0 < line["selection_entropy"] <= 1.0987  # ln 3 for three layers
    summary = read_json(job.folder / "summary.json")
    assert (summary["objective"], summary["connected"]) == ("sft", True)
    assert (summary["steps"], summary["rows"], sum(summary["selection_counts"])) == (12, 24, 48)


def test_loss_that_is_not_a_number_stops_before_a_checkpoint(
    make_job: MakeJob, tiny_llama_directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoint, "require_finite", lambda *_: None)  # such weights are refused when they are read
    job = make_job("run", execution={"log_every_steps": 100, "checkpoint_every_steps": 2})
    broken = AutoModelForCausalLM.from_pretrained(tiny_llama_directory)
    broken.lm_head.weight.data[0, 0] = float("nan")
    broken.save_pretrained(tmp_path / "broken")
    with pytest.raises(TrainingFailed, match=r"step 1 of 12: loss nan"):
        train(job.model_copy(update={"base": str(tmp_path / "broken")}))
    assert not list(job.folder.glob("trainer/checkpoint-*"))


def test_base_that_is_not_there_is_named(make_job: MakeJob, tmp_path: Path) -> None:
    with pytest.raises(ArtifactMismatch, match="nowhere"):
        train(make_job("run").model_copy(update={"base": str(tmp_path / "nowhere")}))


def test_base_with_fewer_tokens_than_the_tokenizer_is_refused(
    make_job: MakeJob, tiny_llama_directory: Path, tmp_path: Path
) -> None:
    small = AutoModelForCausalLM.from_pretrained(tiny_llama_directory)
    small.resize_token_embeddings(100)
    small.save_pretrained(tmp_path / "small")
    with pytest.raises(UnsupportedModel, match=r"has 307 tokens, .* embeds 100"):
        train(make_job("run").model_copy(update={"base": str(tmp_path / "small")}))


@pytest.mark.parametrize("kind", ["sft", "cc"])
def test_gradient_checkpointing_changes_no_loss(make_job: MakeJob, kind: str) -> None:
    losses = []
    for name, recomputes in (("plain", False), ("recomputed", True)):
        job = make_job(name, kind, execution={"gradient_checkpointing": recomputes}, epochs=1)
        train(job)
        losses.append(column(job, "loss"))
    assert losses[0] == pytest.approx(losses[1], abs=1e-6)
