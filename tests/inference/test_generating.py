"""Generated answers: greedy ones whatever a checkpoint's defaults say, sampled ones by each prompt's own draws."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import PreTrainedTokenizerBase

from cc_tuning.errors import ConfigError
from cc_tuning.inference.generating import Answer, generate_answers
from cc_tuning.inference.jobs import Generate, Sampling
from cc_tuning.inference.prompts import Prompt, longest_first
from cc_tuning.model import ConnectionMode, CrossLingualModel, load_checkpoint
from tests.checkpoints import save_connected_checkpoint

STOP = (2,)
PROMPTS = [
    Prompt(f"item-{row}", list(range(20 + row, 20 + row + length)), list(range(40, 40 + length)))
    for row, length in enumerate([4, 12, 7, 3, 9])
]


@pytest.fixture(scope="module")
def model(
    tmp_path_factory: pytest.TempPathFactory, tiny_llama_directory: Path, tiny_tokenizer: PreTrainedTokenizerBase
) -> CrossLingualModel:
    folder = tmp_path_factory.mktemp("connected")
    loaded = load_checkpoint(save_connected_checkpoint(folder, tiny_llama_directory, tiny_tokenizer))
    assert isinstance(loaded, CrossLingualModel)
    loaded.set_transform_matrix(3 * torch.eye(32))
    return loaded


def sampled(seed: int = 0, temperature: float = 1.0, top_p: float = 1.0, tokens: int = 6) -> Generate:
    sampling = Sampling(temperature=temperature, top_p=top_p, seed=seed)
    return Generate(max_new_tokens=tokens, stop_token_ids=STOP, sampling=sampling)


@pytest.mark.parametrize("connection", ["off", "transform", "parallel"])
def test_sampled_answers_do_not_depend_on_the_batch_or_its_order(
    model: CrossLingualModel, connection: ConnectionMode
) -> None:
    together = generate_answers(model, PROMPTS, connection, sampled())
    reversed_batch = generate_answers(model, PROMPTS[::-1], connection, sampled())
    alone = [generate_answers(model, [prompt], connection, sampled())[0] for prompt in PROMPTS]
    assert together == reversed_batch[::-1] == alone


def test_seed_and_item_decide_the_draws(model: CrossLingualModel) -> None:
    first = generate_answers(model, PROMPTS, "off", sampled(seed=0))
    assert first == generate_answers(model, PROMPTS, "off", sampled(seed=0))
    assert first != generate_answers(model, PROMPTS, "off", sampled(seed=1))
    twins = [Prompt("a", PROMPTS[0].input_ids), Prompt("b", PROMPTS[0].input_ids)]
    one, other = generate_answers(model, twins, "off", sampled(tokens=8))
    assert one != other
    longer = generate_answers(model, PROMPTS, "off", sampled(tokens=9))
    assert [answer.token_ids[:6] for answer in longer] == [answer.token_ids for answer in first]


@pytest.mark.parametrize(("temperature", "top_p"), [(1.0, 1.0), (0.5, 1.0), (1.0, 0.6)])
def test_tokens_are_drawn_from_the_distribution_asked_for(
    model: CrossLingualModel, temperature: float, top_p: float
) -> None:
    prompt, draws = PROMPTS[1].input_ids, 3000
    with torch.no_grad():
        logits = model.base(torch.tensor([prompt])).logits[0, -1]
    expected = (logits.double() / temperature).softmax(-1).numpy()
    if top_p < 1:
        order = np.argsort(-expected)
        # The most likely tokens up to and with the one that reaches top_p.
        kept = order[: int(np.searchsorted(np.cumsum(expected[order]), top_p)) + 1]
        expected = np.where(np.isin(np.arange(len(expected)), kept), expected, 0.0)
        expected /= expected.sum()
    prompts = [Prompt(f"draw-{number}", prompt) for number in range(draws)]
    request = sampled(temperature=temperature, top_p=top_p, tokens=1).model_copy(update={"stop_token_ids": (319,)})
    answers = generate_answers(model, prompts, "off", request)
    tokens = [answer.token_ids[0] if answer.token_ids else 319 for answer in answers]
    found = np.bincount(tokens, minlength=len(expected)) / draws
    assert not found[expected == 0].any()
    # The total variation of a sample of n from k outcomes is below sqrt(k / n) / 2 on average.
    assert 0.5 * np.abs(found - expected).sum() < np.sqrt((expected > 0).sum() / draws)


def test_greedy_answers_ignore_the_generation_defaults_of_a_checkpoint(model: CrossLingualModel) -> None:
    request = Generate(max_new_tokens=8, stop_token_ids=STOP)
    before = generate_answers(model, PROMPTS, "transform", request)
    model.base.generation_config.repetition_penalty = 5.0
    model.base.generation_config.do_sample = True
    assert generate_answers(model, PROMPTS, "transform", request) == before


def test_an_answer_ends_before_its_first_stop_token(model: CrossLingualModel) -> None:
    request = Generate(max_new_tokens=8, stop_token_ids=(1_000_000,))  # no token
    whole = [answer.token_ids for answer in generate_answers(model, PROMPTS, "off", request)]
    stop = whole[0][3]
    cut = generate_answers(model, PROMPTS, "off", request.model_copy(update={"stop_token_ids": (stop,)}))
    for ids, answer in zip(whole, cut, strict=True):
        stops = stop in ids
        assert answer == Answer(ids[: ids.index(stop)] if stops else ids, stops, None)


def test_batches_hold_each_place_once_and_the_longest_come_first() -> None:
    lengths = [3, 9, 1, 9, 5, 2, 7]
    batches = list(longest_first(lengths, 3))
    assert batches == [[1, 3, 6], [4, 0, 5], [2]]


def test_the_control_identity_answers_as_if_the_prompt_were_its_own_english_one(model: CrossLingualModel) -> None:
    request = Generate(max_new_tokens=6, stop_token_ids=STOP)
    own = [replace(prompt, english_input_ids=prompt.input_ids) for prompt in PROMPTS]
    answers = generate_answers(model, PROMPTS, "identity", request)
    assert answers == generate_answers(model, own, "parallel", request)
    assert answers != generate_answers(model, PROMPTS, "off", request)


@pytest.mark.parametrize("connection", ["constant", "other"])
def test_an_answer_is_not_generated_through_a_control_of_likelihoods(
    model: CrossLingualModel, connection: ConnectionMode
) -> None:
    with pytest.raises(ConfigError, match=f"connection='{connection}': expected 'off', .* are for likelihoods alone"):
        generate_answers(model, PROMPTS, connection, Generate(max_new_tokens=2, stop_token_ids=STOP))
