"""Likelihoods in every mode of a connection that is normalised and scaled, against the method row by row."""

import pytest
import torch
from torch import Tensor

from cc_tuning.inference.carried import mean_carried_vector
from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.model import ConnectionMode, CrossLingualModel
from tests.inference.test_loglikelihoods import CONNECTIONS, CONTINUATIONS, PROMPTS, summed
from tests.model.normalised import MODES, for_reference, mode_name, normalised_model
from tests.model.tiny_connected import FAMILIES
from tests.reference.connection import choose_layer, normalised, run_row

MODELS = [(family, "decision_maker", MODES[-1]) for family in FAMILIES] + [
    ("llama", selector, mode) for selector in ("mean", "random") for mode in MODES
]


@torch.no_grad()
def slow_direction(model: CrossLingualModel, row: int, connection: ConnectionMode, layer: int | None) -> Tensor | None:
    """`v` of prompt `row`, with a scale of length 1; `layer` is the one that the selector `random` drew."""
    if connection == "off":
        return None
    if connection == "constant":
        each = [slow_direction(model, other, "parallel", drawn_layer(model, other)) for other in range(len(PROMPTS))]
        return torch.stack([one for one in each if one is not None]).mean(0)
    prompt, selector = PROMPTS[row], model.connection.selector
    own = list(prompt.input_ids)
    read = own if connection in ("identity", "transform") else list(prompt.english_input_ids or ())
    _, source = run_row(model.base, torch.tensor(read), len(read) - 1)
    if connection == "transform":
        assert model.transform_matrix is not None
        source = source @ model.transform_matrix
    source = normalised(source, *for_reference(model))
    if selector == "decision_maker":
        weight = model.decision_maker.weight
        assert isinstance(weight, Tensor)
        layer = choose_layer(model.base, weight, source, torch.tensor(own[-1]))
    vector = source.mean(0) if layer is None else source[layer]
    return vector if model.connection.scale is None else vector / vector.norm()


def drawn_layer(model: CrossLingualModel, row: int) -> int | None:
    """The layer of the selector `random`, which depends on the prompt alone."""
    if model.connection.selector != "random":
        return None
    return score_candidates(model, [PROMPTS[row]], [[CONTINUATIONS[row]]], "parallel")[0][0].selected_layer


@pytest.mark.parametrize("connection", CONNECTIONS)
@pytest.mark.parametrize(
    ("family", "selector", "mode"), MODELS, ids=lambda part: part if isinstance(part, str) else mode_name(part)
)
def test_each_mode_adds_what_the_method_says(
    family: str, selector: str, mode: dict[str, object], connection: ConnectionMode
) -> None:
    model = normalised_model(family, selector=selector, **mode)
    constant = mean_carried_vector(model, PROMPTS, batch_size=3) if connection == "constant" else None
    found = score_candidates(model, PROMPTS, [[ids] for ids in CONTINUATIONS], connection, constant)
    for row, (prompt, continuation, (one,)) in enumerate(zip(PROMPTS, CONTINUATIONS, found, strict=True)):
        ids = list(prompt.input_ids)
        direction = slow_direction(model, row, connection, drawn_layer(model, row))
        share = model.connection.scale
        if share is not None and direction is not None:
            share *= float(direction.norm())  # of the constant, a mean of directions
        with torch.no_grad():
            whole = torch.tensor([*ids, *continuation])
            logits, _ = run_row(model.base, whole, len(ids) - 1, direction, share=share)
        total, is_greedy = summed(logits, ids, continuation)
        assert one.log_likelihood == pytest.approx(total, abs=2e-5 * len(continuation), rel=2e-5)
        assert one.is_greedy == is_greedy


def test_a_constant_has_no_length_where_directions_cancel() -> None:
    """Centred directions of many prompts point everywhere: their mean is shorter than each, and is added as short."""
    model = normalised_model("llama", normalise="centred", scale=1.0, selector="mean")
    constant = mean_carried_vector(model, PROMPTS, batch_size=4)
    directions = [slow_direction(model, row, "parallel", None) for row in range(len(PROMPTS))]
    assert all(one is not None and float(one.norm()) == pytest.approx(1) for one in directions)
    assert 0 < constant.norm() < 0.9
