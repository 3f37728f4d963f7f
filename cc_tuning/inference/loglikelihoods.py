"""How likely a model finds given continuations of prompts, through each kind of connection.

    log p(y | x) = sum_t log p(y_t | x, y_<t)

One forward pass over prompt and continuation, with the vector added at t*, the last prompt token (less the
connection's offset): what decoding the same tokens one by one computes. The vector is found as in generation, from a
pass over the English prompt (`parallel`) or over the prompt itself (`transform`).
"""

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from cc_tuning.errors import ConfigError
from cc_tuning.inference.prompts import PADDING_ID, Prompt, check_can_connect, english_batch, english_rows
from cc_tuning.model import ConnectionMode, CrossLingualModel
from cc_tuning.model.decision_maker import Decision
from cc_tuning.model.hooks import injected_vector
from cc_tuning.model.positions import Prompts, key_of_rows, position_ids_of
from cc_tuning.runtime.padding import padded


@dataclass(frozen=True)
class ContinuationScore:
    """How likely one continuation is."""

    log_likelihood: float
    """The sum over its tokens, in nats."""
    tokens: int
    is_greedy: bool
    """Whether each of its tokens is the most likely one, so that greedy decoding would write it."""
    selected_layer: int | None


@torch.no_grad()
def score_continuations(
    model: CrossLingualModel | PreTrainedModel,
    prompts: Sequence[Prompt],
    continuations: Sequence[Sequence[int]],
    connection: ConnectionMode,
) -> list[ContinuationScore]:
    """The score of `continuations[b]` after `prompts[b]`, all in one batch; log-probabilities are float32.

    Raises:
        ConfigError: an empty continuation, a connection that the model has not, or that a prompt or the checkpoint
            lacks something for.
        PromptNotFound: a prompt too short to hold t*.
    """
    check_can_connect(isinstance(model, CrossLingualModel), connection)
    if empty := [prompt.id for prompt, ids in zip(prompts, continuations, strict=True) if not ids]:
        raise ConfigError(f"{len(empty)} continuations have no token, first {empty[:3]}; give each at least one")
    whole = [[*prompt.input_ids, *ids] for prompt, ids in zip(prompts, continuations, strict=True)]
    input_ids, attention_mask = (tensor.to(model.device) for tensor in padded(whole, PADDING_ID, "left"))
    lengths = torch.tensor([len(ids) for ids in continuations], device=input_ids.device)
    connected: Any = nullcontext()
    layers: list[int | None] = [None] * len(prompts)
    base = model.base if isinstance(model, CrossLingualModel) else model
    if isinstance(model, CrossLingualModel) and connection != "off":
        decision = _decide(model, prompts, connection)
        positions = input_ids.shape[1] - lengths - 1 - model.connection.offset
        connected = injected_vector(model.components.injection_site, positions, decision.vector)
        if model.connection.selector != "mean":
            layers = decision.selected_layer.tolist()
    with connected:
        logits = base(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids_of(attention_mask),
            use_cache=False,
            logits_to_keep=int(lengths.max()) + 1,  # all of them would fill the memory
        ).logits
    totals, is_greedy = _scores(logits, input_ids, lengths)
    columns = zip(totals.tolist(), lengths.tolist(), is_greedy.tolist(), layers, strict=True)
    return [ContinuationScore(*column) for column in columns]


def _scores(logits: Tensor, input_ids: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """The log-likelihood `[B]` float32 of the last `lengths [B]` tokens of each row, and whether they are greedy.

    `logits [B, K + 1, V]` are those of the last K + 1 columns, K being the longest of `lengths`.
    """
    longest = logits.shape[1] - 1
    targets = input_ids[:, -longest:]
    log_probabilities = logits[:, :-1].float().log_softmax(-1)
    is_scored = torch.arange(longest, device=targets.device) >= longest - lengths[:, None]
    of_targets = log_probabilities.gather(-1, targets[..., None])[..., 0].where(is_scored, 0.0)
    is_greedy = (log_probabilities.argmax(-1) == targets) | ~is_scored
    return of_targets.sum(-1), is_greedy.all(-1)


def _decide(model: CrossLingualModel, prompts: Sequence[Prompt], connection: ConnectionMode) -> Decision:
    """What is added at t* of each prompt, as in generation."""
    offset = model.connection.offset
    ids, mask = (
        tensor.to(model.device) for tensor in padded([prompt.input_ids for prompt in prompts], PADDING_ID, "left")
    )
    own = Prompts.found_in(ids, mask, offset, "connected")
    if connection == "parallel":
        english = Prompts.found_in(*english_batch(prompts, model.device), offset, "English")
        source = _activations(model, english)
    else:
        source = model.predicted_english(_activations(model, own), english_rows(prompts, model.device))
    row_keys = key_of_rows(ids, mask, own.positions)
    return model.decide(source, model.embed(own.connection_ids), row_keys, None)


def _activations(model: CrossLingualModel, prompts: Prompts) -> Tensor:
    return model.activations(prompts.input_ids, prompts.attention_mask, prompts.positions)
