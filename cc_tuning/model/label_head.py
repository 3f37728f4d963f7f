"""The language-model head at labelled positions alone, over a large vocabulary on some of them at a time.

The logits of a position of a model with 262,000 tokens take a megabyte in float32, and a cross-entropy holds about four
times as much. So the head sees the `N` positions that have a label and no other: a hook takes them out of `[B, T, D]`.

Where the logits of those would still be too many, the head runs on parts of them, each read, let go, and computed once
more in the backward pass (non-re-entrant checkpointing). One part's logits are held at a time, for a second forward
pass of the head: 8 instead of 6 `D V` FLOPs a label. All of this is one call of the head's module, whose `forward`
stands aside meanwhile: FSDP2 gathers a module's weights around its call, and again for the backward pass of what that
call put out. So the same tensor has to be what the head puts out, what the model puts out and what the loss is made of.

What follows a head differs from family to family. That of the table of families is known here, and any other model
keeps its head whole.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel

from cc_tuning.errors import UnsupportedModel
from cc_tuning.model.families import FAMILIES

Read = Callable[..., Tensor]
"""What is made of positions: of the logits `[M, V]` of each pass through the head and the labels `[M]`, a tensor
`[M, ...]` whose rows depend on their own position alone."""

LOGIT_BYTES = 1 << 28


def fits_whole(base: PreTrainedModel, labels: int, logit_bytes: int) -> bool:
    """Whether the logits of all `labels` are at most `logit_bytes` in float32, or the head cannot run on parts."""
    return labels <= rows_of_a_part(base, logit_bytes) or base.config.model_type not in FAMILIES


def rows_of_a_part(base: PreTrainedModel, logit_bytes: int) -> int:
    """How many positions have `logit_bytes` of float32 logits, at least one."""
    return max(1, logit_bytes // (4 * base.config.vocab_size))


def logits_of(base: PreTrainedModel, hidden: Tensor) -> Tensor:
    """The logits `[..., V]` that `base`, of a family of the table, has for the decoder's last hidden states."""
    return _bounded(base, _head_of(base)(hidden))


@contextmanager
def head_at(base: PreTrainedModel, is_labelled: Tensor) -> Iterator[None]:
    """The head of `base` on the true positions of `is_labelled [B, T]`: passes inside the block give logits `[N, V]`.

    Rows come in order, and in each its positions.

    Raises:
        UnsupportedModel: the head did not run, or on other hidden states than `[B, T, D]`.
    """
    shapes: list[tuple[int, ...]] = []

    def gather(head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = inputs
        shapes.append(tuple(hidden.shape))
        if shapes[-1][:-1] != tuple(is_labelled.shape):
            raise UnsupportedModel(
                f"the head of a {type(base).__name__} was given hidden states {list(shapes[-1])}, expected "
                f"{[*is_labelled.shape, 'D']}, a position for every token; leave `logits_to_keep` out of the inputs"
            )
        return hidden[is_labelled.to(hidden.device)], *others

    handle = _head_of(base).register_forward_pre_hook(gather)
    try:
        yield
    finally:
        handle.remove()
    if not shapes:
        raise UnsupportedModel(
            f"the output embedding of a {type(base).__name__} did not run in its forward pass, expected once; it "
            "computes its logits in another way and cannot be trained on labelled positions alone"
        )


@contextmanager
def head_in_parts(
    base: PreTrainedModel,
    module: nn.Module,
    is_labelled: Tensor,
    labels: Tensor,
    read: Read,
    rows: int,
    passes: int = 1,
) -> Iterator[None]:
    """As `head_at`, but a call of `module` gives as `logits` what `read` makes of `rows` positions at a time.

    `module` is `base` or has it inside, and runs its head `passes` times in a call. `labels [N]` are those of the true
    positions of `is_labelled [B, T]`, and the result is `[N, ...]`.

    Raises:
        UnsupportedModel: the head did not run, or on other hidden states than `[B, T, D]`.
    """
    head = _head_of(base)
    run, had_own = head.forward, "forward" in vars(head)
    held: list[Tensor] = []
    results: list[Tensor] = []

    def of_part(*part: Tensor) -> Tensor:
        return read(*(_bounded(base, run(hidden)) for hidden in part[:-1]), part[-1])

    def in_parts(hidden: Tensor) -> Tensor:
        held.append(hidden)
        if len(held) < passes:
            return hidden[:0]
        parts = zip(*(tensor.split(rows) for tensor in (*held, labels.to(hidden.device))), strict=True)
        results.append(torch.cat([checkpoint(of_part, *part, use_reentrant=False) for part in parts]))
        return results[-1]

    def put_in_place(module: nn.Module, inputs: Any, output: Any) -> Any:
        output.logits = results[-1] if results else None  # what stands there went through the bound of Gemma 2
        return output

    with head_at(base, is_labelled):
        head.forward, handle = in_parts, module.register_forward_hook(put_in_place, prepend=True)
        try:
            yield
        finally:
            handle.remove()
            head.forward = run
            if not had_own:
                del head.forward


def _bounded(base: PreTrainedModel, logits: Tensor) -> Tensor:
    bound: float | None = getattr(base.config, "final_logit_softcapping", None)
    return logits if bound is None else torch.tanh(logits / bound) * bound


def _head_of(base: PreTrainedModel) -> nn.Module:
    head = base.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise UnsupportedModel(
            f"a {type(base).__name__} has no output embedding that is a module (got {type(head).__name__}); expected a "
            "causal language model with a head"
        )
    return head
