"""How likely a model finds given continuations of prompts, through each kind of connection.

    log p(y | x) = sum_t log p(y_t | x, y_<t)

A prompt is read once into a KV cache, with the vector added at t*, the last prompt token (less the connection's
offset): the pass that decoding begins with. The logits after it give the first token of every candidate, so an option
of one token costs nothing more. The candidates that are longer are read after it, each with its prompt's part of the
cache.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel

from cc_tuning.errors import ConfigError
from cc_tuning.inference.carried import carried_choice
from cc_tuning.inference.prompts import PADDING_ID, Prompt, check_can_connect
from cc_tuning.model import ConnectionMode, CrossLingualModel
from cc_tuning.model.generation import read_connected_prompts, read_prompts
from cc_tuning.model.positions import Prompts, position_ids_of
from cc_tuning.runtime.padding import padded

Candidates = Sequence[Sequence[int]]
"""Possible continuations of one prompt, as token ids."""


@dataclass(frozen=True)
class ContinuationScore:
    """How likely one continuation is."""

    log_likelihood: float
    """The sum over its tokens, in nats."""
    tokens: int
    is_greedy: bool
    """Whether each of its tokens is the most likely one, so that greedy decoding would write it."""
    selected_layer: int | None


def score_continuations(
    model: CrossLingualModel | PreTrainedModel,
    prompts: Sequence[Prompt],
    continuations: Sequence[Sequence[int]],
    connection: ConnectionMode,
) -> list[ContinuationScore]:
    """The score of `continuations[b]` after `prompts[b]`; as `score_candidates` with one candidate for each prompt."""
    candidates = [[ids] for _, ids in zip(prompts, continuations, strict=True)]
    return [score for (score,) in score_candidates(model, prompts, candidates, connection)]


@torch.no_grad()
def score_candidates(
    model: CrossLingualModel | PreTrainedModel,
    prompts: Sequence[Prompt],
    candidates: Sequence[Candidates],
    connection: ConnectionMode,
    constant: Tensor | None = None,
) -> list[list[ContinuationScore]]:
    """The scores of `candidates[b]` after `prompts[b]`, all in one batch; log-probabilities are float32.

    `constant` is what the connection of that name adds at each t*, as `mean_carried_vector` makes it.

    Raises:
        ConfigError: an empty candidate, a connection that the model has not, or that a prompt or the checkpoint lacks
            something for.
        PromptNotFound: a prompt too short to hold t*.
    """
    check_can_connect(isinstance(model, CrossLingualModel), connection)
    _check_candidates(prompts, candidates)
    base = model.base if isinstance(model, CrossLingualModel) else model
    input_ids, mask = (
        tensor.to(model.device) for tensor in padded([prompt.input_ids for prompt in prompts], PADDING_ID, "left")
    )
    cache = DynamicCache(config=base.config)
    layers: list[int | None] = [None] * len(prompts)
    if isinstance(model, CrossLingualModel) and connection != "off":
        connected = Prompts.found_in(input_ids, mask, model.connection.offset, "connected")
        choice = carried_choice(model, prompts, connected, connection, constant)
        components = model.components
        logits, decision = read_connected_prompts(base, components, model.connection, connected, choice, cache)
        if connection != "constant" and model.connection.chooses_layer:
            layers = decision.selected_layer.tolist()
    else:
        logits = read_prompts(base, Prompts.found_in(input_ids, mask, 0, "scored"), cache)
    owners = [row for row, of_prompt in enumerate(candidates) for _ in of_prompt]
    flat = [ids for of_prompt in candidates for ids in of_prompt]
    sums = _sums(base, logits[:, -1], mask, cache, owners, flat)
    scores = iter(
        ContinuationScore(total, len(ids), is_greedy, layers[row])
        for row, ids, (total, is_greedy) in zip(owners, flat, sums, strict=True)
    )
    return [[next(scores) for _ in of_prompt] for of_prompt in candidates]


def _check_candidates(prompts: Sequence[Prompt], candidates: Sequence[Candidates]) -> None:
    pairs = list(zip(prompts, candidates, strict=True))
    if empty := [prompt.id for prompt, of_prompt in pairs if not of_prompt or not all(of_prompt)]:
        raise ConfigError(
            f"{len(empty)} of {len(pairs)} prompts have no continuation or one without a token, first {empty[:3]}; "
            "give each continuation at least one token"
        )


def _sums(
    base: PreTrainedModel, logits: Tensor, mask: Tensor, cache: DynamicCache, owners: list[int], flat: Candidates
) -> list[tuple[float, bool]]:
    """The log-likelihood of each candidate and whether it is greedy; `logits [B, V]` are those after the prompts."""
    log_probabilities = logits.float().log_softmax(-1)
    first = log_probabilities[torch.tensor(owners), torch.tensor([ids[0] for ids in flat])].tolist()
    most_likely = log_probabilities.argmax(-1).tolist()
    longer = [place for place, ids in enumerate(flat) if len(ids) > 1]
    rest = iter(_after_first_token(base, mask, cache, [owners[at] for at in longer], [flat[at] for at in longer]))
    sums = []
    for row, ids, total in zip(owners, flat, first, strict=True):
        is_greedy = most_likely[row] == ids[0]
        if len(ids) > 1:
            more, rest_is_greedy = next(rest)
            total, is_greedy = total + more, is_greedy and rest_is_greedy
        sums.append((total, is_greedy))
    return sums


def _after_first_token(
    base: PreTrainedModel, mask: Tensor, cache: DynamicCache, owners: list[int], flat: Candidates
) -> list[tuple[float, bool]]:
    """What the tokens behind the first add to each candidate; row `owners[n]` of the cache and `mask` is its prompt."""
    if not flat:
        return []
    rows = torch.tensor(owners, device=mask.device)
    if owners != list(range(mask.shape[0])):
        cache.batch_select_indices(rows)
    read, read_mask = (tensor.to(mask.device) for tensor in padded([ids[:-1] for ids in flat], PADDING_ID, "right"))
    whole = torch.cat([mask[rows], read_mask], dim=1)
    logits = base(
        input_ids=read,
        attention_mask=whole,
        position_ids=position_ids_of(whole)[:, mask.shape[1] :],
        past_key_values=cache,
        use_cache=True,
    ).logits
    sums = []
    for of_row, ids in zip(logits, flat, strict=True):  # one row at a time: float32 of all would fill the memory
        targets = torch.tensor(ids[1:], device=mask.device)
        log_probabilities = of_row[: len(targets)].float().log_softmax(-1)
        of_targets = log_probabilities.gather(-1, targets[:, None])
        sums.append((float(of_targets.sum()), bool((log_probabilities.argmax(-1) == targets).all())))
    return sums
