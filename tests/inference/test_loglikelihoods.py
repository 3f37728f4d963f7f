"""Log-likelihoods: those of a plain forward pass, with the connection those of the method written out row by row."""

import itertools
from dataclasses import replace

import pytest
import torch

from cc_tuning.errors import ConfigError, PromptNotFound
from cc_tuning.inference.loglikelihoods import ContinuationScore, score_continuations
from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import ConnectionConfig, ConnectionMode, CrossLingualModel
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


@torch.no_grad()
def slow_vector(
    model: CrossLingualModel, prompt: Prompt, connection: ConnectionMode
) -> tuple[torch.Tensor | None, int]:
    """What is added at t*, and the layer it is of."""
    ids, offset = list(prompt.input_ids), model.connection.offset
    weight = model.decision_maker.weight
    assert isinstance(weight, torch.Tensor)
    if connection == "transform":
        assert isinstance(model.transform_matrix, torch.Tensor)
        return connection_vector(model.base, weight, model.transform_matrix, ids, offset)
    if connection == "parallel":
        english = torch.tensor(prompt.english_input_ids)
        _, source = run_row(model.base, english, len(english) - 1 - offset)
        layer = choose_layer(model.base, weight, source, torch.tensor(ids[len(ids) - 1 - offset]))
        return source[layer], layer
    return None, -1


@pytest.mark.parametrize("connection", ["off", "transform", "parallel"])
def test_they_equal_a_slow_forward_pass_with_the_vector_added_at_the_last_prompt_token(
    model: CrossLingualModel, connection: ConnectionMode
) -> None:
    scores = score_continuations(model, PROMPTS, CONTINUATIONS, connection)
    for prompt, continuation, score in zip(PROMPTS, CONTINUATIONS, scores, strict=True):
        ids = list(prompt.input_ids)
        vector, layer = slow_vector(model, prompt, connection)
        with torch.no_grad():
            logits, _ = run_row(
                model.base, torch.tensor([*ids, *continuation]), len(ids) - 1 - model.connection.offset, vector
            )
        total, is_greedy = summed(logits, ids, continuation)
        assert score.log_likelihood == pytest.approx(total, abs=1e-5 * len(continuation), rel=1e-5)
        assert (score.is_greedy, score.tokens) == (is_greedy, len(continuation))
        assert score.selected_layer == (None if connection == "off" else layer)


def test_the_connection_changes_them(model: CrossLingualModel) -> None:
    totals = {
        connection: [score.log_likelihood for score in score_continuations(model, PROMPTS, CONTINUATIONS, connection)]
        for connection in ("off", "transform", "parallel")
    }
    for one, other in itertools.combinations(totals.values(), 2):
        assert all(abs(a - b) > 1e-3 for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("connection", ["off", "transform", "parallel"])
def test_a_batch_gives_what_each_row_gives_alone(model: CrossLingualModel, connection: ConnectionMode) -> None:
    together = score_continuations(model, PROMPTS, CONTINUATIONS, connection)
    alone = [
        score_continuations(model, [prompt], [continuation], connection)[0]
        for prompt, continuation in zip(PROMPTS, CONTINUATIONS, strict=True)
    ]
    assert_close(together, alone)


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
    with pytest.raises(ConfigError, match=r"1 continuations have no token, first \['0'\]"):
        score_continuations(model, PROMPTS[:1], [[]], "off")
    with pytest.raises(ConfigError, match=r"'parallel' needs an English prompt .*1 of 2 have none, first \['x'\]"):
        score_continuations(model, [PROMPTS[0], Prompt("x", [5, 6, 7])], [[5], [6]], "parallel")
    with pytest.raises(PromptNotFound):
        score_continuations(model, [Prompt("x", [5])], [[5]], "transform")
    with pytest.raises(ConfigError, match="has no connection"):
        score_continuations(model.base, PROMPTS, CONTINUATIONS, "transform")


def assert_close(scores: list[ContinuationScore], expected: list[ContinuationScore]) -> None:
    for one, other in zip(scores, expected, strict=True):
        assert one.log_likelihood == pytest.approx(other.log_likelihood, abs=1e-5, rel=1e-5)
        assert (one.tokens, one.is_greedy, one.selected_layer) == (other.tokens, other.is_greedy, other.selected_layer)
