"""`connection.gate`: how much is added, decided by the state at t*, against the method row by row."""

import copy
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.inference.carried import mean_carried_vector
from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.injection import openness
from cc_tuning.model.serving_export import check_served
from cc_tuning.training.config import TrainConfig, TrainingConfig
from data_contracts.errors import ArtifactMismatch
from tests.model.normalised import for_reference, normalised_model
from tests.model.test_connected_pass import NOISE, gradients, rows_of
from tests.model.test_connection_variants import PLACES, loss_and_gradients, worst_relative
from tests.model.tiny_connected import FAMILIES, HIDDEN, LAYERS, left_padded, random_prompts, training_batch
from tests.reference.connection import answer_row, choose_layer, normalised, run_row, training_loss

FILE = "cross_lingual_connection.safetensors"
SAME: dict[str, Any] = {"target": "same", "selector": "every"}
VARIANTS: list[dict[str, Any]] = [{}, {"selector": "mean", "scale": 0.5}, SAME, SAME | {"scale": "learned"}]
NEW = 4


def gated_model(family: str, opens: float = 0.2, **connection: Any) -> CrossLingualModel:
    """One whose gate has random weights of the size `opens`."""
    model = normalised_model(family, gate="state", **connection)
    with torch.no_grad():
        gate = model.decision_maker.gate
        gate.copy_(opens * torch.randn(gate.shape, generator=torch.Generator().manual_seed(6)))
    return model


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize(("family", "site"), PLACES)
def test_loss_and_gradients_equal_the_method_row_by_row(family: str, site: str, variant: dict[str, Any]) -> None:
    """Those of the gate included; in the reference it is multiplied out one number after the other, and all is float64
    where the family's experts can have it.
    """
    model, batch = gated_model(family, site=site, **variant), training_batch()
    loss, got = loss_and_gradients(model, batch)
    assert (got["decision_maker.gate"].abs() > 1e-6).all()
    slow = copy.deepcopy(model).to(torch.float32 if family in ("qwen3_moe", "mixtral") else torch.float64)
    slow.zero_grad()
    share = slow.decision_maker.log_scale.exp() if variant.get("scale") == "learned" else slow.connection.share
    expected = training_loss(
        slow.base,
        slow.decision_maker.weight if slow.connection.selector == "decision_maker" else None,
        rows_of(batch),
        NOISE.to(slow.base.dtype),
        site=site,
        selector=slow.connection.selector,
        share=share,  # type: ignore[arg-type]
        gate=slow.decision_maker.gate,  # type: ignore[arg-type]
    )
    expected.backward()
    assert abs(loss - expected.item()) <= 1e-5
    assert worst_relative({name: grad.double() for name, grad in got.items()}, gradients(slow)) <= 2e-3


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_fresh_gate_changes_nothing_to_the_last_bit(family: str, variant: dict[str, Any]) -> None:
    plain, gated = normalised_model(family, **variant), normalised_model(family, gate="state", **variant)
    gated.load_state_dict(plain.state_dict(), strict=False)
    loss, expected = loss_and_gradients(plain, training_batch())
    got_loss, got = loss_and_gradients(gated, training_batch())
    assert got_loss == loss
    assert got.pop("decision_maker.gate").abs().max() > 1e-5
    assert got.keys() == expected.keys()
    assert all(torch.equal(got[name], expected[name]) for name in expected)


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
@pytest.mark.parametrize(("family", "site"), [PLACES[0], ("gemma3_text", "contribution"), ("olmo2", "block_output")])
def test_checkpointing_gives_the_same_gradients(family: str, site: str, variant: dict[str, Any]) -> None:
    model, batch = gated_model(family, site=site, english_gradient=True, **variant), training_batch()
    plain_loss, plain = loss_and_gradients(model, batch)
    model.activation_checkpointing_enable()
    loss, got = loss_and_gradients(model, batch)
    assert loss == pytest.approx(plain_loss, abs=1e-6)
    assert worst_relative(got, plain) <= 1e-4


def test_gate_reads_the_direction_and_opens_from_0_to_2() -> None:
    f, gate = torch.randn(5, 8), torch.randn(9)
    expected = [2 / (1 + math.exp(-float(row / row.square().mean().sqrt() @ gate[:-1] + gate[-1]))) for row in f]
    assert torch.allclose(openness(f, gate)[:, 0], torch.tensor(expected), atol=1e-6)
    assert torch.allclose(openness(1000 * f, gate), openness(f, gate), atol=1e-5)
    assert torch.equal(openness(f, torch.zeros(9)), torch.ones(5, 1))
    assert openness(torch.zeros(1, 8), gate).isfinite().all()
    assert float(openness(f, torch.tensor([0.0] * 8 + [-50.0])).max()) < 1e-6
    assert float(openness(f, torch.tensor([0.0] * 8 + [50.0])).min()) == 2.0


@pytest.mark.parametrize("variant", [{"offset": 1}, SAME | {"normalise": "centred", "scale": 1.0}], ids=str)
@pytest.mark.parametrize("connection", ["transform", "parallel", "identity"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_full_passes_without_a_cache(family: str, connection: str, variant: dict[str, Any]) -> None:
    model = gated_model(family, **variant)
    rows, english = random_prompts(), random_prompts((4, 6, 9), seed=8)
    side = {f"english_{name}": tensor for name, tensor in left_padded(english, padding=2).items()}
    output = model.generate(
        **left_padded(rows, padding=3),
        connection=connection,
        **(side if connection == "parallel" else {}),
        max_new_tokens=NEW,
        do_sample=False,
    )
    offset = model.connection.offset
    for b, row in enumerate(rows):
        ids = english[b] if connection == "parallel" else row
        with torch.no_grad():
            vector = run_row(model.base, torch.tensor(ids), len(ids) - 1 - offset)[1]
            if connection == "transform":
                vector = vector @ model.transform_matrix
            vector = normalised(vector, *for_reference(model))
            if model.connection.chooses_layer:
                token = torch.tensor(row[len(row) - 1 - offset])
                vector = vector[choose_layer(model.base, model.decision_maker.weight, vector, token)]
            gate, share = model.decision_maker.gate, model.connection.share
            expected = answer_row(model.base, row, offset, NEW, vector, share=share, gate=gate)
        assert output[b, -NEW:].tolist() == expected


def test_the_constant_control_goes_through_the_gate() -> None:
    """A gate that is shut leaves nothing of any mode; one that is open to 2 adds twice the constant."""
    rows, english = random_prompts(), random_prompts((4, 6, 9), seed=8)
    prompts = [Prompt(str(b), row, english_input_ids=english[b]) for b, row in enumerate(rows)]
    model = gated_model("llama", opens=0.0)

    def scores(connection: str, constant: torch.Tensor | None = None) -> list[float]:
        scored = score_candidates(model, prompts, [[[5, 9]]] * 3, connection, constant)  # type: ignore[arg-type]
        return [one.log_likelihood for (one,) in scored]

    constant = mean_carried_vector(model, prompts, 2)
    off, twice = scores("off"), scores("constant", 2 * constant)
    model.decision_maker.gate.data[:, -1] = 50.0
    assert scores("constant", constant) == pytest.approx(twice, abs=1e-5)
    model.decision_maker.gate.data[:, -1] = -50.0
    for connection in ("constant", "parallel", "other", "identity", "transform"):
        assert scores(connection, constant if connection == "constant" else None) == pytest.approx(off, abs=1e-5)
    assert max(abs(a - b) for a, b in zip(twice, off, strict=True)) > 1e-3


@pytest.mark.parametrize(("variant", "targets"), [({"selector": "mean"}, 1), (SAME, LAYERS)], ids=["first", "same"])
def test_a_saved_one_answers_alike_and_keeps_its_gate_in_float32(
    variant: dict[str, Any], targets: int, tmp_path: Path
) -> None:
    model = gated_model("llama", **variant)
    model.save_pretrained(tmp_path)
    assert load_file(tmp_path / FILE)["decision_maker.gate"].shape == (targets, HIDDEN + 1)
    loaded = CrossLingualModel.from_pretrained(tmp_path)
    assert loaded.connection.gate == "state"
    assert torch.equal(loaded.decision_maker.gate, model.decision_maker.gate)
    batch = left_padded(random_prompts())
    assert torch.equal(loaded.generate(**batch, max_new_tokens=NEW), model.generate(**batch, max_new_tokens=NEW))
    narrow = CrossLingualModel.from_pretrained(tmp_path, dtype=torch.bfloat16)
    assert narrow.decision_maker.gate.dtype == torch.float32
    kept = load_file(tmp_path / FILE)
    del kept["decision_maker.gate"]
    save_file(kept, tmp_path / FILE)
    with pytest.raises(ArtifactMismatch, match=r"expected .*'gate'"):
        CrossLingualModel.from_pretrained(tmp_path)


def test_a_checkpoint_of_before_targets_and_gates_answers_as_it_did(tmp_path: Path) -> None:
    model = normalised_model("llama", normalise="centred", scale="learned", selector="mean")
    model.save_pretrained(tmp_path)
    file = tmp_path / "cross_lingual.json"
    content = json.loads(file.read_text())
    for name in ("target", "gate"):
        del content["connection"][name]
    file.write_text(json.dumps(content | {"format": 4}))
    loaded, batch = CrossLingualModel.from_pretrained(tmp_path), left_padded(random_prompts())
    assert loaded.connection == model.connection
    assert torch.equal(loaded.generate(**batch, max_new_tokens=NEW), model.generate(**batch, max_new_tokens=NEW))


def test_gate_has_the_rate_of_the_decision_maker_also_without_one() -> None:
    training = TrainingConfig(decision_maker_learning_rate=1e-2)
    connection = ConnectionConfig(selector="mean", gate="state")
    assert TrainConfig(objective="sft", training=training, connection=connection).training == training
    with pytest.raises(ConfigError, match="selector 'mean' and no gate, which has no Decision Maker"):
        TrainConfig(objective="sft", training=training, connection=ConnectionConfig(selector="mean"))


def test_serving_refuses_a_gate_by_name() -> None:
    with pytest.raises(UnsupportedModel, match=r"connection\.gate is 'state', which is not served; served is 'none'"):
        check_served(ConnectionConfig(gate="state"))
