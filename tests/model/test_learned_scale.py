"""`connection.scale: learned`: the length by hand, its gradient in float64, and that without it nothing is there."""

import copy
from pathlib import Path

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from data_contracts.errors import ArtifactMismatch
from tests.model.normalised import for_reference, normalised_model
from tests.model.test_connected_pass import NOISE, gradients, rows_of
from tests.model.test_connection_variants import PLACES, loss_and_gradients, worst_relative
from tests.model.tiny_connected import left_padded, random_prompts, training_batch
from tests.reference.connection import answer_row, normalised, run_row, training_loss

FILE = "cross_lingual_connection.safetensors"


def learned_model(family: str = "llama", log_scale: float = -0.4, **connection: object) -> CrossLingualModel:
    model = normalised_model(family, scale="learned", **connection)
    with torch.no_grad():
        model.decision_maker.log_scale.fill_(log_scale)
    return model


@pytest.mark.parametrize("selector", ["decision_maker", "mean", "random"])
@pytest.mark.parametrize(("family", "site"), [PLACES[0], ("gemma3_text", "contribution"), ("olmo2", "block_output")])
def test_loss_and_gradients_equal_the_method_row_by_row_in_float64(family: str, site: str, selector: str) -> None:
    """That of the length included: in the reference the share is a tensor with a gradient."""
    model, batch = learned_model(family, normalise="centred", selector=selector, site=site), training_batch()
    loss, got = loss_and_gradients(model, batch)
    slow = copy.deepcopy(model).double()
    slow.zero_grad()
    expected = training_loss(
        slow.base,
        slow.decision_maker.weight if selector == "decision_maker" else None,
        rows_of(batch),
        NOISE.double(),
        site=site,
        selector=selector,
        statistics=for_reference(slow),
        share=slow.decision_maker.log_scale.exp(),  # type: ignore[arg-type]
    )
    expected.backward()
    assert abs(loss - expected.item()) <= 1e-5
    assert "decision_maker.log_scale" in got
    assert got["decision_maker.log_scale"].abs() > 1e-4
    assert worst_relative({name: grad.double() for name, grad in got.items()}, gradients(slow)) <= 2e-3


def test_a_fresh_one_is_a_share_of_one_to_the_last_bit() -> None:
    fixed, learned = normalised_model("llama", scale=1.0), learned_model(log_scale=0.0)
    learned.load_state_dict(fixed.state_dict(), strict=False)
    loss, expected = loss_and_gradients(fixed, training_batch())
    got_loss, got = loss_and_gradients(learned, training_batch())
    assert got_loss == loss
    got.pop("decision_maker.log_scale")
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.parametrize("connection", [{}, {"scale": 0.5}, {"selector": "mean"}, {"selector": "random"}], ids=str)
def test_without_it_there_is_no_weight_more(connection: dict[str, object]) -> None:
    model = normalised_model("llama", **connection)
    weights = {"decision_maker.weight"} if "selector" not in connection else set()
    assert {name for name in model.state_dict() if not name.startswith("base.")} == weights


@pytest.mark.parametrize("connection", ["transform", "parallel", "identity"])
def test_a_saved_one_answers_as_full_passes_without_a_cache(tmp_path: Path, connection: str) -> None:
    model = learned_model(log_scale=0.7, normalise="standardised", selector="mean")
    model.save_pretrained(tmp_path)
    loaded = CrossLingualModel.from_pretrained(tmp_path)
    assert loaded.connection.scale == "learned"
    rows, english = random_prompts(), random_prompts((4, 6, 9), seed=8)
    side = {f"english_{name}": tensor for name, tensor in left_padded(english).items()}
    arguments = side if connection == "parallel" else {}
    output = loaded.generate(**left_padded(rows), connection=connection, **arguments, max_new_tokens=4, do_sample=False)
    assert isinstance(output, torch.Tensor)
    for b, row in enumerate(rows):
        ids = torch.tensor(english[b] if connection == "parallel" else row)
        with torch.no_grad():
            source = run_row(model.base, ids, len(ids) - 1)[1]
            if connection == "transform":
                source = source @ model.transform_matrix
            vector = normalised(source, *for_reference(model)).mean(0)
            expected = answer_row(model.base, row, 0, 4, vector, share=float(torch.tensor(0.7).exp()))
        assert output[b, -4:].tolist() == expected


def test_a_checkpoint_that_lost_the_length_is_refused(tmp_path: Path) -> None:
    learned_model().save_pretrained(tmp_path)
    kept = load_file(tmp_path / FILE)
    del kept["decision_maker.log_scale"]
    save_file(kept, tmp_path / FILE)
    with pytest.raises(ArtifactMismatch, match=r"expected .*'log_scale': \(1,\)"):
        CrossLingualModel.from_pretrained(tmp_path)


@pytest.mark.parametrize("scale", [0, -1, "free"])
def test_a_length_is_positive_or_learned(scale: object) -> None:
    with pytest.raises(ValidationError, match="scale"):
        ConnectionConfig.model_validate({"scale": scale})
