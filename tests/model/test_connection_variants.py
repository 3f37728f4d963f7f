"""Sources, gradients through the English pass, and checkpointing: each combination against the method row by row."""

import pytest
import torch
from torch import Tensor

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.families import find_components
from cc_tuning.model.injection import injected
from tests.model.test_connected_pass import NOISE, assert_close, gradients, rows_of
from tests.model.tiny_connected import FAMILIES, tiny_model, training_batch
from tests.reference.connection import run_row, training_loss

SOURCES = ["ffn", "attention", "block"]
PLACES = [(family, "contribution") for family in FAMILIES] + [
    (family, "block_output") for family in ("gemma2", "gemma3_text", "olmo2")
]
"""Every family at what its blocks contribute, and those with a norm behind a block also before that norm."""


def loss_and_gradients(model: CrossLingualModel, batch: dict[str, Tensor]) -> tuple[float, dict[str, Tensor]]:
    """Of one training pass, with fixed noise where the selector takes any."""
    model.zero_grad()
    noise = {"gumbel_noise": NOISE} if model.connection.chooses_layer else {}
    loss = model.train()(**batch, **noise).loss
    loss.backward()
    return loss.item(), gradients(model)


def worst_relative(got: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    """The largest difference of an element relative to the largest element of its tensor, over all tensors."""
    return max(float((got[name] - value).abs().max() / value.abs().max()) for name, value in expected.items())


@pytest.mark.parametrize("english_gradient", [False, True], ids=["detached", "english-gradient"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("family", "site"), PLACES)
def test_each_source_trains_as_the_method_written_out(
    family: str, site: str, source: str, english_gradient: bool
) -> None:
    connection = ConnectionConfig.model_validate({"source": source, "english_gradient": english_gradient, "site": site})
    model, batch = tiny_model(family, connection), training_batch()
    loss, got = loss_and_gradients(model, batch)
    model.zero_grad()
    expected = training_loss(
        model.base,
        model.decision_maker.weight,
        rows_of(batch),
        NOISE,
        source=source,
        english_gradient=english_gradient,
        site=site,
    )
    expected.backward()
    assert abs(loss - expected.item()) <= 1e-5
    assert_close(got, gradients(model), 2e-5)


@pytest.mark.parametrize("selector", ["decision_maker", "mean", "random"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("english_gradient", [False, True], ids=["detached", "english-gradient"])
@pytest.mark.parametrize(("family", "site"), PLACES)
def test_checkpointing_gives_the_same_gradients(
    family: str, site: str, english_gradient: bool, source: str, selector: str
) -> None:
    connection = ConnectionConfig.model_validate(
        {"source": source, "english_gradient": english_gradient, "selector": selector, "site": site}
    )
    model, batch = tiny_model(family, connection), training_batch()
    plain_loss, plain = loss_and_gradients(model, batch)
    model.activation_checkpointing_enable()
    loss, got = loss_and_gradients(model, batch)
    assert loss == plain_loss
    assert worst_relative(got, plain) <= 1e-5


def test_gradient_through_the_english_pass_is_a_different_one() -> None:
    batch = training_batch()
    both = [
        loss_and_gradients(tiny_model("llama", ConnectionConfig(english_gradient=keeps)), batch)
        for keeps in (False, True)
    ]
    assert both[0][0] == pytest.approx(both[1][0], rel=1e-6)
    assert worst_relative(both[1][1], both[0][1]) > 0.01


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize(("family", "site"), PLACES)
def test_activations_are_those_of_each_row_alone(family: str, site: str, source: str) -> None:
    model = tiny_model(family, ConnectionConfig.model_validate({"source": source, "site": site}))
    batch = training_batch()
    got = model.activations(batch["english_input_ids"], batch["english_attention_mask"], batch["english_positions"])
    for row, of_row in zip(rows_of(batch), got, strict=True):
        _, expected = run_row(model.base, row["english"], int(row["english_position"]), source=source, site=site)
        assert (of_row - expected).abs().max() <= 1e-4 * expected.detach().abs().max().clamp(min=1)


@pytest.mark.parametrize(("family", "site"), PLACES)
def test_vector_joins_what_the_feed_forward_block_adds_to_the_residual(family: str, site: str) -> None:
    """Eq. 5: the layer's output grows by `v`; before a norm, by what the norm makes of `f_1 + v` and not of `f_1`."""
    model, batch = tiny_model(family, ConnectionConfig.model_validate({"site": site})), training_batch()
    components, positions = model.components, batch["connection_positions"]
    vector = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    after = components.after_ffns[0] if site == "block_output" else torch.nn.Identity()
    f, plain = first_layer_outputs(model, batch)
    with injected(components, positions, vector):
        _, connected = first_layer_outputs(model, batch)
    at = (torch.arange(3), positions)
    expected = plain.clone()
    expected[at] += after(f[at] + vector) - after(f[at])
    assert (connected - expected).abs().max() <= 1e-4
    elsewhere = torch.ones(plain.shape[:2], dtype=torch.bool)
    elsewhere[at] = False
    assert torch.equal(connected[elsewhere], plain[elsewhere])


@torch.no_grad()
def first_layer_outputs(model: CrossLingualModel, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """What the feed-forward block of the first layer puts out, and what the second layer is given."""
    components = find_components(model.base)
    seen: dict[str, Tensor] = {}
    handles = [
        components.ffns[0].register_forward_hook(lambda module, inputs, output: seen.update(f=output)),
        components.layers[1].register_forward_pre_hook(lambda module, inputs: seen.update(hidden=inputs[0])),
    ]
    components.decoder(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"])
    for handle in handles:
        handle.remove()
    return seen["f"], seen["hidden"]
