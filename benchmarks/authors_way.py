"""CC-Tuning as the authors' released code computes it, to compare speed with. The words and the code are ours.

Written from the list of differences in docs/deviations.md: whole outputs of every feed-forward block are kept; passes
that only serve activations run the language-model head over all positions as well; a prompt is prefilled twice; noise
is drawn for every decision; prompts are answered one by one. Not repeated: what costs time without being part of the
method (printing, searching the position in the token ids, decoding the text again at each step).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from cc_tuning.model import CrossLingualModel


@contextmanager
def kept_ffn_outputs(base: nn.Module) -> Iterator[list[Tensor]]:
    """The whole output `[B, T, D]` of each layer's feed-forward block in the last pass inside the block."""
    layers = base.model.layers
    outputs: list[Any] = [None] * len(layers)
    handles = []
    for number, layer in enumerate(layers):

        def keep(module: nn.Module, inputs: Any, output: Tensor, number: int = number) -> None:
            outputs[number] = output

        handles.append(layer.mlp.register_forward_hook(keep))
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def added_at(base: nn.Module, positions: Tensor, vector: Tensor) -> Iterator[None]:
    """`vector [B, D]` added to the first layer's output, row by row in place, at `positions [B]`."""

    def add(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        output = output.clone() if output.requires_grad else output
        for row in range(output.shape[0]):
            output[row, positions[row].item()] += vector[row]
        return output

    handle = base.model.layers[0].register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()


def choose_vector(model: CrossLingualModel, source: Tensor, embedding: Tensor) -> Tensor:
    """`v [B, D]` from `source [B, L, D]` and `e [B, D]`, with Gumbel noise in training and at inference alike."""
    logits = (source + embedding[:, None]).mean(1) @ model.decision_maker.weight.to(source.dtype)
    weights = nn.functional.gumbel_softmax(logits, tau=1.0, hard=True)
    return (weights[..., None] * source).sum(1)


@torch.no_grad()
def answer(model: CrossLingualModel, prompt: Tensor, new_tokens: int) -> list[int]:
    """The greedy continuation of one prompt of ids `[T]`: two full prefills with logits everywhere, then decoding."""
    base, ids, place = model.base, prompt[None], prompt.shape[0] - 1
    with kept_ffn_outputs(base) as outputs:
        base(input_ids=ids, use_cache=True)
        own = torch.stack([output[:, place] for output in outputs], dim=1)
        matrix = model.transform_matrix.clone()  # brought to the device for each prompt
        vector = choose_vector(model, (own.float() @ matrix).to(own.dtype), base.model.embed_tokens(ids[:, place]))
        with added_at(base, ids.new_tensor([place]), vector):
            output = base(input_ids=ids, use_cache=True)
        answered = [int(output.logits[0, -1].argmax())]
        while len(answered) < new_tokens:
            token = ids.new_tensor([[answered[-1]]])
            output = base(input_ids=token, past_key_values=output.past_key_values, use_cache=True)
            answered.append(int(output.logits[0, -1].argmax()))
    return answered


def training_loss(model: CrossLingualModel, batch: dict[str, Tensor], english_gradient: bool) -> Tensor:
    """The loss of a batch of `ConnectionCollator`: English pass through the whole model, without its mask.

    The released configuration has no gradient through the English pass, and all of it with checkpointing switched off.
    """
    base, rows = model.base, torch.arange(batch["input_ids"].shape[0])
    with torch.set_grad_enabled(english_gradient), kept_ffn_outputs(base) as outputs:
        base(input_ids=batch["english_input_ids"], use_cache=False)
        english = torch.stack([output[rows, batch["english_positions"]] for output in outputs], dim=1)
    connected_ids = batch["input_ids"][rows, batch["connection_positions"]]
    vector = choose_vector(model, english, base.model.embed_tokens(connected_ids))
    with added_at(base, batch["connection_positions"], vector):
        return base(
            input_ids=batch["input_ids"],
            attention_mask=batch["attention_mask"],
            labels=batch["labels"],
            use_cache=False,
        ).loss
