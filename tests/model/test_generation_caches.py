"""The same tokens whatever the batch, the cache and the way of decoding."""

import random
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from transformers import CompileConfig, DynamicCache, QuantizedCache

from cc_tuning.errors import ConfigError, UnsupportedModel
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from tests.model.tiny_connected import FAMILIES, left_padded, random_prompts, tiny_model
from tests.reference.connection import answer_row, connection_vector

NEW = 6
WINDOWED = ["mistral", "gemma2", "gemma3_text"]


def answers(model: CrossLingualModel, rows: list[list[int]], **arguments: Any) -> list[list[int]]:
    """The greedy new tokens of each row, or of each of its returned sequences."""
    batch = left_padded(rows)
    settings = {"max_new_tokens": NEW, "do_sample": False} | arguments
    return model.generate(**batch, **settings)[:, batch["input_ids"].shape[1] :].tolist()


def random_mixes(count: int, shortest: int) -> Iterator[list[list[int]]]:
    """Batches of one to six prompts with `shortest` to 15 tokens."""
    draw = random.Random(11)
    for seed in range(count):
        yield random_prompts(tuple(draw.randint(shortest, 15) for _ in range(draw.randint(1, 6))), seed)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("offset", [0, 2])
@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_any_mix_of_lengths_is_answered_like_each_prompt_alone(family: str, offset: int, cache: str) -> None:
    model = tiny_model(family, ConnectionConfig(offset=offset))
    for rows in random_mixes(8, shortest=offset + 1):
        alone = [answers(model, [row])[0] for row in rows]
        assert answers(model, rows, cache_implementation=cache) == alone


@pytest.mark.parametrize("family", FAMILIES)
def test_static_cache_generates_the_same_tokens(family: str) -> None:
    model, rows = tiny_model(family), random_prompts((5, 11, 8, 1))
    assert answers(model, rows, cache_implementation="static") == answers(model, rows)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
@pytest.mark.parametrize("family", WINDOWED)
def test_prompts_around_the_window_equal_full_passes_without_a_cache(family: str, cache: str) -> None:
    """A window of 6 that is not full yet, fills up with t* or with the answer, or has dropped tokens before t*."""
    model = tiny_model(family)
    for length in (1, 2, 5, 6, 7, 8, 12):
        (row,) = random_prompts((length,))
        with torch.no_grad():
            vector, _ = connection_vector(model.base, model.decision_maker.weight, model.transform_matrix, row, 0)
            expected = answer_row(model.base, row, 0, NEW, vector)
        assert answers(model, [row], cache_implementation=cache) == [expected], f"a prompt of {length} tokens"


def test_sliding_layers_keep_no_more_than_their_window_while_decoding() -> None:
    model = tiny_model("gemma3_text")
    output = model.generate(**left_padded(random_prompts((11,))), max_new_tokens=9, return_dict_in_generate=True)
    assert [layer.keys.shape[2] for layer in output.past_key_values.layers] == [5, 19, 5]


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_beams_and_several_samples_work_with_a_static_cache(family: str) -> None:
    model, rows = tiny_model(family), random_prompts((7, 12))
    for settings in ({"num_beams": 3, "num_return_sequences": 2}, {"do_sample": True, "num_return_sequences": 3}):
        got = []
        for cache in ("dynamic", "static"):
            torch.manual_seed(2)
            got.append(answers(model, rows, cache_implementation=cache, **settings))
        assert got[0] == got[1]


def test_static_cache_may_be_a_generation_default_of_the_checkpoint() -> None:
    model, rows = tiny_model("llama"), random_prompts()
    expected = answers(model, rows)
    model.base.generation_config.cache_implementation = "static"
    assert answers(model, rows) == expected


@pytest.mark.parametrize("family", ["llama", "gemma3_text"])
def test_compiled_decoding_generates_the_same_tokens(family: str) -> None:
    """transformers compiles decode steps on a GPU; here they are compiled on the CPU, by a backend that is quick."""
    model = tiny_model(family)
    compiled = CompileConfig(backend="eager", mode=None)
    compiled._compile_all_devices = True
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for rows in (random_prompts((5, 11, 8)), random_prompts((11, 3, 2), seed=9)):
        expected = answers(model, rows)
        assert answers(model, rows, cache_implementation="static", compile_config=compiled) == expected
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0


@pytest.mark.parametrize("chunk", [1, 4, 100])
def test_a_prompt_read_in_chunks_is_connected_in_the_chunk_of_its_position(chunk: int) -> None:
    model, rows = tiny_model("gemma3_text", ConnectionConfig(offset=1)), random_prompts((5, 11, 8))
    assert answers(model, rows, prefill_chunk_size=chunk) == answers(model, rows)


def test_prompt_lookup_decoding_generates_the_same_tokens() -> None:
    model, (row,) = tiny_model("llama"), random_prompts((4,))
    repeating = row * 3
    assert answers(model, [repeating], prompt_lookup_num_tokens=3) == answers(model, [repeating])


def test_an_own_cache_is_filled_and_can_be_read_afterwards() -> None:
    model, rows = tiny_model("llama"), random_prompts()
    cache = DynamicCache(config=model.config)
    assert answers(model, rows, past_key_values=cache) == answers(model, rows)
    assert cache.get_seq_length() == 11 + NEW - 1


def test_a_cache_that_cannot_give_back_a_token_is_refused() -> None:
    model, rows = tiny_model("llama"), random_prompts()
    with pytest.raises(ConfigError, match="Fp8QuantizedLayer"):
        answers(model, rows, past_key_values=QuantizedCache("fp8", model.config))
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.base.modules())


def test_a_way_of_generating_that_goes_around_the_decoder_is_an_error() -> None:
    model, rows = tiny_model("llama"), random_prompts()
    with pytest.raises(UnsupportedModel, match="nothing was connected"):
        answers(model, rows, custom_generate=lambda base, input_ids, **_: input_ids)
