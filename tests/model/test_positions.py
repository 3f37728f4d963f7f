"""`connection.positions`: several of the last prompt positions, against the method written out row by row."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.inference.carried import mean_carried_vector
from cc_tuning.inference.loglikelihoods import score_candidates
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.normalisation import ActivationMoments
from cc_tuning.model.serving_export import check_served
from cc_tuning.model.several_positions import last_positions
from cc_tuning.model.transform_matrix import TransformMatrix
from cc_tuning.transform.activations import SampledPair
from cc_tuning.transform.strength import connection_strength
from tests.model.test_connected_pass import NOISE, gradients, rows_of
from tests.model.test_connection_variants import PLACES, loss_and_gradients, worst_relative
from tests.model.tiny_connected import FAMILIES, HIDDEN, LAYERS, left_padded, random_prompts, tiny_model, training_batch
from tests.reference.connection import choose_layer, run_row, straight_through, token_mean_loss

N, NEW = 3, 4
SAME: dict[str, Any] = {"target": "same", "selector": "every"}
VARIANTS: list[dict[str, Any]] = [{}, {"selector": "mean", "normalise": "centred", "scale": 0.5}, SAME | {"scale": 1.0}]


def model_of(family: str, positions: int = N, **connection: Any) -> CrossLingualModel:
    """A tiny model with statistics of each position where it needs any."""
    model = tiny_model(family, ConnectionConfig.model_validate({"positions": positions, **connection}))
    if model.connection.normalise != "none":
        batch = left_padded(random_prompts(tuple(range(4, 15)), seed=11))
        moments = ActivationMoments(model.read_activations, HIDDEN, model.device)
        last = torch.full((11,), batch["input_ids"].shape[1] - 1 - model.connection.offset)
        moments.add(model.activations(**batch, positions=last))
        model.normalisation.use(moments.summed(lambda tensor: tensor))
    return model


def statistics(model: CrossLingualModel, distance: int) -> Tensor | None:
    """The mean `[L, D]` of the position so many tokens before t*."""
    mean = model.normalisation.mean
    return None if mean is None else mean[distance * LAYERS : (distance + 1) * LAYERS]


def vectors_of(
    model: CrossLingualModel, prompt: Tensor, t: int, other: Tensor, other_t: int, connection: str, noise: Tensor | None
) -> dict[int, Tensor]:
    """What is added at each position of `prompt` with t* at `t`, one after the other; `other` is what is read."""
    added = {}
    for distance in range(model.connection.positions):
        if t - distance < 0 or other_t - distance < 0:
            continue
        with torch.no_grad():
            _, source = run_row(model.base, other, other_t - distance, site=model.connection.site)
            if connection == "transform":
                source = source @ model.transform_matrix.to(source)
        mean = statistics(model, distance)
        source = source if mean is None else source - mean
        if model.connection.selector == "every":
            added[t - distance] = source
        elif model.connection.selector == "mean":
            added[t - distance] = source.mean(0)
        elif noise is None:
            token = prompt[t - distance]
            added[t - distance] = source[choose_layer(model.base, model.decision_maker.weight, source, token)]
        else:
            embedding = model.base.model.embed_tokens(prompt[t - distance])
            g = straight_through((source + embedding).mean(0) @ model.decision_maker.weight, noise, 1.0)
            added[t - distance] = torch.stack([g[layer] * source[layer] for layer in range(LAYERS)]).sum(0)
    return added


def logits_with(model: CrossLingualModel, ids: Tensor, added: dict[int, Tensor]) -> Tensor:
    """Of a full pass over `ids` in which these vectors are added at their positions."""
    share, site = model.connection.share, model.connection.site
    return run_row(model.base, ids, 0, earlier=added, share=share, gate=model.decision_maker.gate, site=site)[0]


def answer(model: CrossLingualModel, prompt: list[int], other: list[int], connection: str) -> list[int]:
    """The greedy continuation, by reading the whole text again for each token."""
    offset, ids = model.connection.offset, list(prompt)
    at = (len(prompt) - 1 - offset, torch.tensor(other), len(other) - 1 - offset)
    with torch.no_grad():
        added = vectors_of(model, torch.tensor(prompt), *at, connection, None)
        for _ in range(NEW):
            ids.append(int(logits_with(model, torch.tensor(ids), added)[-1].argmax()))
    return ids[len(prompt) :]


@pytest.mark.parametrize("variant", VARIANTS, ids=["paper", "mean", "same"])
@pytest.mark.parametrize(("family", "site"), PLACES)
def test_training_equals_the_method_row_by_row(family: str, site: str, variant: dict[str, Any]) -> None:
    model, batch = model_of(family, site=site, **variant), training_batch()
    if model.connection.selector == "decision_maker":  # at the size of a fresh one the gradient is rounding
        torch.nn.init.normal_(model.decision_maker.weight, std=0.3)
    loss, got = loss_and_gradients(model, batch)
    slow = copy.deepcopy(model).to(torch.float32 if family in ("qwen3_moe", "mixtral") else torch.float64)
    slow.zero_grad()
    total, tokens = torch.zeros(()), 0
    for row, noise in zip(rows_of(batch), NOISE, strict=True):
        at = (int(row["position"]), row["english"], int(row["english_position"]))
        added = vectors_of(slow, row["ids"], *at, "parallel", noise.to(slow.base.dtype))
        row_loss, count = token_mean_loss(logits_with(slow, row["ids"], added), row["labels"])
        total, tokens = total + row_loss, tokens + count
    expected = total / tokens
    expected.backward()
    assert abs(loss - expected.item()) <= 1e-5
    assert worst_relative({name: grad.double() for name, grad in got.items()}, gradients(slow)) <= 2e-3


@pytest.mark.parametrize("offset", [0, 2])
@pytest.mark.parametrize("variant", [{}, SAME | {"scale": 1.0, "gate": "state"}], ids=["paper", "same"])
@pytest.mark.parametrize("connection", ["transform", "parallel", "identity"])
@pytest.mark.parametrize("family", FAMILIES)
def test_answers_equal_reading_the_whole_text_again(
    family: str, connection: str, variant: dict[str, Any], offset: int
) -> None:
    """Among the prompts one that has fewer tokens, and beside another an English one that has."""
    model = model_of(family, offset=offset, **variant)
    if model.decision_maker.gate is not None:
        torch.nn.init.normal_(model.decision_maker.gate, std=0.2)
    rows, english = random_prompts((offset + 1, 11, 8)), random_prompts((6, 9, offset + 2), seed=8)
    side = {f"english_{name}": tensor for name, tensor in left_padded(english, padding=2).items()}
    given = side if connection == "parallel" else {}
    settings: dict[str, Any] = {"connection": connection, "max_new_tokens": NEW, "do_sample": False}
    output = model.generate(**left_padded(rows, padding=1), **given, **settings)
    for b, row in enumerate(rows):
        assert output[b, -NEW:].tolist() == answer(model, row, english[b] if given else row, connection)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("variant", VARIANTS, ids=["paper", "mean", "same"])
def test_batched_answers_equal_single_answers(variant: dict[str, Any], cache: str) -> None:
    model, rows = model_of("llama", **variant), random_prompts((5, 11, 8, 1, 2))

    def answers(asked: list[list[int]], **more: Any) -> list[list[int]]:
        settings = {"max_new_tokens": NEW, "do_sample": False, "cache_implementation": cache} | more
        return model.generate(**left_padded(asked), **settings)[:, -NEW:].tolist()

    alone = [answers([row])[0] for row in rows]
    assert answers(rows) == alone
    beams = answers(rows, num_beams=2)
    assert beams == [answers([row], num_beams=2)[0] for row in rows]


def test_each_position_is_read_as_if_it_were_t_star() -> None:
    batch, one, several = training_batch(), model_of("llama", positions=1), model_of("llama")
    ids, mask, last = (batch[f"english_{name}"] for name in ("input_ids", "attention_mask", "positions"))
    got = several.activations(ids, mask, last)
    assert got.shape == (3, N * LAYERS, HIDDEN)
    for distance, of_position in enumerate(got.unflatten(1, (N, LAYERS)).unbind(1)):
        assert (of_position - one.activations(ids, mask, last - distance)).abs().max() <= 1e-4


@pytest.mark.parametrize("english_gradient", [False, True], ids=["detached", "english-gradient"])
@pytest.mark.parametrize(("family", "site"), [PLACES[0], ("gemma3_text", "contribution"), ("olmo2", "block_output")])
def test_checkpointing_and_the_cosine_change_no_gradient(family: str, site: str, english_gradient: bool) -> None:
    model, batch = model_of(family, site=site, english_gradient=english_gradient, **SAME), training_batch()
    plain_loss, plain = loss_and_gradients(model, batch)
    model.activation_checkpointing_enable()
    model.zero_grad()
    output = model(**batch, measures_cosine=True)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(plain_loss, abs=1e-6)
    assert worst_relative(gradients(model), plain) <= 1e-4
    assert output.selection_cosine.shape == (3,)
    assert output.selection.shape == (3, LAYERS)


def test_right_and_left_padding_train_alike() -> None:
    model, batch = model_of("llama", positions=6, scale=0.5, selector="mean"), training_batch()
    rolled = dict(batch)
    for side, position in (("", "connection_positions"), ("english_", "english_positions")):
        padding = (batch[f"{side}attention_mask"] == 0).sum(1)
        for name in [f"{side}input_ids", f"{side}attention_mask", *([] if side else ["labels"])]:
            rows = zip(batch[name], padding.tolist(), strict=True)
            rolled[name] = torch.stack([row.roll(shift) for row, shift in rows])
        rolled[position] = batch[position] + padding
    loss, got = loss_and_gradients(model, batch)
    other_loss, other = loss_and_gradients(model, rolled)
    assert other_loss == pytest.approx(loss, abs=1e-6)
    assert worst_relative(other, got) <= 1e-4


def test_columns_before_the_prompt_are_no_tokens() -> None:
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])
    columns, present = last_positions(torch.tensor([3, 1]), mask, 3)
    assert columns.tolist() == [[3, 2, 1], [1, 0, 0]]
    assert present.tolist() == [[True, True, False], [True, True, False]]


def test_a_conversation_goes_on_with_the_positions_of_its_new_turn() -> None:
    """What is in the cache stays as it is: of five positions those of the answer's last token, which no pass has read
    yet, and of a turn of two tokens.
    """
    model, (first, second) = model_of("llama", 5), random_prompts((6, 2))
    settings: dict[str, Any] = {"max_new_tokens": NEW, "do_sample": False, "return_dict_in_generate": True}
    turn = model.generate(**left_padded([first]), connection="identity", **settings)
    whole = [*turn.sequences[0].tolist(), *second]
    got = model.generate(
        **left_padded([whole]), connection="identity", past_key_values=turn.past_key_values, **settings
    )
    with torch.no_grad():
        earlier = vectors_of(model, torch.tensor(first), 5, torch.tensor(first), 5, "identity", None)
        t = len(whole) - 1
        added = dict(earlier)
        for place in (t, t - 1, t - 2):
            # Own activations of the new turn after the connected earlier one.
            _, source = run_row(model.base, torch.tensor(whole), place, earlier=earlier)
            layer = choose_layer(model.base, model.decision_maker.weight, source, torch.tensor(whole[place]))
            added[place] = source[layer]
        ids = list(whole)
        for _ in range(NEW):
            ids.append(int(logits_with(model, torch.tensor(ids), added)[-1].argmax()))
    assert got.sequences[0].tolist() == ids


def test_controls_are_those_of_full_passes() -> None:
    model = model_of("llama", selector="mean", normalise="centred")
    rows, english = random_prompts((2, 11, 8)), random_prompts((4, 6, 9), seed=8)
    prompts = [Prompt(str(b), row, english_input_ids=english[b]) for b, row in enumerate(rows)]
    constant = mean_carried_vector(model, prompts, 2)
    assert constant.shape == (N, HIDDEN)
    for connection in ("parallel", "other", "constant", "off"):
        given = constant if connection == "constant" else None
        scores = score_candidates(model, prompts, [[[5, 9]]] * 3, connection, given)  # type: ignore[arg-type]
        for b, row in enumerate(rows):
            t, ids = len(row) - 1, torch.tensor([*row, 5, 9])
            at = (t, torch.tensor(english[b]), len(english[b]) - 1)
            added = {} if connection == "off" else vectors_of(model, ids, *at, "parallel", None)
            if connection == "constant":
                added = {place: constant[t - place] for place in added}
            with torch.no_grad():
                steps = logits_with(model, ids, added)[t:-1].log_softmax(-1)
            assert scores[b][0].log_likelihood == pytest.approx(float(steps[0, 5] + steps[1, 9]), abs=1e-4)


def test_a_map_may_read_all_positions_and_predict_each(tmp_path: Path) -> None:
    model, (row,) = model_of("llama"), random_prompts((8,))
    generator, size = torch.Generator().manual_seed(3), N * LAYERS * HIDDEN
    factors = (torch.randn(size, 5, generator=generator) / size**0.5, torch.randn(5, size, generator=generator))
    model.set_transform(TransformMatrix(factors[0], None, factors[1], "all_layers"))
    model.save_pretrained(tmp_path)
    loaded = CrossLingualModel.from_pretrained(tmp_path)
    assert loaded.connection.positions == N
    own = torch.cat([run_row(model.base, torch.tensor(row), 7 - distance)[1] for distance in range(N)])
    predicted = (own.detach().flatten() @ factors[0] @ factors[1]).view(N, LAYERS, HIDDEN)
    added = {}
    for distance in range(N):
        token = torch.tensor(row[7 - distance])
        layer = choose_layer(model.base, model.decision_maker.weight, predicted[distance], token)
        added[7 - distance] = predicted[distance, layer]
    ids = list(row)
    for _ in range(NEW):
        ids.append(int(logits_with(model, torch.tensor(ids), added)[-1].argmax()))
    assert loaded.generate(**left_padded([row]), max_new_tokens=NEW, do_sample=False)[0].tolist() == ids


def test_strength_is_that_of_t_star() -> None:
    pairs = [SampledPair(str(b), row, row) for b, row in enumerate(random_prompts())]
    one, several = (connection_strength(model_of("llama", n, selector="mean"), pairs, 2, 0) for n in (1, N))
    assert several == pytest.approx(one, rel=1e-5)


def test_what_cannot_have_several_positions_is_refused_by_name() -> None:
    model, (row,) = model_of("gemma3_text"), random_prompts((12,))
    with pytest.raises(UnsupportedModel, match=r"connection\.positions is 3, which is not served"):
        check_served(model.connection)
    with pytest.raises(ConfigError, match="static cache whose sliding window"):
        model.generate(**left_padded([row]), max_new_tokens=2, cache_implementation="static")
    with pytest.raises(ConfigError, match="of them are in its last chunk"):
        model.generate(**left_padded([row]), max_new_tokens=2, prefill_chunk_size=5)
    with pytest.raises(ConfigError, match="features 'pooled'"):
        model.activations_with_pooled(**left_padded([row]), positions=torch.tensor([11]))
