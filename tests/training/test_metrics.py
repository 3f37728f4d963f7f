"""What training tells about itself, checked against slow counts."""

import json
import math
from pathlib import Path

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch.utils.flop_counter import FlopCounterMode

from cc_tuning.runtime.device_table import device_named
from cc_tuning.training.collators import MicroBatch, RowNoise, StepBatches, TokenCounts
from cc_tuning.training.flops import flops_of_model, peak_flops
from cc_tuning.training.job import TrainingJob, batch_shape
from cc_tuning.training.metrics import dense_line, read_metrics
from cc_tuning.training.objectives.sft import SupervisedFineTuning
from cc_tuning.training.parquet_rows import read_rows
from cc_tuning.training.sampler import LengthGroupedBatches
from cc_tuning.training.throughput import Measurements
from cc_tuning.training.worker import train
from tests.model.tiny_connected import LAYERS, tiny_base
from tests.training.jobs import MakeJob


@pytest.fixture
def reported(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> TrainingJob:
    """A run of CC-Tuning that reports to TensorBoard."""
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "board"))
    execution = {"report_to": ["tensorboard"], "device_batch_size": 2}
    job = make_job("run", "cc", execution, epochs=1, global_batch_size=8, decision_maker_learning_rate=0.1)
    train(job)
    return job


def test_lines_have_the_padding_of_the_batches_and_what_was_measured(reported: TrainingJob) -> None:
    rows = read_rows(reported.rows, SupervisedFineTuning.contract)
    steps = LengthGroupedBatches(rows.row_ids, rows.lengths, rows.english_lengths, batch_shape(reported), seed=0)
    lines = read_metrics(reported.folder / "metrics.jsonl")
    assert len(lines) == 3
    for line, step in zip(lines, steps, strict=True):
        shares = []
        for lengths in (rows.lengths[:, 0], rows.english_lengths):
            real = sum(lengths[row] for batch in step.micro_batches for row in batch.rows)
            padded = sum(len(batch.rows) * max(lengths[batch.rows]) for batch in step.micro_batches)
            shares.append(1 - real / padded)
        assert [line["padding"], line["english_padding"]] == pytest.approx(shares, abs=1e-4)
        assert line["mfu"] is None  # nobody states a peak for this CPU
        assert line["memory_gb"] > 0.05 and line["tokens_per_second"] > 0
        assert sum(line["selection_counts"]) == 8
        assert 0 < line["selection_entropy"] <= math.log(3) + 1e-4
        assert -1 <= line["selection_cosine"] <= 1
        assert line["temperature"] == 1
        assert line["decision_maker_learning_rate"] == pytest.approx(100 * line["learning_rate"])


def test_tensorboard_gets_every_number_of_every_line(reported: TrainingJob, tmp_path: Path) -> None:
    board = EventAccumulator(str(tmp_path / "board")).Reload()
    lines = read_metrics(reported.folder / "metrics.jsonl")
    names = {*lines[0]} - {"step", "epoch", "seconds", "mfu", "selection_counts"}
    names |= {"selection_count/layer_1", "selection_count/layer_3"}
    for name in names:
        values = [event.value for event in board.Scalars(f"train/{name}")]
        layer = int(name[-1]) - 1 if "layer_" in name else 0
        expected = [line["selection_counts"][layer] if "layer_" in name else line[name] for line in lines]
        assert values == pytest.approx(expected)


def test_dense_line_is_one_line_with_units() -> None:
    line = {
        "step": 120, "loss": 1.8341, "learning_rate": 8.2e-6, "grad_norm": 0.912, "tokens_per_second": 41200.0,
        "padding": 0.041, "mfu": 0.61, "memory_gb": 12.41, "decision_maker_learning_rate": 8.2e-4, "temperature": 0.5,
        "selection_entropy": 3.31, "selection_cosine": 0.42, "selection_counts": [1.0, 6.0, 0.0, 3.0],
    }  # fmt: skip
    assert dense_line(line, 2400) == (
        "step 120/2400 | loss 1.834 | grad 0.91 | lr 8.2e-06 | 41.2k tok/s | 4.1% padding | 61% mfu | 12.4 GB | "
        "dm lr 8.2e-04 | tau 0.50 | entropy 3.31 | cosine 0.42 | layers 2:60% 4:30% 1:10%"
    )


@pytest.mark.parametrize("family", ["llama", "qwen3", "gemma2"])
def test_flops_of_the_configuration_are_those_that_torch_counts(family: str) -> None:
    """torch counts attention over all pairs of positions, and the rotary table as a product: about a per cent."""
    model = tiny_base(family, attn_implementation="eager", hidden_size=64, intermediate_size=160).train()
    T, K = 24, 9
    ids = torch.randint(0, 97, (1, T))
    with FlopCounterMode(display=False) as counter:
        model(input_ids=ids, labels=ids[:, -K:], logits_to_keep=K).loss.backward()
    all_pairs = TokenCounts(tokens=T, squares=2 * T * T - T, labels=K)
    assert flops_of_model(model.config).of(all_pairs) == pytest.approx(counter.get_total_flops(), rel=0.02)


def test_english_prompts_count_a_forward_pass_and_frozen_weights_no_gradient_of_their_own() -> None:
    config = tiny_base("llama").config
    trained, frozen = flops_of_model(config), flops_of_model(config, trained_share=0.0)
    rows = TokenCounts(tokens=10, squares=100)
    english = TokenCounts(english_tokens=10, english_squares=100)
    assert trained.of(rows) == 3 * trained.of(english)
    assert frozen.of(rows) == 2 * frozen.of(english)


def test_peak_is_never_invented() -> None:
    assert peak_flops(torch.device("cpu"), "bfloat16") is None
    assert peak_flops(torch.device("cuda"), "float32") is None
    for name, peak in {"NVIDIA H100 PCIe": 756e12, "NVIDIA H100 80GB HBM3": 989e12}.items():
        found = device_named(name)
        assert found is not None and found.flops["bfloat16"] == peak
    assert device_named("NVIDIA GeForce GT 710") is None


def test_mfu_is_the_needed_arithmetic_over_the_time_and_the_peak(monkeypatch: pytest.MonkeyPatch) -> None:
    flops = flops_of_model(tiny_base("llama").config)
    measurements = Measurements(flops, peak=1e6, device=torch.device("cpu"))
    now = iter([100.0, 104.0])
    monkeypatch.setattr("cc_tuning.training.throughput.time.monotonic", lambda: next(now))
    measurements.start_step()
    counts = TokenCounts(tokens=30, padded=40, squares=500, labels=7)
    measurements.add_step(1, StepBatches([MicroBatch({}, ["a"], False)], counts), torch.zeros(1))
    fields = measurements.take()
    assert fields["mfu"] == pytest.approx(flops.of(counts) / 4.0 / 1e6, abs=1e-4)
    assert (fields["tokens_per_second"], fields["padding"]) == (7.5, 0.25)


def test_noise_of_a_row_is_gumbel_noise_and_its_own() -> None:
    noise = RowNoise(seed=0, layers=LAYERS)
    draws = noise.of_rows([{"row_id": f"r{i}", "epoch": 0} for i in range(20000)])
    assert draws.dtype == torch.float32
    assert draws.mean().item() == pytest.approx(0.5772, abs=0.02)  # Euler's constant
    assert draws.var().item() == pytest.approx(math.pi**2 / 6, abs=0.05)
    assert torch.corrcoef(draws.T).fill_diagonal_(0).abs().max() < 0.03
    again = RowNoise(seed=0, layers=LAYERS).of_rows([{"row_id": "r7", "epoch": 0}])
    assert torch.equal(again[0], draws[7])
    for other in (RowNoise(1, LAYERS).of_row("r7", 0), noise.of_row("r7", 1), noise.of_row("r8", 0)):
        assert not torch.equal(torch.from_numpy(other), draws[7])


def test_metrics_file_keeps_whole_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text(json.dumps({"step": 1}) + "\n" + '{"step": 2, "lo')
    assert read_metrics(path) == [{"step": 1}]
