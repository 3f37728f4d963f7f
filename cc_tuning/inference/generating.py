"""The continuation of prompts, greedy or sampled, for a model with or without a connection.

Decoding is what the request says whatever the checkpoint's generation defaults are: a repetition penalty left in a chat
model's `generation_config.json` would change greedy answers.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from transformers import GenerationConfig, LogitsProcessor, LogitsProcessorList, PreTrainedModel
from transformers.generation.logits_process import TemperatureLogitsWarper, TopPLogitsWarper

from cc_tuning.inference.jobs import Generate, Sampling
from cc_tuning.inference.prompts import PADDING_ID, Prompt, check_can_connect, english_batch, english_rows, languages_of
from cc_tuning.model import ConnectionMode, CrossLingualModel
from cc_tuning.runtime.padding import padded


@dataclass(frozen=True)
class Answer:
    """What the model wrote after one prompt."""

    token_ids: list[int]
    """Without the stop token."""
    stopped: bool
    selected_layer: int | None


def generate_answers(
    model: CrossLingualModel | PreTrainedModel,
    prompts: Sequence[Prompt],
    connection: ConnectionMode,
    request: Generate,
) -> list[Answer]:
    """One answer per prompt, all prompts in one batch.

    Raises:
        ConfigError: a connection that the model has not, or that a prompt or the checkpoint lacks something for.
    """
    check_can_connect(isinstance(model, CrossLingualModel), connection)
    input_ids, attention_mask = (
        tensor.to(model.device) for tensor in padded([prompt.input_ids for prompt in prompts], PADDING_ID, "left")
    )
    arguments: dict[str, Any] = {}
    if request.sampling is not None:
        arguments["logits_processor"] = _sampling_processors(prompts, request, request.sampling, input_ids.shape[1])
    base = model.base if isinstance(model, CrossLingualModel) else model
    base.generation_config = GenerationConfig(
        do_sample=False,
        max_new_tokens=request.max_new_tokens,
        eos_token_id=sorted(request.stop_token_ids),
        pad_token_id=PADDING_ID,
    )
    if isinstance(model, CrossLingualModel):
        arguments |= _connection_arguments(prompts, connection, model.device)
        generation = model.generate_with_selection(input_ids, attention_mask, connection=connection, **arguments)
        output, selected = generation.output, generation.selected_layer
    else:
        # transformers' types put `generate` on a mixin that PreTrainedModel does not name.
        output, selected = cast(Any, model).generate(input_ids, attention_mask=attention_mask, **arguments), None
    assert isinstance(output, Tensor)
    layers = [None] * len(prompts) if selected is None else selected.tolist()
    continuations = output[:, input_ids.shape[1] :].tolist()
    stop_ids = frozenset(request.stop_token_ids)
    return [_cut(ids, stop_ids, layer) for ids, layer in zip(continuations, layers, strict=True)]


def _connection_arguments(
    prompts: Sequence[Prompt], connection: ConnectionMode, device: torch.device
) -> dict[str, Any]:
    if connection == "parallel":
        ids, mask = english_batch(prompts, device)
        return {"english_input_ids": ids, "english_attention_mask": mask}
    if connection != "transform":
        return {}
    return {"english_rows": english_rows(prompts, device), "languages": languages_of(prompts)}


def _cut(ids: list[int], stop_ids: frozenset[int], layer: int | None) -> Answer:
    """What stands before the first stop token; after it a batch holds padding."""
    for place, token_id in enumerate(ids):
        if token_id in stop_ids:
            return Answer(ids[:place], True, layer)
    return Answer(ids, False, layer)


def _sampling_processors(
    prompts: Sequence[Prompt], request: Generate, sampling: Sampling, prompt_columns: int
) -> LogitsProcessorList:
    processors: list[Any] = [TemperatureLogitsWarper(sampling.temperature)]
    if sampling.top_p < 1:
        processors.append(TopPLogitsWarper(sampling.top_p))
    uniforms = [_uniforms(prompt.id, sampling.seed, request.max_new_tokens) for prompt in prompts]
    processors.append(_OwnDraws(np.stack(uniforms), prompt_columns))
    return LogitsProcessorList(processors)


def _uniforms(prompt_id: str, seed: int, number: int) -> np.ndarray:
    """The draws of one prompt, uniform over 0 < u <= 1."""
    digest = hashlib.sha256(f"{seed}:{prompt_id}".encode()).digest()
    return 1.0 - np.random.default_rng(int.from_bytes(digest)).random(number)


class _OwnDraws(LogitsProcessor):
    """Leaves in each row only the token drawn by the row's own numbers, so that greedy decoding takes it.

    The token is the first in the order of the vocabulary with a cumulative probability of at least `u` (inverse
    transform sampling). `generate`'s own sampling draws for the whole batch, and a row would depend on its neighbours.
    """

    def __init__(self, uniforms: np.ndarray, prompt_columns: int) -> None:
        self._uniforms = uniforms  # [B, max_new_tokens]
        self._prompt_columns = prompt_columns

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        step = input_ids.shape[1] - self._prompt_columns
        drawn = torch.tensor(self._uniforms[:, step : step + 1], device=scores.device)
        cumulative = scores.double().softmax(-1).cumsum(-1)
        tokens = torch.searchsorted(cumulative, drawn * cumulative[:, -1:])
        return torch.full_like(scores, -torch.inf).scatter(1, tokens, 0.0)
