"""Greedy answers to batches of prompts, for a checkpoint with or without a connection.

Decoding is greedy whatever the checkpoint's generation defaults say: a repetition penalty left in a chat model's
`generation_config.json` would change greedy answers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from cc_tuning.model import ConnectionMode, CrossLingualModel
from cc_tuning.text.prompts import ChatPrompts

ENGLISH = "en"


@dataclass(frozen=True)
class Answer:
    """What the model wrote after one prompt."""

    token_ids: list[int]
    """Without the stop token."""
    stopped: bool
    selected_layer: int | None


class GreedyAnswerer:
    """A checkpoint ready to answer prompts given as token ids.

    Raises:
        UnsupportedModel: the model or its tokenizer cannot be used.
    """

    def __init__(
        self, model: CrossLingualModel | PreTrainedModel, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int
    ) -> None:
        padding_id = tokenizer.pad_token_id
        assert isinstance(padding_id, int)
        self._model = model
        self._padding_id = padding_id
        self._stop_ids = frozenset(ChatPrompts(tokenizer).stop_token_ids)
        base = model.base if isinstance(model, CrossLingualModel) else model
        base.generation_config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max_new_tokens,
            eos_token_id=sorted(self._stop_ids),
            pad_token_id=padding_id,
        )

    def answer_batch(
        self,
        prompts: Sequence[list[int]],
        english_prompts: Sequence[list[int]] | None,
        connection: ConnectionMode,
        language: str,
    ) -> list[Answer]:
        """One answer per prompt; `english_prompts` are given for the connection `parallel` only."""
        input_ids, attention_mask = self._left_padded(prompts)
        layers: list[int | None] = [None] * len(prompts)
        if isinstance(self._model, CrossLingualModel):
            english_ids, english_mask = self._left_padded(english_prompts) if english_prompts else (None, None)
            english_rows = torch.full((len(prompts),), language == ENGLISH, device=input_ids.device)
            generation = self._model.generate_with_selection(
                input_ids,
                attention_mask,
                connection=connection,
                english_input_ids=english_ids,
                english_attention_mask=english_mask,
                english_rows=english_rows if connection == "transform" else None,
            )
            output = generation.output
            if generation.selected_layer is not None:
                layers = generation.selected_layer.tolist()
        else:
            output = cast(Any, self._model).generate(input_ids, attention_mask=attention_mask)
        assert isinstance(output, Tensor)
        continuations = output[:, input_ids.shape[1] :].tolist()
        return [self._cut(ids, layer) for ids, layer in zip(continuations, layers, strict=True)]

    def _cut(self, ids: list[int], layer: int | None) -> Answer:
        """What stands before the first stop token; after it a batch holds padding."""
        for place, token_id in enumerate(ids):
            if token_id in self._stop_ids:
                return Answer(ids[:place], True, layer)
        return Answer(ids, False, layer)

    def _left_padded(self, prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor]:
        width = max(map(len, prompts))
        input_ids = torch.full((len(prompts), width), self._padding_id)
        attention_mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(prompts):
            input_ids[row, width - len(ids) :] = torch.tensor(ids)
            attention_mask[row, width - len(ids) :] = 1
        return input_ids.to(self._model.device), attention_mask.to(self._model.device)


def longest_first(prompts: Sequence[list[int]], batch_size: int) -> Iterator[list[int]]:
    """Places in `prompts` in batches of similar length.

    The longest come first so that a batch too large for the memory fails at once and not after an hour.
    """
    order = sorted(range(len(prompts)), key=lambda place: (-len(prompts[place]), place))
    for first in range(0, len(order), batch_size):
        yield order[first : first + batch_size]
