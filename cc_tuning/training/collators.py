"""Training rows to a batch: right padding, and a loss on the response only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cc_tuning.text.prompts import connection_position
from cc_tuning.training.noise import RowNoise

IGNORED_LABEL = -100

Row = Mapping[str, Any]
Batch = dict[str, Tensor | int]


@dataclass(frozen=True)
class ResponseCollator:
    """Batches for supervised fine-tuning.

    Gives `input_ids`, `attention_mask` `[B, T]` and `labels [B, K]`, int64, and `logits_to_keep`, the number `K`: the
    language-model head runs on the last `K` positions only, from the one that predicts the batch's first response
    token. The prompt and the padding carry no label, the response and its end-of-turn token do.
    """

    pad_token_id: int

    def __call__(self, rows: Sequence[Row]) -> Batch:
        input_ids, attention_mask = self._pad([_ids(row, "input_ids") for row in rows])
        prompt_lengths = torch.tensor([_length(row) for row in rows])
        positions = torch.arange(input_ids.shape[1])
        is_response = (positions >= prompt_lengths[:, None]) & (attention_mask == 1)
        labels = input_ids.where(is_response, IGNORED_LABEL)
        kept = input_ids.shape[1] - min(int(prompt_lengths.min()), input_ids.shape[1] - 1) + 1
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "labels": labels[:, -kept:],
            "logits_to_keep": kept,
        }

    def _pad(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """`input_ids` and `attention_mask [B, T]` int64, padded on the right."""
        longest = max(len(ids) for ids in sequences)
        input_ids = torch.full((len(sequences), longest), self.pad_token_id, dtype=torch.int64)
        attention_mask = torch.zeros_like(input_ids)
        for row, ids in enumerate(sequences):
            input_ids[row, : len(ids)] = torch.tensor(ids, dtype=torch.int64)
            attention_mask[row, : len(ids)] = 1
        return input_ids, attention_mask


@dataclass(frozen=True)
class ConnectionCollator(ResponseCollator):
    """Batches for CC-Tuning: adds the English prompts, padded by themselves, and `t*` on both sides.

    `english_input_ids`, `english_attention_mask` `[B, T_en]`; `connection_positions`, `english_positions` `[B]`, all
    int64. Positions come from the known prompt lengths. With `noise`, `gumbel_noise [B, L]` float32 of each row's
    `row_id` and `epoch`; without, the model draws its own.
    """

    offset: int
    noise: RowNoise | None = None

    def __call__(self, rows: Sequence[Row]) -> Batch:
        english = [_ids(row, "english_input_ids") for row in rows]
        english_input_ids, english_attention_mask = self._pad(english)
        noise = {} if self.noise is None else {"gumbel_noise": self.noise.of_rows(rows)}
        return {
            **super().__call__(rows),
            **noise,
            "connection_positions": self._positions([_length(row) for row in rows]),
            "english_input_ids": english_input_ids,
            "english_attention_mask": english_attention_mask,
            "english_positions": self._positions([len(ids) for ids in english]),
        }

    def _positions(self, prompt_lengths: Sequence[int]) -> Tensor:
        return torch.tensor([connection_position(length, self.offset) for length in prompt_lengths])


def _ids(row: Row, column: str) -> Sequence[int]:
    ids: Sequence[int] = row[column]
    return ids


def _length(row: Row) -> int:
    length: int = row["prompt_length"]
    return length
