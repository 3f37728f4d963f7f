"""`connection.target: same`: each layer's English activation in the same layer, against the method row by row."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.inference.carried import mean_carried_vector
from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.serving_export import check_served
from tests.model.normalised import for_reference, normalised_model
from tests.model.test_connected_pass import NOISE, assert_close, gradients, rows_of
from tests.model.test_connection_variants import PLACES, loss_and_gradients, worst_relative
from tests.model.tiny_connected import FAMILIES, HIDDEN, LAYERS, left_padded, random_prompts, training_batch
from tests.reference.connection import answer_row, normalised, run_row, training_loss

SAME: dict[str, Any] = {"target": "same", "selector": "every"}
MODES: list[dict[str, Any]] = [{}, {"normalise": "standardised", "scale": 0.5}]
NEW = 4


@pytest.mark.parametrize("mode", MODES, ids=["as-it-is", "scaled"])
@pytest.mark.parametrize(("family", "site"), PLACES)
def test_training_equals_the_method_row_by_row(family: str, site: str, mode: dict[str, Any]) -> None:
    model, batch = normalised_model(family, site=site, **SAME, **mode), training_batch()
    loss, got = loss_and_gradients(model, batch)
    model.zero_grad()
    expected = training_loss(
        model.base,
        None,
        rows_of(batch),
        NOISE,
        site=site,
        selector="every",
        statistics=for_reference(model),
        share=model.connection.share,
    )
    expected.backward()
    assert abs(loss - expected.item()) <= 1e-5
    assert_close(got, gradients(model), 5e-5)


@pytest.mark.parametrize("english_gradient", [False, True], ids=["detached", "english-gradient"])
@pytest.mark.parametrize(("family", "site"), [PLACES[0], ("gemma3_text", "contribution"), ("olmo2", "block_output")])
def test_learned_scale_and_english_gradient_equal_the_method_in_float64(
    family: str, site: str, english_gradient: bool
) -> None:
    changes: dict[str, Any] = {"site": site, "english_gradient": english_gradient, "scale": "learned"}
    model, batch = normalised_model(family, normalise="centred", **SAME, **changes), training_batch()
    with torch.no_grad():
        model.decision_maker.log_scale.fill_(-0.4)
    loss, got = loss_and_gradients(model, batch)
    slow = copy.deepcopy(model).double()
    slow.zero_grad()
    expected = training_loss(
        slow.base,
        None,
        rows_of(batch),
        NOISE.double(),
        site=site,
        selector="every",
        english_gradient=english_gradient,
        statistics=for_reference(slow),
        share=slow.decision_maker.log_scale.exp(),  # type: ignore[arg-type]
    )
    expected.backward()
    assert abs(loss - expected.item()) <= 1e-5
    assert got["decision_maker.log_scale"].abs() > 1e-4
    assert worst_relative({name: grad.double() for name, grad in got.items()}, gradients(slow)) <= 2e-3


@pytest.mark.parametrize("english_gradient", [False, True], ids=["detached", "english-gradient"])
@pytest.mark.parametrize(("family", "site"), PLACES)
def test_checkpointing_gives_the_same_gradients(family: str, site: str, english_gradient: bool) -> None:
    changes: dict[str, Any] = {"english_gradient": english_gradient, "site": site}
    model, batch = normalised_model(family, normalise="centred", scale=0.5, **SAME, **changes), training_batch()
    plain_loss, plain = loss_and_gradients(model, batch)
    model.activation_checkpointing_enable()
    loss, got = loss_and_gradients(model, batch)
    assert loss == pytest.approx(plain_loss, abs=1e-6)
    assert worst_relative(got, plain) <= 1e-4


def vectors_for(model: CrossLingualModel, ids: list[int], connection: str) -> Tensor:
    """What each layer gets, `[L, D]`, from the prompt that the mode reads."""
    source = run_row(model.base, torch.tensor(ids), len(ids) - 1 - model.connection.offset)[1]
    if connection == "transform":
        source = source @ model.transform_matrix
    return normalised(source, *for_reference(model))


@pytest.mark.parametrize("mode", MODES, ids=["as-it-is", "scaled"])
@pytest.mark.parametrize("connection", ["transform", "parallel", "identity"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_full_passes_without_a_cache(family: str, connection: str, mode: dict[str, Any]) -> None:
    model = normalised_model(family, offset=1, **SAME, **mode)
    rows, english = random_prompts(), random_prompts((4, 6, 9), seed=8)
    side = {f"english_{name}": tensor for name, tensor in left_padded(english, padding=2).items()}
    generation = model.generate_with_selection(
        **left_padded(rows, padding=3),
        connection=connection,
        **(side if connection == "parallel" else {}),
        max_new_tokens=NEW,
        do_sample=False,
    )
    assert generation.selected_layer is None
    for b, row in enumerate(rows):
        with torch.no_grad():
            vectors = vectors_for(model, english[b] if connection == "parallel" else row, connection)
            expected = answer_row(model.base, row, 1, NEW, vectors, share=model.connection.share)
        assert generation.output[b, -NEW:].tolist() == expected


@pytest.mark.parametrize("settings", [{}, {"num_beams": 3}, {"cache_implementation": "static"}], ids=str)
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_batched_answers_equal_single_answers(family: str, settings: dict[str, Any]) -> None:
    model, rows = normalised_model(family, normalise="centred", scale=1.0, **SAME), random_prompts((5, 11, 8, 1))

    def answers(asked: list[list[int]]) -> list[list[int]]:
        return model.generate(**left_padded(asked), max_new_tokens=NEW, do_sample=False, **settings)[:, -NEW:].tolist()

    assert answers(rows) == [answers([row])[0] for row in rows]


def test_right_and_left_padding_train_alike() -> None:
    model, batch = normalised_model("llama", scale=0.5, **SAME), training_batch()
    rolled = dict(batch)
    for side, position in (("", "connection_positions"), ("english_", "english_positions")):
        mask = batch[f"{side}attention_mask"]
        padding = mask.shape[1] - mask.sum(1)
        names = [f"{side}input_ids", f"{side}attention_mask"] + ([] if side else ["labels"])
        for name in names:
            rows = zip(batch[name], padding.tolist(), strict=True)
            rolled[name] = torch.stack([row.roll(shift) for row, shift in rows])
        rolled[position] = batch[position] + padding
    loss, got = loss_and_gradients(model, batch)
    other_loss, other = loss_and_gradients(model, rolled)
    assert other_loss == pytest.approx(loss, abs=1e-6)
    assert worst_relative(other, got) <= 1e-4


def test_controls_and_likelihoods_are_those_of_full_passes() -> None:
    """`constant` is the mean of each layer's vector; `other` reads another English prompt; `off` adds nothing."""
    model = normalised_model("llama", normalise="centred", scale=1.0, **SAME)
    rows, english = random_prompts(), random_prompts((4, 6, 9), seed=8)
    prompts = [Prompt(str(b), row, is_english=False, english_input_ids=english[b]) for b, row in enumerate(rows)]
    constant = mean_carried_vector(model, prompts, 2)
    assert constant.shape == (LAYERS, HIDDEN)
    with torch.no_grad():
        units = torch.stack([vectors_for(model, ids, "parallel") for ids in english])
        units = units / units.norm(dim=-1, keepdim=True)
    assert (constant - units.mean(0)).abs().max() <= 1e-5
    candidates = [[[5, 9]], [[7]], [[3, 2, 1]]]
    for connection in ("off", "parallel", "other", "identity", "constant"):
        given = constant if connection == "constant" else None
        scores = score_candidates(model, prompts, candidates, connection, given)  # type: ignore[arg-type]
        for b, row in enumerate(rows):
            of_row = {"constant": constant, "identity": None, "off": None}.get(connection, units[b])
            if connection == "identity":
                of_row = vectors_for(model, row, "identity")
            expected = log_likelihood(model, row, candidates[b][0], of_row, connection != "constant")
            assert scores[b][0].log_likelihood == pytest.approx(expected, abs=1e-4)
            assert scores[b][0].selected_layer is None


@torch.no_grad()
def log_likelihood(
    model: CrossLingualModel, row: list[int], continuation: list[int], vectors: Tensor | None, is_direction: bool
) -> float:
    """Of `continuation` after `row`, by one full pass; a constant is added as long as it comes out."""
    if vectors is not None and not is_direction:
        f = own_contributions(model, row, vectors)
        logits = run_row(model.base, torch.tensor(row + continuation), len(row) - 1, f)[0]
    else:
        share = model.connection.share
        logits = run_row(model.base, torch.tensor(row + continuation), len(row) - 1, vectors, share=share)[0]
    steps = logits[len(row) - 1 : -1].log_softmax(-1)
    return float(steps[torch.arange(len(continuation)), continuation].sum())


def own_contributions(model: CrossLingualModel, row: list[int], vectors: Tensor) -> Tensor:
    """`||f_l|| v_l` with `f_l` of the pass in which the layers before `l` had theirs: found layer by layer."""
    added = torch.zeros_like(vectors)
    for layer in range(len(vectors)):
        f = run_row(model.base, torch.tensor(row), len(row) - 1, added)[1]
        added[layer] = f[layer].norm() * vectors[layer]
    return added


def test_only_the_position_and_what_follows_it_change() -> None:
    model, (row,) = normalised_model("llama", **SAME), random_prompts((8,))
    ids = torch.tensor([[*row, 4, 5]])
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "connection_positions": torch.tensor([7])}
    english = {f"english_{name}": batch[name] for name in ("input_ids", "attention_mask")}
    with torch.no_grad():
        connected = model(**batch, **english, english_positions=torch.tensor([7])).logits
        plain = model.base(input_ids=ids).logits
    assert torch.equal(connected[:, :7], plain[:, :7])
    assert ((connected[:, 7:] - plain[:, 7:]).abs().amax(-1) > 1e-3).all()


def test_a_saved_one_is_the_same_model_and_keeps_no_weight_of_a_choice(tmp_path: Path) -> None:
    model = normalised_model("gemma3_text", normalise="centred", scale=0.5, **SAME)
    assert not list(model.decision_maker.parameters())
    model.save_pretrained(tmp_path)
    loaded = CrossLingualModel.from_pretrained(tmp_path)
    assert loaded.connection == model.connection
    batch = left_padded(random_prompts())
    assert torch.equal(loaded.generate(**batch, max_new_tokens=NEW), model.generate(**batch, max_new_tokens=NEW))


@pytest.mark.parametrize("changes", [{"target": "same"}, {"selector": "every"}, {"target": "same", "selector": "mean"}])
def test_target_and_selector_are_refused_one_without_the_other(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="`target: same` and `selector: every`"):
        ConnectionConfig.model_validate(changes)


def test_serving_and_noise_are_refused_by_name() -> None:
    with pytest.raises(UnsupportedModel, match=r"connection\.selector is 'every', which is not served"):
        check_served(ConnectionConfig.model_validate(SAME))
    with pytest.raises(ConfigError, match="gumbel_noise for the selector 'every'"):
        normalised_model("llama", **SAME)(**training_batch(), gumbel_noise=NOISE)
