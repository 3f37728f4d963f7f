"""`connection.normalise` and `connection.scale` against the method written out row by row, in every family."""

from typing import Any

import pytest
import torch

from cc_tuning.model import ConnectionConfig
from cc_tuning.model.injection import injected
from tests.model.normalised import MODES, for_reference, mode_name, normalised_model
from tests.model.test_connected_pass import NOISE, assert_close, gradients, rows_of
from tests.model.test_connection_variants import PLACES, first_layer_outputs, loss_and_gradients, worst_relative
from tests.model.tiny_connected import FAMILIES, left_padded, random_prompts, tiny_model, training_batch
from tests.reference.connection import answer_row, choose_layer, normalised, run_row, training_loss

SELECTED = [(place, "decision_maker") for place in PLACES] + [
    (place, selector) for place in (("llama", "contribution"), ("gemma3_text", "block_output"))
    for selector in ("mean", "random")
]  # fmt: skip
NEW = 4


@pytest.mark.parametrize("mode", MODES, ids=mode_name)
@pytest.mark.parametrize(("place", "selector"), SELECTED)
def test_training_equals_the_method_row_by_row(place: tuple[str, str], selector: str, mode: dict[str, Any]) -> None:
    family, site = place
    model, batch = normalised_model(family, site=site, selector=selector, **mode), training_batch()
    loss, got = loss_and_gradients(model, batch)
    model.zero_grad()
    weight = model.decision_maker.weight if selector == "decision_maker" else None
    expected = training_loss(
        model.base,
        weight,
        rows_of(batch),
        NOISE,
        site=site,
        selector=selector,
        statistics=for_reference(model),
        share=model.connection.scale,
    )
    expected.backward()
    assert abs(loss - expected.item()) <= 1e-5
    assert_close(got, gradients(model), 5e-5)


@pytest.mark.parametrize("english_gradient", [False, True], ids=["detached", "english-gradient"])
@pytest.mark.parametrize(("family", "site"), PLACES)
def test_checkpointing_gives_the_same_gradients(family: str, site: str, english_gradient: bool) -> None:
    changes: dict[str, Any] = {"english_gradient": english_gradient, "site": site}
    model, batch = normalised_model(family, normalise="standardised", scale=0.5, **changes), training_batch()
    plain_loss, plain = loss_and_gradients(model, batch)
    model.activation_checkpointing_enable()
    loss, got = loss_and_gradients(model, batch)
    assert loss == pytest.approx(plain_loss, abs=1e-6)
    assert worst_relative(got, plain) <= 1e-4


@pytest.mark.parametrize("selector", ["decision_maker", "mean", "random"])
@pytest.mark.parametrize("connection", ["transform", "parallel", "identity"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_full_passes_without_a_cache(family: str, connection: str, selector: str) -> None:
    model = normalised_model(family, normalise="standardised", scale=1.0, selector=selector)
    rows, english = random_prompts(), random_prompts((4, 6, 9), seed=8)
    side = {f"english_{name}": tensor for name, tensor in left_padded(english).items()}
    generation = model.generate_with_selection(
        **left_padded(rows),
        connection=connection,
        **(side if connection == "parallel" else {}),
        max_new_tokens=NEW,
        do_sample=False,
    )
    for b, row in enumerate(rows):
        ids = torch.tensor(english[b] if connection == "parallel" else row)
        with torch.no_grad():
            source = run_row(model.base, ids, len(ids) - 1)[1]
            if connection == "transform":
                source = source @ model.transform_matrix
            source = normalised(source, *for_reference(model))
            if selector == "mean":
                vector = source.mean(0)
            else:
                layer = int(generation.selected_layer[b])
                vector = source[layer]
                if selector == "decision_maker":
                    assert layer == choose_layer(model.base, model.decision_maker.weight, source, torch.tensor(row[-1]))
            expected = answer_row(model.base, row, 0, NEW, vector, share=1.0)
        assert generation.output[b, -NEW:].tolist() == expected


@pytest.mark.parametrize(("family", "site"), PLACES)
def test_what_joins_f_1_is_as_long_as_the_share_of_it(family: str, site: str) -> None:
    """Before a norm `f_1` is what the block puts out, elsewhere it is what reaches the residual."""
    model, batch = tiny_model(family, ConnectionConfig.model_validate({"site": site})), training_batch()
    components, positions = model.components, batch["connection_positions"]
    direction = torch.randn(3, 32, generator=torch.Generator().manual_seed(2))
    direction = direction / direction.norm(dim=-1, keepdim=True)
    after = components.after_ffns[0] if components.after_ffns else torch.nn.Identity()
    before, behind = (after, torch.nn.Identity()) if site == "contribution" else (torch.nn.Identity(), after)
    f, plain = first_layer_outputs(model, batch)
    with injected(components, positions, direction, 0.25):
        _, connected = first_layer_outputs(model, batch)
    at = (torch.arange(3), positions)
    with torch.no_grad():
        f_1 = before(f[at])
        added = 0.25 * f_1.norm(dim=-1, keepdim=True) * direction
        expected = plain[at] + behind(f_1 + added) - behind(f_1)
    assert (connected[at] - expected).abs().max() <= 1e-4 * expected.abs().max().clamp(min=1)
    assert added.norm(dim=-1).min() > 0.01


def test_the_length_takes_no_gradient() -> None:
    """A longer `f_1` is not rewarded for the vector: the gradient is that of a vector of a given length."""
    model, batch = normalised_model("llama", normalise="centred", scale=0.5, selector="mean"), training_batch()
    _, got = loss_and_gradients(model, batch)
    f, _ = first_layer_outputs(model, batch)
    lengths = f[torch.arange(3), batch["connection_positions"]].norm(dim=-1, keepdim=True)
    fixed = normalised_model("llama", normalise="centred", selector="mean")
    decide = fixed.decide
    fixed.decide = lambda *given: (one := decide(*given).with_unit_vector)._replace(vector=0.5 * lengths * one.vector)  # type: ignore[method-assign]
    _, expected = loss_and_gradients(fixed, batch)
    assert worst_relative(got, expected) <= 1e-4
