"""`generate` against full forward passes without a cache, and as people use Hugging Face's."""

from typing import Any

import pytest
import torch
from transformers import GenerationConfig, StoppingCriteria
from transformers.generation import BaseStreamer

from cc_tuning.errors import ConfigError, PromptNotFound
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.injection import injected
from tests.model.tiny_connected import FAMILIES, HIDDEN, left_padded, random_prompts, tiny_model
from tests.reference.connection import answer_row, choose_layer, connection_vector, run_row

NEW = 6


def answers(model: CrossLingualModel, rows: list[list[int]], **arguments: Any) -> list[list[int]]:
    """The greedy new tokens of each row."""
    batch = left_padded(rows)
    settings = {"max_new_tokens": NEW, "do_sample": False} | arguments
    return model.generate(**batch, **settings)[:, batch["input_ids"].shape[1] :].tolist()


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
@pytest.mark.parametrize("family", FAMILIES)
def test_transform_equals_full_passes_without_a_cache(family: str, tied: bool, offset: int) -> None:
    model = tiny_model(family, ConnectionConfig(offset=offset), tie_word_embeddings=tied)
    rows = random_prompts()
    generation = model.generate_with_selection(**left_padded(rows), max_new_tokens=NEW, do_sample=False)
    for b, row in enumerate(rows):
        with torch.no_grad():
            vector, layer = connection_vector(
                model.base, model.decision_maker.weight, model.transform_matrix, row, offset
            )
            expected = answer_row(model.base, row, offset, NEW, vector)
            ids, position = torch.tensor(row), len(row) - 1 - offset
            change = run_row(model.base, ids, position, vector)[0][-1] - run_row(model.base, ids, position)[0][-1]
        assert generation.output[b, -NEW:].tolist() == expected
        assert generation.selected_layer[b] == layer
        assert change.abs().max() > 1e-3, "the connection has no effect on this prompt"


@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("family", FAMILIES)
def test_parallel_equals_full_passes_without_a_cache(family: str, offset: int) -> None:
    model = tiny_model(family, ConnectionConfig(offset=offset))
    rows, english = random_prompts(), random_prompts((4, 6, 9), seed=8)
    side = {f"english_{name}": tensor for name, tensor in left_padded(english, padding=2).items()}
    generation = model.generate_with_selection(
        **left_padded(rows, padding=3), connection="parallel", **side, max_new_tokens=NEW, do_sample=False
    )
    for b, row in enumerate(rows):
        with torch.no_grad():
            _, source = run_row(model.base, torch.tensor(english[b]), len(english[b]) - 1 - offset)
            token = torch.tensor(row[len(row) - 1 - offset])
            layer = choose_layer(model.base, model.decision_maker.weight, source, token)
            expected = answer_row(model.base, row, offset, NEW, source[layer])
        assert generation.output[b, -NEW:].tolist() == expected
        assert generation.selected_layer[b] == layer


@pytest.mark.parametrize("selector", ["decision_maker", "mean", "random"])
@pytest.mark.parametrize("family", FAMILIES)
def test_batched_answers_equal_single_answers(family: str, selector: str) -> None:
    model = tiny_model(family, ConnectionConfig(selector=selector))
    rows = random_prompts((5, 11, 8, 1, 7))
    assert answers(model, rows) == [answers(model, [row])[0] for row in rows]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_prompt_of_one_token_is_answered(family: str) -> None:
    """Nothing is before t*, so the second run starts from an empty cache."""
    model, token = tiny_model(family), 42
    with torch.no_grad():
        vector, layer = connection_vector(model.base, model.decision_maker.weight, model.transform_matrix, [token], 0)
        expected = answer_row(model.base, [token], 0, NEW, vector)
    generation = model.generate_with_selection(**left_padded([[token]]), max_new_tokens=NEW, do_sample=False)
    assert generation.output.tolist() == [[token, *expected]]
    assert generation.selected_layer.tolist() == [layer]


def test_off_is_the_base_model() -> None:
    model, batch = tiny_model("llama"), left_padded(random_prompts())
    generation = model.generate_with_selection(**batch, connection="off", max_new_tokens=NEW, do_sample=False)
    assert torch.equal(generation.output, model.base.generate(**batch, max_new_tokens=NEW, do_sample=False))
    assert generation.selected_layer is None


def test_mean_reports_no_layer() -> None:
    model = tiny_model("llama", ConnectionConfig(selector="mean"))
    assert model.generate_with_selection(**left_padded([[3, 4]]), max_new_tokens=1).selected_layer is None


def test_beams_equal_beams_over_full_passes() -> None:
    model, rows = tiny_model("llama"), random_prompts((7, 7))
    batch = left_padded(rows)
    settings = {"max_new_tokens": NEW, "do_sample": False, "num_beams": 3, "num_return_sequences": 2}
    got = model.generate(**batch, **settings)
    vectors = torch.stack(
        [connection_vector(model.base, model.decision_maker.weight, model.transform_matrix, row, 0)[0] for row in rows]
    ).detach()
    positions = torch.full((6,), 6)
    with injected(model.components, positions, vectors.repeat_interleave(3, dim=0)):
        expected = model.base.generate(**batch, use_cache=False, **settings)
    assert torch.equal(got, expected)


def test_sampling_is_repeatable_and_several_samples_follow_their_prompt() -> None:
    model, rows = tiny_model("llama"), random_prompts()
    batch = left_padded(rows)

    def sample(top_k: int) -> torch.Tensor:
        torch.manual_seed(5)
        return model.generate(**batch, max_new_tokens=NEW, do_sample=True, top_k=top_k, num_return_sequences=2)

    assert torch.equal(sample(50), sample(50))
    assert len(sample(50)[:, -NEW:].unique(dim=0)) > 3
    greedy = torch.tensor(answers(model, rows))
    assert torch.equal(sample(1)[:, -NEW:], greedy.repeat_interleave(2, dim=0))


class KeptTokens(BaseStreamer):
    """A streamer that keeps what it is given."""

    def __init__(self) -> None:
        self.pieces: list[list[int]] = []
        self.ended = False

    def put(self, value: torch.Tensor) -> None:
        self.pieces.append(value.flatten().tolist())

    def end(self) -> None:
        self.ended = True


def test_streamer_gets_the_prompt_once_and_then_each_token() -> None:
    model, (row, *_) = tiny_model("llama"), random_prompts()
    streamer = KeptTokens()
    (expected,) = answers(model, [row], streamer=streamer)
    assert streamer.pieces == [row, *[[token] for token in expected]]
    assert streamer.ended


class StopAfter(StoppingCriteria):
    """Ends every row at a length."""

    def __init__(self, length: int) -> None:
        self.length = length

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        return torch.full((input_ids.shape[0],), input_ids.shape[1] >= self.length)


def test_stopping_criteria_and_generation_config_are_those_of_hugging_face() -> None:
    model, (row, *_) = tiny_model("llama"), random_prompts()
    (free,) = answers(model, [row])
    (stopped,) = answers(model, [row], stopping_criteria=[StopAfter(len(row) + 2)])
    assert stopped == free[:2]
    config = GenerationConfig(max_new_tokens=4, do_sample=False, eos_token_id=[90, free[1]], pad_token_id=0)
    batch = left_padded([row])
    got = model.generate(**batch, generation_config=config)[0, len(row) :].tolist()
    assert got == free[: free.index(free[1]) + 1]
    model.base.generation_config.eos_token_id = free[1]
    assert answers(model, [row]) == [got]


def test_logits_of_each_step_can_be_returned() -> None:
    model, batch = tiny_model("llama"), left_padded(random_prompts())
    output = model.generate(**batch, max_new_tokens=2, output_logits=True, return_dict_in_generate=True)
    assert [logits.shape for logits in output.logits] == [(3, 97), (3, 97)]


def test_given_noise_can_change_the_layer() -> None:
    model, batch = tiny_model("llama"), left_padded(random_prompts())
    noise = torch.tensor([[1e4, 0, 0], [0, 1e4, 0], [0, 0, 1e4]])
    generation = model.generate_with_selection(**batch, gumbel_noise=noise, max_new_tokens=1)
    assert generation.selected_layer.tolist() == [0, 1, 2]


def test_english_rows_keep_their_own_activations_when_so_configured() -> None:
    model = tiny_model("llama", ConnectionConfig(english="identity"))
    rows = random_prompts()
    mixed = answers(model, rows, english_rows=torch.tensor([False, True, False]))
    side = {f"english_{name}": tensor for name, tensor in left_padded(rows).items()}
    own = answers(model, rows, connection="parallel", **side)
    transformed = answers(model, rows, english_rows=torch.zeros(3, dtype=torch.bool))
    assert mixed == [transformed[0], own[1], transformed[2]]
    assert own[1] != transformed[1]
    with pytest.raises(ConfigError, match="english_rows"):
        answers(model, rows)


def test_bfloat16_model_predicts_in_float32() -> None:
    model = tiny_model("llama")
    matrix = model.transform_matrix
    model.base.to(torch.bfloat16)
    own = torch.randn(2, 3, HIDDEN).to(torch.bfloat16)
    predicted = model.predicted_english(own)
    assert predicted.dtype == torch.float32
    assert torch.equal(predicted, own.float() @ matrix)
    assert len(answers(model, random_prompts())[0]) == NEW


def test_no_hook_is_left_behind() -> None:
    model = tiny_model("llama")
    answers(model, random_prompts())
    with pytest.raises(ValueError, match="misspelt"):
        answers(model, random_prompts(), misspelt=1)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.base.modules())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"connection": "paralel"}, "expected 'off', 'transform', 'parallel' or 'identity'"),
        ({"connection": "parallel"}, "got 0 of english_input_ids"),
        ({"english_input_ids": torch.ones(1, 2)}, "got 1 of english_input_ids"),
        ({"connection": "off", "gumbel_noise": torch.zeros(1, 3)}, "nothing is decided"),
        ({"use_cache": False}, "use_cache=False"),
        ({"position_ids": torch.zeros(1, 3, dtype=torch.long)}, "position_ids"),
    ],
)
def test_arguments_that_cannot_be_honoured_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        answers(tiny_model("llama"), [[3, 4, 5]], **arguments)


def test_missing_matrix_and_training_mode_are_refused() -> None:
    model = tiny_model("llama")
    model.transform_matrix = None
    with pytest.raises(ConfigError, match="needs a transform matrix"):
        answers(model, [[3, 4]])
    with pytest.raises(ConfigError, match="call eval"):
        answers(model.train(), [[3, 4]])


def test_right_padded_and_too_short_prompts_raise_prompt_not_found() -> None:
    model = tiny_model("llama", ConnectionConfig(offset=2))
    ids = torch.tensor([[3, 4, 5, 6], [3, 4, 5, 0]])
    with pytest.raises(PromptNotFound, match="Pad on the left"):
        model.generate(ids, (ids > 0).long(), max_new_tokens=1)
    with pytest.raises(PromptNotFound, match="t\\* and 2 more tokens"):
        answers(model, [[3, 4], [5, 6, 7]])
