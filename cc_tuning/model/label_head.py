"""The language-model head at labelled positions alone, over a large vocabulary on some of them at a time.

The logits of a position of a model with 262,000 tokens take a megabyte in float32, and a cross-entropy holds about four
times as much. So the head sees the `N` positions that have a label and no other: a hook takes them out of `[B, T, D]`.

Where the logits of those would still be too many, the head runs on parts of them. Its own call in the pass is given no
position, and once the pass is done each part's logits are computed, read, let go, and computed once more in the
backward pass (non-re-entrant checkpointing). One part's logits are held at a time, for a second forward pass of the
head: 8 instead of 6 `D V` FLOPs a label. This happens inside of the module's call, before any hook of FSDP2, which
finds the result among the outputs and so gathers the head's weights again for it; the head is called as a module, never
by its weight. What stands behind a head differs from family to family: those of the table of families are known here,
and any other model keeps its head whole.
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
    logits: Tensor = _head_of(base)(hidden)
    bound: float | None = getattr(base.config, "final_logit_softcapping", None)
    return logits if bound is None else torch.tanh(logits / bound) * bound


@contextmanager
def head_at(base: PreTrainedModel, is_labelled: Tensor) -> Iterator[None]:
    """The head of `base` on the true positions of `is_labelled [B, T]`: passes inside the block give logits `[N, V]`.

    Rows come in order, and in each its positions.

    Raises:
        UnsupportedModel: the head did not run, or on other hidden states than `[B, T, D]`.
    """
    with _captured_before_head(base, is_labelled, lambda hidden: hidden):
        yield


@contextmanager
def head_in_parts(
    base: PreTrainedModel, module: nn.Module, is_labelled: Tensor, labels: Tensor, read: Read, rows: int
) -> Iterator[None]:
    """As `head_at`, but a call of `module` gives as `logits` what `read` makes of `rows` positions at a time.

    `module` is `base` or has it inside, `labels [N]` are those of the true positions of `is_labelled [B, T]`.

    Raises:
        UnsupportedModel: the head did not run, or on other hidden states than `[B, T, D]`.
    """
    passes: list[Tensor] = []
    autocast: dict[str, Any] = {"device_type": labels.device.type, "enabled": False}

    def keep(hidden: Tensor) -> Tensor:
        kind = hidden.device.type
        # The hook on the module runs outside of the autocast that an engine has put around its forward.
        autocast.update(device_type=kind, enabled=torch.is_autocast_enabled(kind), dtype=torch.get_autocast_dtype(kind))
        passes.append(hidden)
        return hidden[:0]

    def read_part(*part: Tensor) -> Tensor:
        with torch.autocast(**autocast):
            logits = [logits_of(base, hidden) for hidden in part[:-1]]
        return read(*logits, part[-1])

    def read_parts(module: nn.Module, inputs: Any, output: Any) -> Any:
        remove()  # the head is called on parts now, and again in the backward pass
        if passes:
            parts = zip(*(each.split(rows) for each in (*passes, labels.to(passes[0].device))), strict=True)
            output.logits = torch.cat([checkpoint(read_part, *part, use_reentrant=False) for part in parts])
            passes.clear()
        return output

    with _captured_before_head(base, is_labelled, keep) as remove:
        handle = module.register_forward_hook(read_parts, prepend=True)
        try:
            yield
        finally:
            handle.remove()


@contextmanager
def _captured_before_head(
    base: PreTrainedModel, is_labelled: Tensor, pass_on: Callable[[Tensor], Tensor]
) -> Iterator[Callable[[], None]]:
    """The head is given what `pass_on` makes of `hidden [N, D]`; gives what removes the hook."""
    shapes: list[tuple[int, ...]] = []

    def gather(head: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, *others = inputs
        shapes.append(tuple(hidden.shape))
        if shapes[-1][:-1] != tuple(is_labelled.shape):
            raise UnsupportedModel(
                f"the head of a {type(base).__name__} was given hidden states {list(shapes[-1])}, expected "
                f"{[*is_labelled.shape, 'D']}, a position for every token; leave `logits_to_keep` out of the inputs"
            )
        return pass_on(hidden[is_labelled.to(hidden.device)]), *others

    handle = _head_of(base).register_forward_pre_hook(gather)
    try:
        yield handle.remove
    finally:
        handle.remove()
    if not shapes:
        raise UnsupportedModel(
            f"the output embedding of a {type(base).__name__} did not run in its forward pass, expected once; it "
            "computes its logits in another way and cannot be trained on labelled positions alone"
        )


def _head_of(base: PreTrainedModel) -> nn.Module:
    head = base.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise UnsupportedModel(
            f"a {type(base).__name__} has no output embedding that is a module (got {type(head).__name__}); expected a "
            "causal language model with a head"
        )
    return head
