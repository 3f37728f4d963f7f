"""The training pass against the method written out row by row, and what it must leave alone."""

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from cc_tuning.errors import ConfigError, PromptNotFound, UnsupportedModel
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.families import find_components
from cc_tuning.model.hooks import recorded_activations
from tests.model.tiny_connected import FAMILIES, LAYERS, tiny_base, tiny_model, training_batch
from tests.reference.connection import training_loss

NOISE = torch.tensor([[0.3, -1.0, 2.0], [1.5, 0.0, -0.5], [-2.0, 4.0, 1.0]])


def rows_of(batch: dict[str, Tensor]) -> list[dict[str, Tensor]]:
    """The batch's rows without padding, as the reference takes them."""
    rows = []
    for b in range(batch["input_ids"].shape[0]):
        length, english = int(batch["attention_mask"][b].sum()), int(batch["english_attention_mask"][b].sum())
        rows.append(
            {
                "ids": batch["input_ids"][b, :length],
                "labels": batch["labels"][b, :length],
                "position": batch["connection_positions"][b],
                "english": batch["english_input_ids"][b, :english],
                "english_position": batch["english_positions"][b],
            }
        )
    return rows


def gradients(model: CrossLingualModel) -> dict[str, Tensor]:
    """Gradients by parameter name; every parameter must have one."""
    found = {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert len(found) == len(list(model.parameters()))
    return found


def assert_close(got: dict[str, Tensor], expected: dict[str, Tensor], tolerance: float) -> None:
    worst = {name: float((got[name] - expected[name]).abs().max()) for name in expected}
    assert max(worst.values()) <= tolerance, worst


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_loss_and_gradients_equal_the_method_row_by_row(family: str, tied: bool, offset: int) -> None:
    connection = ConnectionConfig(offset=offset, temperature=0.7)
    model = tiny_model(family, connection, tie_word_embeddings=tied).train()
    batch = training_batch(offset=offset)
    loss = model(**batch, gumbel_noise=NOISE).loss
    loss.backward()
    got = gradients(model)

    model.zero_grad()
    expected = training_loss(model.base, model.decision_maker.weight, rows_of(batch), NOISE, temperature=0.7)
    expected.backward()
    assert abs(loss.item() - expected.item()) <= 1e-5
    assert_close(got, gradients(model), 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_connection_changes_nothing_before_its_position(family: str) -> None:
    model, batch = tiny_model(family), training_batch()
    with torch.no_grad():
        connected = model(**batch).logits
        plain = model.base(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            position_ids=(batch["attention_mask"].cumsum(-1) - 1).clamp(min=0) * batch["attention_mask"],
        ).logits
    columns = torch.arange(connected.shape[1])
    before = columns < batch["connection_positions"][:, None]
    assert torch.equal(connected[before], plain[before])
    at = (torch.arange(3), batch["connection_positions"])
    assert (connected[at] - plain[at]).abs().amax(-1).min() > 1e-2


@pytest.mark.parametrize("family", FAMILIES)
def test_batched_rows_equal_single_rows(family: str) -> None:
    model, batch = tiny_model(family), training_batch()
    with torch.no_grad():
        together = model(**batch)
        for b in range(3):
            alone = model(**{name: tensor[b : b + 1] for name, tensor in batch.items()})
            length = int(batch["attention_mask"][b].sum())
            difference = together.logits[b, :length] - alone.logits[0, :length]
            assert difference.abs().max() <= 1e-5
            assert torch.equal(together.selection[b], alone.selection[0])


@pytest.mark.parametrize("family", FAMILIES)
def test_activations_do_not_depend_on_the_side_of_the_padding(family: str) -> None:
    model, batch = tiny_model(family), training_batch()
    ids, mask = batch["english_input_ids"], batch["english_attention_mask"]
    right = model.activations(ids, mask, batch["english_positions"])
    shift = mask.shape[1] - mask.sum(1)
    rolled = [torch.stack([row.roll(int(s)) for row, s in zip(t, shift, strict=True)]) for t in (ids, mask)]
    left = model.activations(*rolled, batch["english_positions"] + shift)
    assert right.shape == (3, LAYERS, 32)
    assert (left - right).abs().max() <= 1e-6 * right.abs().max().clamp(min=10)


def test_reentrant_checkpointing_is_refused() -> None:
    with pytest.raises(ConfigError, match="use_reentrant=True"):
        tiny_model("llama").activation_checkpointing_enable({"use_reentrant": True})


def test_loss_is_divided_by_the_given_number_of_items() -> None:
    model, batch = tiny_model("llama"), training_batch()
    with torch.no_grad():
        mean = model(**batch).loss
        scaled = model(**batch, num_items_in_batch=24).loss
    assert torch.allclose(mean * int((batch["labels"][:, 1:] != -100).sum()) / 24, scaled)


def test_evaluation_mode_repeats_itself_and_training_draws_noise() -> None:
    model, batch = tiny_model("llama"), training_batch()
    with torch.no_grad():
        assert torch.equal(model(**batch).logits, model(**batch).logits)
        model.train()
        model.decision_maker.weight.mul_(0.01)  # near-equal logits, so that the noise decides
        chosen = torch.stack([model(**batch).selection.argmax(-1) for _ in range(20)])
    assert all(len(column.unique()) > 1 for column in chosen.T)


@pytest.mark.parametrize(
    ("name", "value"),
    [("connection_positions", -1), ("connection_positions", 99), ("english_positions", 8), ("english_positions", -1)],
)
def test_position_outside_the_prompt_raises_prompt_not_found(name: str, value: int) -> None:
    batch = training_batch()
    batch[name] = batch[name].clone()
    batch[name][1] = value
    with pytest.raises(PromptNotFound, match=r"rows \[1\]"):
        tiny_model("llama")(**batch)


def test_no_hook_is_left_after_a_failed_pass() -> None:
    model, batch = tiny_model("llama"), training_batch()
    with pytest.raises(TypeError):
        model(**batch, logits_to_keep="none")
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.base.modules())


def test_unknown_family_is_refused_by_name() -> None:
    config = AutoConfig.for_model(
        "gpt_neox", vocab_size=32, hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2
    )
    base = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UnsupportedModel, match=r"'gpt_neox'.*gemma2, .*llama, .*qwen2.*families\.py"):
        CrossLingualModel.from_base(base, ConnectionConfig())


def test_model_without_its_blocks_is_refused() -> None:
    base = tiny_base("llama")
    del base.model.layers[1].mlp
    with pytest.raises(UnsupportedModel, match="mlp"):
        find_components(base)


def test_model_with_fewer_layers_than_its_config_is_refused() -> None:
    base = tiny_base("llama")
    del base.model.layers[2]
    with pytest.raises(UnsupportedModel, match=r"found 2 decoder layers.*3"):
        find_components(base)


def test_block_that_does_not_run_is_reported() -> None:
    components = find_components(tiny_base("llama"))
    with recorded_activations(components, "ffn", torch.tensor([0])) as outputs:
        components.ffns[0](torch.zeros(1, 2, 32))
        components.layers[0].forward = lambda hidden: hidden
        components.layers[0](torch.zeros(1, 2, 32))
    with pytest.raises(UnsupportedModel, match=r"layers \[1, 2\] did not run"):
        outputs.stack()
