"""Log-likelihoods: those of a plain forward pass, with the connection those of the method written out row by row.

`other` is asked with the English prompt of another item, so to an engine it is `parallel`; here each prompt keeps the
English prompt that it has.
"""

import itertools
from dataclasses import replace
from typing import get_args

import pytest
import torch

from cc_tuning.errors import ConfigError, PromptNotFound
from cc_tuning.inference.carried import mean_carried_vector
from cc_tuning.inference.loglikelihoods import ContinuationScore, score_candidates, score_continuations
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import ConnectionConfig, ConnectionMode, CrossLingualModel, Selector
from cc_tuning.model.decision_maker import Decision
from cc_tuning.model.families import find_components
from cc_tuning.model.positions import Prompts
from tests.model.tiny_connected import FAMILIES, VOCABULARY, tiny_model
from tests.reference.connection import choose_layer, connection_vector, run_row

GENERATOR = torch.Generator().manual_seed(3)
PROMPTS = [
    Prompt(
        str(row),
        torch.randint(5, VOCABULARY, (length,), generator=GENERATOR).tolist(),
        torch.randint(5, VOCABULARY, (english,), generator=GENERATOR).tolist(),
    )
    for row, (length, english) in enumerate([(9, 4), (5, 11), (14, 6), (3, 3)])
]
CONTINUATIONS = [torch.randint(5, VOCABULARY, (length,), generator=GENERATOR).tolist() for length in (1, 6, 3, 2)]
CONNECTIONS = get_args(ConnectionMode)
MODELS = [(family, 0) for family in FAMILIES] + [("llama", 1)]


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: f"{model[0]}-offset-{model[1]}")
def model(request: pytest.FixtureRequest) -> CrossLingualModel:
    family, offset = request.param
    return tiny_model(family, ConnectionConfig(offset=offset))


def summed(logits: torch.Tensor, prompt: list[int], continuation: list[int]) -> tuple[float, bool]:
    """The log-likelihood of `continuation` by the logits of one whole row, token by token."""
    total, is_greedy = 0.0, True
    for step, token in enumerate(continuation, start=len(prompt)):
        distribution = logits[step - 1].log_softmax(-1)
        total += float(distribution[token])
        is_greedy = is_greedy and int(distribution.argmax()) == token
    return total, is_greedy


def score(
    model: CrossLingualModel, prompts: list[Prompt], continuations: list[list[int]], connection: ConnectionMode
) -> list[ContinuationScore]:
    """The scores by `connection`, the constant being the mean over all of `PROMPTS`."""
    constant = mean_carried_vector(model, PROMPTS, batch_size=3) if connection == "constant" else None
    candidates = [[ids] for ids in continuations]
    return [one for (one,) in score_candidates(model, prompts, candidates, connection, constant)]


@torch.no_grad()
def slow_vector(
    model: CrossLingualModel, prompt: Prompt, connection: ConnectionMode
) -> tuple[torch.Tensor | None, int | None]:
    """What is added at t*, and the layer it is of."""
    if connection == "constant":
        vectors = [slow_vector(model, one, "parallel")[0] for one in PROMPTS]
        return sum(vectors, torch.zeros(())) / len(PROMPTS), None  # type: ignore[arg-type]
    ids, offset = list(prompt.input_ids), model.connection.offset
    weight = model.decision_maker.weight
    assert isinstance(weight, torch.Tensor)
    if connection == "transform":
        assert isinstance(model.transform_matrix, torch.Tensor)
        return connection_vector(model.base, weight, model.transform_matrix, ids, offset)
    if connection == "off":
        return None, None
    read = ids if connection == "identity" else list(prompt.english_input_ids or ())
    _, source = run_row(model.base, torch.tensor(read), len(read) - 1 - offset)
    layer = choose_layer(model.base, weight, source, torch.tensor(ids[len(ids) - 1 - offset]))
    return source[layer], layer


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_they_equal_a_slow_forward_pass_with_the_vector_added_at_the_last_prompt_token(
    model: CrossLingualModel, connection: ConnectionMode
) -> None:
    for prompt, continuation, score_ in zip(
        PROMPTS, CONTINUATIONS, score(model, PROMPTS, CONTINUATIONS, connection), strict=True
    ):
        ids = list(prompt.input_ids)
        vector, layer = slow_vector(model, prompt, connection)
        with torch.no_grad():
            logits, _ = run_row(
                model.base, torch.tensor([*ids, *continuation]), len(ids) - 1 - model.connection.offset, vector
            )
        total, is_greedy = summed(logits, ids, continuation)
        assert score_.log_likelihood == pytest.approx(total, abs=1e-5 * len(continuation), rel=1e-5)
        assert (score_.is_greedy, score_.tokens) == (is_greedy, len(continuation))
        assert score_.selected_layer == layer


def test_the_connection_changes_them(model: CrossLingualModel) -> None:
    totals = {
        connection: [one.log_likelihood for one in score(model, PROMPTS, CONTINUATIONS, connection)]
        for connection in CONNECTIONS
        if connection != "other"
    }
    if find_components(model.base).changes_ffn_output:
        # Where the prompt's own first layer is chosen, a norm follows on 2 f_1, which takes the factor out.
        del totals["identity"]
    for one, other in itertools.combinations(totals.values(), 2):
        assert all(abs(a - b) > 1e-3 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("connection", CONNECTIONS)
def test_a_batch_gives_what_each_row_gives_alone(model: CrossLingualModel, connection: ConnectionMode) -> None:
    together = score(model, PROMPTS, CONTINUATIONS, connection)
    alone = [
        score(model, [prompt], [continuation], connection)[0]
        for prompt, continuation in zip(PROMPTS, CONTINUATIONS, strict=True)
    ]
    assert_close(together, alone)


CANDIDATES = [[[5], [6, 7], [8]], [[9, 10, 11]], [[5], [6]], [[7, 8], [5], [7, 8], [9, 10, 11, 12]]]


@pytest.mark.parametrize("connection", ["off", "transform", "parallel"])
def test_candidates_of_one_prompt_get_what_each_gets_by_a_pass_of_its_own(
    model: CrossLingualModel, connection: ConnectionMode
) -> None:
    together = score_candidates(model, PROMPTS, CANDIDATES, connection)
    assert [len(of_prompt) for of_prompt in together] == [3, 1, 2, 4]
    for prompt, candidates, scores in zip(PROMPTS, CANDIDATES, together, strict=True):
        vector, _ = slow_vector(model, prompt, connection)
        totals = []
        for candidate in candidates:
            ids = torch.tensor([*prompt.input_ids, *candidate])
            with torch.no_grad():
                logits, _ = run_row(model.base, ids, len(prompt.input_ids) - 1 - model.connection.offset, vector)
            totals.append(summed(logits, list(prompt.input_ids), candidate)[0])
        found = [one.log_likelihood for one in scores]
        assert found == pytest.approx(totals, abs=1e-4, rel=1e-5)
        # Equal candidates tie, so the ranking is over different ones.
        places = sorted({tuple(ids): place for place, ids in enumerate(candidates)}.values())
        assert sorted(places, key=lambda at: found[at]) == sorted(places, key=lambda at: totals[at])


def test_a_candidate_of_one_token_costs_no_pass_and_a_prompt_is_read_once(model: CrossLingualModel) -> None:
    read: list[tuple[int, ...]] = []
    decoder = find_components(model.base).decoder
    handle = decoder.register_forward_pre_hook(
        lambda module, inputs, arguments: read.append(tuple(arguments["input_ids"].shape)), with_kwargs=True
    )
    score_candidates(model, PROMPTS[:2], [[[5], [6], [7]], [[8], [9]]], "off")
    score_candidates(model, PROMPTS[:2], [[[5], [6, 7, 8]], [[9, 10]]], "off")
    handle.remove()
    assert read == [(2, 9), (2, 9), (2, 2)]


@pytest.mark.parametrize("selector", ["decision_maker", "mean", "random"])
def test_the_constant_is_the_mean_of_what_the_english_prompts_add(selector: Selector) -> None:
    model = tiny_model("llama", ConnectionConfig(selector=selector))
    vectors = []
    with torch.no_grad():
        for prompt in PROMPTS:
            ids, english = torch.tensor([prompt.input_ids]), torch.tensor([prompt.english_input_ids])
            own = Prompts.found_in(ids, torch.ones_like(ids), 0, "own")
            choice = model.choice("parallel", own, Prompts.found_in(english, torch.ones_like(english), 0, "English"))
            assert isinstance(choice, Decision)
            vectors.append(choice.vector[0])
    expected = torch.stack(vectors).mean(0)
    for batch_size in (1, 2, 4):
        assert torch.allclose(mean_carried_vector(model, PROMPTS, batch_size), expected, atol=1e-5)


def test_off_is_the_base_model_itself(model: CrossLingualModel) -> None:
    base = score_continuations(model.base, PROMPTS, CONTINUATIONS, "off")
    assert score_continuations(model, PROMPTS, CONTINUATIONS, "off") == base


def test_an_english_prompt_is_connected_with_itself_where_the_checkpoint_says_so() -> None:
    model = tiny_model("llama", ConnectionConfig(english="identity"))
    own = [replace(prompt, english_input_ids=prompt.input_ids) for prompt in PROMPTS]
    expected = score_continuations(model, own, CONTINUATIONS, "parallel")
    assert_close(
        score_continuations(model, [replace(prompt, is_english=True) for prompt in own], CONTINUATIONS, "transform"),
        expected,
    )
    others = score_continuations(model, own, CONTINUATIONS, "transform")
    assert all(abs(a.log_likelihood - b.log_likelihood) > 1e-3 for a, b in zip(others, expected, strict=True))


@pytest.mark.parametrize("connection", ["off", "transform", "parallel"])
def test_what_greedy_decoding_writes_is_the_greedy_continuation(
    model: CrossLingualModel, connection: ConnectionMode
) -> None:
    for prompt in PROMPTS:
        ids = torch.tensor([prompt.input_ids])
        arguments = {"max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False, "pad_token_id": 0}
        if connection == "parallel":
            english = torch.tensor([prompt.english_input_ids])
            arguments |= {"english_input_ids": english, "english_attention_mask": torch.ones_like(english)}
        output = model.generate(ids, torch.ones_like(ids), connection=connection, **arguments)
        assert isinstance(output, torch.Tensor)
        written = output[0, ids.shape[1] :].tolist()
        (score,) = score_continuations(model, [prompt], [written], connection)
        assert score.is_greedy
        (other,) = score_continuations(model, [prompt], [[*written[:-1], (written[-1] + 1) % VOCABULARY]], connection)
        assert not other.is_greedy


def test_the_probabilities_of_all_single_tokens_add_up_to_one(model: CrossLingualModel) -> None:
    tokens = range(model.config.vocab_size)
    scores = score_continuations(model, [PROMPTS[1]] * len(tokens), [[token] for token in tokens], "transform")
    assert torch.tensor([score.log_likelihood for score in scores]).exp().sum() == pytest.approx(1.0, abs=1e-4)
    assert sum(score.is_greedy for score in scores) == 1


def test_what_cannot_be_scored_is_named() -> None:
    model = tiny_model("llama", ConnectionConfig(offset=1))
    with pytest.raises(ConfigError, match=r"1 of 1 prompts have .* without a token, first \['0'\]"):
        score_continuations(model, PROMPTS[:1], [[]], "off")
    with pytest.raises(ConfigError, match=r"'parallel' needs an English prompt .*1 of 2 have none, first \['x'\]"):
        score_continuations(model, [PROMPTS[0], Prompt("x", [5, 6, 7])], [[5], [6]], "parallel")
    with pytest.raises(PromptNotFound):
        score_continuations(model, [Prompt("x", [5])], [[5]], "transform")
    with pytest.raises(ConfigError, match=r"'other' needs an English prompt .*1 of 1 have none"):
        score_continuations(model, [Prompt("x", [5, 6, 7])], [[5]], "other")
    with pytest.raises(ConfigError, match=r"connection='constant' got no constant vector"):
        score_continuations(model, PROMPTS, CONTINUATIONS, "constant")
    with pytest.raises(ConfigError, match=r"connection='parallel' got a constant vector"):
        score_candidates(model, PROMPTS[:1], [[[5]]], "parallel", torch.zeros(32))
    with pytest.raises(ConfigError, match="has no connection"):
        score_continuations(model.base, PROMPTS, CONTINUATIONS, "transform")


def assert_close(scores: list[ContinuationScore], expected: list[ContinuationScore]) -> None:
    for one, other in zip(scores, expected, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-5, rel=1e-5)
        assert (one.tokens, one.is_greedy, one.selected_layer) == (other.tokens, other.is_greedy, other.selected_layer)
