"""Real rows as batches: from JSON lines with `prompt`, `response` and `english_prompt` to what a model takes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from cc_tuning.runtime.padding import padded
from cc_tuning.text.prompts import ChatPrompts, connection_position

LONGEST = 512  # tokens of a row, and of its English prompt; a longer one is left out
IGNORED = -100
Batch = dict[str, Tensor]


@dataclass(frozen=True)
class Row:
    """Token ids of a prompt with its response, and of the English prompt."""

    input_ids: list[int]
    prompt_length: int
    english_input_ids: list[int]

    @property
    def response_tokens(self) -> int:
        """Tokens with a label."""
        return len(self.input_ids) - self.prompt_length


def read_rows(path: Path, prompts: ChatPrompts) -> tuple[list[Row], int]:
    """The rows that are short enough, in the order of the file, and how many are not."""
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    examples = prompts.encode_examples([line["prompt"] for line in lines], [line["response"] for line in lines])
    english = prompts.encode_prompts([line["english_prompt"] for line in lines])
    rows = [Row(example.input_ids, example.prompt_length, ids) for example, ids in zip(examples, english, strict=True)]
    kept = [row for row in rows if max(len(row.input_ids), len(row.english_input_ids)) <= LONGEST]
    return kept, len(rows) - len(kept)


@dataclass(frozen=True)
class Collator:
    """Batches on a device, right padded, with the language-model head on the responses alone."""

    padding_id: int
    offset: int
    device: str

    def __call__(self, rows: Sequence[Row]) -> Batch:
        """`input_ids, attention_mask [B, T]`, `labels [B, K]` of the last `K` positions, and the English side."""
        ids, mask = padded([row.input_ids for row in rows], self.padding_id)
        english_ids, english_mask = padded([row.english_input_ids for row in rows], self.padding_id)
        lengths = torch.tensor([row.prompt_length for row in rows])
        is_response = (torch.arange(ids.shape[1]) >= lengths[:, None]) & (mask > 0)
        kept = ids.shape[1] - int(lengths.min()) + 1
        batch = {
            "input_ids": ids,
            "attention_mask": mask,
            "labels": ids.where(is_response, IGNORED)[:, -kept:],
            "connection_positions": self._positions([row.prompt_length for row in rows]),
            "english_input_ids": english_ids,
            "english_attention_mask": english_mask,
            "english_positions": self._positions([len(row.english_input_ids) for row in rows]),
        }
        return {name: value.to(self.device) for name, value in batch.items()}

    def _positions(self, lengths: Sequence[int]) -> Tensor:
        return torch.tensor([connection_position(length, self.offset) for length in lengths])


def own_side(batch: Batch) -> Batch:
    """What a model without a connection takes, labels aside."""
    return {name: batch[name] for name in ("input_ids", "attention_mask")}
