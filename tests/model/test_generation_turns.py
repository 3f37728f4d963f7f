"""Conversations of several turns: each turn connected at its own last prompt position, earlier ones in the cache."""

from typing import Any

import pytest
import torch
from transformers import StaticCache

from cc_tuning.errors import ConfigError, PromptNotFound
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from tests.model.tiny_connected import FAMILIES, left_padded, random_prompts, tiny_model
from tests.reference.connection import choose_layer, run_row

NEW = 4


def reference_conversation(model: CrossLingualModel, turns: list[list[int]], offset: int) -> list[list[int]]:
    """The answers, by full passes over the whole conversation with the vector of every turn at its position."""
    base, vectors, ids, replies = model.base, {}, [], []
    for turn in turns:
        ids = ids + turn
        position = len(ids) - 1 - offset
        _, own = run_row(base, torch.tensor(ids), position, earlier=vectors)
        predicted = own @ model.transform_matrix
        layer = choose_layer(base, model.decision_maker.weight, predicted, torch.tensor(ids[position]))
        vectors[position] = predicted[layer]
        for _ in range(NEW):
            logits, _ = run_row(base, torch.tensor(ids), position, earlier=vectors)
            ids = [*ids, int(logits[-1].argmax())]
        replies.append(ids[-NEW:])
    return replies


def converse(model: CrossLingualModel, turns: list[list[list[int]]], **arguments: Any) -> list[list[list[int]]]:
    """`turns[k][b]` is what row b says in turn k; the result has the answers in the same order."""
    rows = len(turns[0])
    ids = mask = torch.zeros(rows, 0, dtype=torch.long)
    cache, replies = arguments.pop("past_key_values", None), []
    for turn in turns:
        said = left_padded(turn)
        ids = torch.cat([ids, said["input_ids"]], 1)
        mask = torch.cat([mask, said["attention_mask"]], 1)
        settings = {"max_new_tokens": NEW, "do_sample": False, "return_dict_in_generate": True} | arguments
        output = model.generate(ids, mask, past_key_values=cache, **settings)
        ids, cache = output.sequences, output.past_key_values
        mask = torch.cat([mask, torch.ones(rows, NEW, dtype=torch.long)], 1)
        replies.append(ids[:, -NEW:].tolist())
    return replies


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_each_turn_equals_full_passes_with_the_vectors_of_all_turns(family: str, offset: int) -> None:
    model = tiny_model(family, ConnectionConfig(offset=offset))
    turns = random_prompts((7, 2, 5))
    with torch.no_grad():
        expected = reference_conversation(model, turns, offset)
    assert converse(model, [[turn] for turn in turns]) == [[reply] for reply in expected]


UNEVEN = [random_prompts((5, 11, 1), seed=1), random_prompts((3, 1, 6), seed=2), random_prompts((2, 2, 9), seed=3)]
EVEN = [
    random_prompts((5, 11), seed=1),
    random_prompts((3, 3), seed=2),
    random_prompts((7, 7), seed=3),
]


@pytest.mark.parametrize(
    ("family", "turns"),
    [
        ("llama", UNEVEN),
        ("phi3", UNEVEN),
        ("gemma3_text", EVEN),
        ("mistral", EVEN),
    ],
)
def test_batched_conversations_equal_single_ones(family: str, turns: list[list[list[int]]]) -> None:
    model = tiny_model(family)
    alone = [converse(model, [[turn[row]] for turn in turns]) for row in range(len(turns[0]))]
    assert converse(model, turns) == [[reply[turn][0] for reply in alone] for turn in range(3)]


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_a_static_cache_goes_through_the_turns(family: str) -> None:
    model, turns = tiny_model(family), EVEN
    cache = StaticCache(config=model.config, max_cache_len=40)
    assert converse(model, turns, past_key_values=cache) == converse(model, turns)


@pytest.mark.parametrize("family", ["mistral", "gemma2", "gemma3_text"])
def test_padding_between_turns_is_refused_where_a_window_would_count_it(family: str) -> None:
    with pytest.raises(ConfigError, match=r"in batch rows \[0, 2\]; its sliding window of 6"):
        converse(tiny_model(family), [random_prompts((5, 11, 1)), random_prompts((3, 4, 2))])


def test_what_was_added_in_an_earlier_turn_stays() -> None:
    """The same words after a turn without the connection are answered otherwise."""
    model = tiny_model("llama")
    first, second = (left_padded(random_prompts((9, 6), seed=seed)) for seed in (1, 2))
    ids = torch.cat([first["input_ids"], second["input_ids"]], 1)
    mask = torch.cat([first["attention_mask"], second["attention_mask"]], 1)
    logits = []
    for connection in ("transform", "off"):
        settings = {"max_new_tokens": 1, "return_dict_in_generate": True}
        cache = model.generate(**first, connection=connection, **settings).past_key_values
        output = model.generate(ids, mask, past_key_values=cache, output_logits=True, **settings)
        logits.append(output.logits[0])
    assert not torch.allclose(logits[0], logits[1])


def test_parallel_reads_the_english_conversation_as_a_whole() -> None:
    model, offset = tiny_model("llama"), 0
    turns, english_turns = random_prompts((6, 5), seed=1), random_prompts((4, 7), seed=2)
    settings = {"max_new_tokens": NEW, "do_sample": False, "return_dict_in_generate": True, "connection": "parallel"}
    ids, english, vectors, cache = list(turns[0]), list(english_turns[0]), {}, None
    for turn in (0, 1):
        side = {f"english_{name}": tensor for name, tensor in left_padded([english]).items()}
        output = model.generate(**left_padded([ids]), past_key_values=cache, **side, **settings)
        cache = output.past_key_values
        position = len(ids) - 1 - offset
        with torch.no_grad():
            _, source = run_row(model.base, torch.tensor(english), len(english) - 1)
            layer = choose_layer(model.base, model.decision_maker.weight, source, torch.tensor(ids[position]))
            vectors[position] = source[layer]
            for _ in range(NEW):
                logits, _ = run_row(model.base, torch.tensor(ids), position, earlier=vectors)
                ids.append(int(logits[-1].argmax()))
        assert output.sequences[0].tolist() == ids
        if turn == 0:
            english, ids = english + ids[-NEW:] + english_turns[1], ids + turns[1]


def test_a_conversation_without_a_new_token_at_its_position_is_refused() -> None:
    model, batch = tiny_model("llama", ConnectionConfig(offset=2)), left_padded(random_prompts((7, 9)))
    output = model.generate(**batch, max_new_tokens=NEW, return_dict_in_generate=True)
    ids, mask = output.sequences, torch.ones_like(output.sequences)
    with pytest.raises(PromptNotFound, match="holds 12 tokens of conversations of 13"):
        model.generate(ids, mask, past_key_values=output.past_key_values, max_new_tokens=1)
    longer = torch.cat([ids, ids[:, :4]], 1)
    masks = {"new tokens alone": torch.ones(2, 4), "padding at the position": torch.ones_like(longer)}
    masks["padding at the position"][0, -3] = 0
    for mask in masks.values():
        with pytest.raises(PromptNotFound, match="the ids and the mask of the whole conversation"):
            model.generate(longer, mask.long(), past_key_values=output.past_key_values, max_new_tokens=1)


def test_a_cache_of_hypotheses_is_refused() -> None:
    model, batch = tiny_model("llama"), left_padded(random_prompts((7, 9)))
    output = model.generate(**batch, max_new_tokens=NEW, num_beams=3, return_dict_in_generate=True)
    ids = torch.cat([output.sequences, output.sequences[:, :2]], 1)
    with pytest.raises(ConfigError, match="holds 6 rows and generate works on 2"):
        model.generate(ids, torch.ones_like(ids), past_key_values=output.past_key_values, max_new_tokens=1)
