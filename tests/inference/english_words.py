"""A world of one word: the response is a word that the English prompt says, and the prompt itself does not.

A small model learns first to repeat the word of an English prompt, as a base model knows its facts in English. Then it
is trained with a connection on prompts without a word, beside the English prompts that have it (`is_content`), or
beside English prompts with a word that has nothing to do with the response.
"""

from copy import deepcopy
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from cc_tuning.inference.prompts import Prompt
from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.normalisation import ActivationMoments, ActivationStatistics

WORDS, FILLERS, LENGTH = 16, 16, 8
HEADER, FIRST_WORD, FIRST_FILLER = 1, 2, 2 + WORDS
FIRST_OWN = FIRST_FILLER + FILLERS
"""Fillers of prompts that are not English; English ones and words come before them."""
VOCABULARY = FIRST_OWN + FILLERS
HIDDEN, LAYERS = 48, 4


class Rows(NamedTuple):
    """Prompts `[B, T]` that end in the header, with the words that follow them `[B]`, all of one length."""

    prompts: Tensor
    english: Tensor
    words: Tensor


def drawn_rows(count: int, generator: torch.Generator, is_content: bool) -> Rows:
    """Rows whose English prompt says their word at a random place, or without content some word or other."""

    def fillers(first: int) -> Tensor:
        ids = torch.randint(first, first + FILLERS, (count, LENGTH), generator=generator)
        ids[:, -1] = HEADER
        return ids

    words, others = torch.randint(FIRST_WORD, FIRST_WORD + WORDS, (2, count), generator=generator)
    english, prompts = fillers(FIRST_FILLER), fillers(FIRST_OWN)
    places = torch.randint(0, LENGTH - 1, (count,), generator=generator)
    english[torch.arange(count), places] = words if is_content else others
    return Rows(prompts, english, words)


def batch_of(prompts: Tensor, english: Tensor, words: Tensor) -> dict[str, Tensor]:
    """What `forward` takes, with a label on the word alone."""
    ids = torch.cat([prompts, words[:, None]], dim=1)
    labels = torch.full_like(ids, -100)
    labels[:, -1] = words
    last = torch.full((len(ids),), LENGTH - 1)
    return {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "labels": labels,
        "connection_positions": last,
        "english_input_ids": english,
        "english_attention_mask": torch.ones_like(english),
        "english_positions": last,
    }


@cache
def english_reader(steps: int, seed: int) -> PreTrainedModel:
    """A model that repeats the word of an English prompt."""
    torch.manual_seed(seed)
    config = AutoConfig.for_model(
        "llama", vocab_size=VOCABULARY, hidden_size=HIDDEN, intermediate_size=96, num_hidden_layers=LAYERS,
        num_attention_heads=4, num_key_value_heads=4, bos_token_id=None, eos_token_id=None, pad_token_id=0,
    )  # fmt: skip
    base = AutoModelForCausalLM.from_config(config)
    optimizer = torch.optim.AdamW(base.parameters(), lr=3e-3, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        rows = drawn_rows(64, generator, is_content=True)
        batch = batch_of(rows.english, rows.english, rows.words)
        loss = base(**{name: batch[name] for name in ("input_ids", "attention_mask", "labels")}).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return base


def statistics_of_english(model: CrossLingualModel, rows: Rows) -> ActivationStatistics:
    """Of the activations of the rows' English prompts."""
    last = torch.full((len(rows.english),), LENGTH - 1)
    moments = ActivationMoments(LAYERS, HIDDEN, model.device)
    moments.add(model.activations(rows.english, torch.ones_like(rows.english), last))
    return moments.summed(lambda tensor: tensor)


def connected_reader(
    connection: ConnectionConfig, is_content: bool, steps: int, seed: int = 0, selector_rate: float = 1e-3
) -> tuple[CrossLingualModel, list[float]]:
    """The model trained with its connection, in evaluation mode, and the entropy of the choice at each step."""
    model = CrossLingualModel.from_base(deepcopy(english_reader(400, seed)), connection)
    generator = torch.Generator().manual_seed(seed + 1)
    if connection.normalise != "none":
        model.normalisation.use(statistics_of_english(model, drawn_rows(512, generator, is_content)))
    groups = [
        {"params": list(model.base.parameters()), "lr": 1e-3},
        {"params": list(model.decision_maker.parameters()), "lr": selector_rate},
    ]
    optimizer = torch.optim.AdamW([group for group in groups if group["params"]], weight_decay=0.0)
    entropies = []
    model.train()
    for _ in range(steps):
        rows = drawn_rows(64, generator, is_content)
        output = model(**batch_of(*rows))
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        entropies.append(float(torch.special.entr(output.selection_probabilities).sum(1).mean()))
    return model.eval(), entropies


def asked(rows: Rows, shift: int = 0) -> tuple[list[Prompt], list[list[int]]]:
    """Prompts with their English ones, or those of the rows `shift` further on, and the words to find likely."""
    english = rows.english.roll(-shift, dims=0)
    prompts = [
        Prompt(str(row), own.tolist(), other.tolist())
        for row, (own, other) in enumerate(zip(rows.prompts, english, strict=True))
    ]
    return prompts, [[int(word)] for word in rows.words]
