"""The three ways of choosing the English layer."""

import pytest
import torch
from torch import Tensor

from cc_tuning.errors import ConfigError
from cc_tuning.model import ConnectionConfig
from cc_tuning.model.decision_maker import Decision, DecisionMaker, MeanLayer, RandomLayer
from cc_tuning.model.positions import key_of_rows
from tests.model.tiny_connected import tiny_model, training_batch

B, L, D = 6, 4, 8


def decide(selector: torch.nn.Module, seed: int = 0) -> Decision:
    generator = torch.Generator().manual_seed(seed)
    ffn_outputs = torch.randn(B, L, D, generator=generator)
    embedding = torch.randn(B, D, generator=generator)
    return selector(ffn_outputs, embedding, torch.arange(B), None)


def test_decision_follows_the_equation() -> None:
    selector = DecisionMaker(D, L, temperature=1.0, std=0.5).eval()
    generator = torch.Generator().manual_seed(0)
    F, e = torch.randn(B, L, D, generator=generator), torch.randn(B, D, generator=generator)
    decision = selector(F, e, torch.arange(B), None)
    for b in range(B):
        H = sum((F[b, layer] + e[b]) @ selector.weight for layer in range(L)) / L
        assert torch.allclose(decision.logits[b], H, atol=1e-5)
        assert torch.equal(decision.vector[b], F[b, int(H.argmax())])


def test_training_chooses_layers_as_often_as_the_softmax_says() -> None:
    """The Gumbel-max property: argmax(H + noise) is layer l with probability softmax(H)_l."""
    torch.manual_seed(0)
    selector = DecisionMaker(D, L, temperature=0.5, std=0.5).train()
    F, e = torch.randn(1, L, D).expand(20000, L, D), torch.randn(1, D).expand(20000, D)
    with torch.no_grad():
        decision = selector(F, e, torch.arange(20000), None)
    frequency = decision.weights.round().mean(0)
    assert torch.allclose(frequency, decision.logits[0].softmax(-1), atol=0.015)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_decision_is_float32_under_autocast_and_in_half_precision(dtype: torch.dtype) -> None:
    selector = DecisionMaker(D, L, temperature=1.0, std=0.5).eval()
    F, e = torch.randn(B, L, D).to(dtype), torch.randn(B, D).to(dtype)
    expected = selector(F.float(), e.float(), torch.arange(B), None)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        decision = selector(F, e, torch.arange(B), None)
    assert decision.logits.dtype == decision.vector.dtype == torch.float32
    assert torch.equal(decision.logits, expected.logits)
    assert torch.equal(decision.vector, expected.vector)


def test_mean_is_the_average_over_layers() -> None:
    generator = torch.Generator().manual_seed(0)
    F = torch.randn(B, L, D, generator=generator)
    assert torch.allclose(decide(MeanLayer()).vector, F.mean(1), atol=1e-6)


def test_random_layer_in_evaluation_depends_on_seed_and_row_only() -> None:
    keys = torch.arange(4000) * 7919
    F, e = torch.randn(4000, L, D), torch.randn(4000, D)
    selector = RandomLayer(seed=3).eval()
    chosen = selector(F, e, keys, None).selected_layer
    order = torch.randperm(4000, generator=torch.Generator().manual_seed(0))
    assert torch.equal(selector(F[order], e[order], keys[order], None).selected_layer, chosen[order])
    assert not torch.equal(RandomLayer(seed=4).eval()(F, e, keys, None).selected_layer, chosen)
    assert chosen.bincount(minlength=L).min() > 4000 / L * 0.9


def test_random_layer_in_training_draws_from_torch_generator() -> None:
    selector = RandomLayer(seed=0).train()
    torch.manual_seed(1)
    first = torch.stack([decide(selector).selected_layer for _ in range(10)])
    torch.manual_seed(1)
    again = torch.stack([decide(selector).selected_layer for _ in range(10)])
    assert torch.equal(first, again)
    assert len(first.unique()) > 1


def row_key(ids: list[int], left: int, right: int, position: int) -> Tensor:
    padded = torch.tensor([[0] * left + ids + [9] * right])
    mask = torch.tensor([[0] * left + [1] * (len(ids) + right)])
    return key_of_rows(padded, mask, torch.tensor([position]))


def test_row_key_counts_tokens_up_to_the_position_whatever_the_padding() -> None:
    ids = [5, 3, 8, 13]
    key = row_key(ids, left=0, right=0, position=3)
    assert torch.equal(row_key(ids, left=4, right=2, position=7), key)
    assert not torch.equal(row_key([5, 8, 3, 13], left=0, right=0, position=3), key)
    assert key.item() >= 0


@pytest.mark.parametrize("selector", ["mean", "random"])
def test_ablations_train_without_a_weight(selector: str) -> None:
    model, batch = tiny_model("llama", ConnectionConfig(selector=selector)).train(), training_batch()
    output = model(**batch)
    output.loss.backward()
    assert not list(model.decision_maker.parameters())
    assert torch.allclose(output.selection.sum(-1), torch.ones(3))


def test_random_layer_is_where_the_noise_is_largest() -> None:
    model, batch = tiny_model("llama", ConnectionConfig(selector="random")).train(), training_batch()
    noise = torch.tensor([[0.0, 2.0, 1.0], [3.0, -1.0, 2.0], [-2.0, -3.0, -1.0]])
    output = model(**batch, gumbel_noise=noise)
    assert output.selection.argmax(-1).tolist() == [1, 0, 2]


def test_mean_refuses_noise() -> None:
    model = tiny_model("llama", ConnectionConfig(selector="mean")).train()
    with pytest.raises(ConfigError, match="has no noise"):
        model(**training_batch(), gumbel_noise=torch.zeros(3, 3))
