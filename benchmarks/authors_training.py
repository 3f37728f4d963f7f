"""A training step the way the authors' released code takes it, written from a description of it.

Rows in the order of the step, as many as a device holds, padded to the longest; the English prompts likewise, without
an attention mask, through the whole causal language model with its head, whose output is thrown away; logits of every
position in the connected pass; the vector added row by row. Its English pass carries no gradient, as in the
configuration that ships. What that configuration recomputes (gradient checkpointing) is left out, to its favour.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel


class AuthorsModel(nn.Module):
    """The language model and the layer chooser; a forward pass gives the mean loss of a padded batch."""

    def __init__(self, base: PreTrainedModel) -> None:
        super().__init__()
        self.base: Any = base
        layers = base.config.num_hidden_layers
        self.chooser = nn.Linear(base.config.hidden_size, layers, bias=False, dtype=base.dtype)

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor, ends: list[int],
        english_ids: Tensor, english_ends: list[int],
    ) -> Tensor:  # fmt: skip
        """Ids, mask and labels `[B, T]`, English ids `[B, T_en]`; `ends` are the last prompt tokens of each row."""
        seen: list[Tensor] = []
        blocks = [layer.mlp for layer in self.base.model.layers]
        hooks = [block.register_forward_hook(lambda _, __, output: seen.append(output)) for block in blocks]
        with torch.no_grad():
            self.base(input_ids=english_ids)
        for hook in hooks:
            hook.remove()
        english = torch.stack([torch.stack([out[row, end] for out in seen]) for row, end in enumerate(english_ends)])
        embedded = self.base.get_input_embeddings()(input_ids)
        at_end = torch.stack([embedded[row, end] for row, end in enumerate(ends)])
        logits = self.chooser((english + at_end[:, None]).mean(1))
        weights = nn.functional.gumbel_softmax(logits, hard=True)
        vectors = (weights[..., None] * english).sum(1)

        def connect(_: nn.Module, __: Any, hidden: Tensor) -> Tensor:
            changed = hidden.clone()
            for row, end in enumerate(ends):
                changed[row, end] = changed[row, end] + vectors[row]
            return changed

        hook = self.base.model.layers[0].register_forward_hook(connect)
        try:
            loss: Tensor = self.base(inputs_embeds=embedded, attention_mask=attention_mask, labels=labels).loss
        finally:
            hook.remove()
        return loss


def padded(sequences: Sequence[Sequence[int]], value: int) -> Tensor:
    """`[B, longest]` int64, padded on the right."""
    return nn.utils.rnn.pad_sequence([torch.tensor(ids) for ids in sequences], batch_first=True, padding_value=value)


def authors_batches(rows: Sequence[dict[str, Any]], device_rows: int, device: str) -> Iterator[dict[str, Any]]:
    """The micro-batches of a step as arguments of `AuthorsModel`, `device_rows` rows each, in the order they come."""
    for first in range(0, len(rows), device_rows):
        some = rows[first : first + device_rows]
        ids = [row["input_ids"] for row in some]
        labels = [[-100] * row["prompt_length"] + list(row["input_ids"][row["prompt_length"] :]) for row in some]
        yield {
            "input_ids": padded(ids, 0).to(device),
            "attention_mask": padded([[1] * len(row) for row in ids], 0).to(device),
            "labels": padded(labels, -100).to(device),
            "ends": [row["prompt_length"] - 1 for row in some],
            "english_ids": padded([row["english_input_ids"] for row in some], 0).to(device),
            "english_ends": [len(row["english_input_ids"]) - 1 for row in some],
        }
