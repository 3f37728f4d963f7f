"""What a micro-batch costs beside its tokens."""

import pytest
import torch
from transformers import LlamaConfig

from cc_tuning.training.flops import flops_of_model, tokens_of_a_pass


def shape_of(layers: int, hidden: int, intermediate: int) -> LlamaConfig:
    return LlamaConfig(
        hidden_size=hidden, intermediate_size=intermediate, num_hidden_layers=layers,
        num_attention_heads=hidden // 64, vocab_size=1000,
    )  # fmt: skip


def test_a_cpu_starts_no_kernels() -> None:
    assert tokens_of_a_pass(flops_of_model(shape_of(2, 64, 128)), torch.device("cpu")) == 0


def test_a_pass_of_a_small_model_costs_as_much_as_many_more_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H100 80GB HBM3")
    small, large = flops_of_model(shape_of(18, 640, 2048)), flops_of_model(shape_of(32, 4096, 14336))
    device = torch.device("cuda")
    ratio = tokens_of_a_pass(small, device) / tokens_of_a_pass(large, device)
    assert ratio == pytest.approx(large.linear / small.linear)
    # 0.05 s at two fifths of 989 TFLOP/s, three passes' worth of 2 FLOPs a weight
    assert tokens_of_a_pass(large, device) == pytest.approx(0.05 * 0.4 * 989e12 / (3 * large.linear))
    assert 300 < tokens_of_a_pass(large, device) < 800


def test_a_card_without_a_known_data_sheet_has_a_cost_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Something Else")
    assert tokens_of_a_pass(flops_of_model(shape_of(18, 640, 2048)), torch.device("cuda")) > 0
