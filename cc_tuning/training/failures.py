"""A step that cannot be trained, said with the rows that were in it: a loss that is not finite, too little memory."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor

from cc_tuning.errors import TrainingFailed
from cc_tuning.training.collators import Batch, MicroBatch
from cc_tuning.training.throughput import MeasuredStep

_NAMED_ROWS = 64


def check_finite(logs: Mapping[str, float], steps: Sequence[MeasuredStep], step: int, max_steps: int) -> None:
    """Stop where the loss or the gradient norm of a log line is not a finite number.

    `steps` are this rank's since the line before, `step` is the last of them.

    Raises:
        TrainingFailed: with the first step whose loss is not finite and its row ids, or those of the last step.
    """
    loss, grad_norm = float(logs["loss"]), float(logs.get("grad_norm", 0.0))
    if math.isfinite(loss) and math.isfinite(grad_norm):
        return
    raise TrainingFailed(
        f"step {step} of {max_steps}: loss {loss}, gradient norm {grad_norm}, expected finite numbers, at learning "
        f"rate {logs['learning_rate']:.1e}. {_first_bad(steps)}. Look at these rows, lower training.learning_rate, or "
        "set training.dtype to float32. No checkpoint was saved from this step; the one before is kept"
    )


def check_finite_validation(loss: float, measured: MeasuredStep, max_steps: int) -> None:
    """Stop where the loss of the held-out rows is not a finite number: it says of no checkpoint that it is the best.

    `measured` are this rank's micro-batches of held-out rows.

    Raises:
        TrainingFailed: with the held-out rows of this rank whose loss is not finite.
    """
    if not math.isfinite(loss):
        raise TrainingFailed(
            f"step {measured.step} of {max_steps}: validation loss {loss}, expected a finite number. "
            f"{_first_bad([measured])}. Look at these rows, which are held out of training, or set training.dtype to "
            "float32"
        )


def _first_bad(steps: Sequence[MeasuredStep]) -> str:
    for measured in steps:
        is_finite = torch.isfinite(measured.losses).tolist()
        bad = [ids for ids, finite in zip(measured.row_ids, is_finite, strict=True) if not finite]
        if bad:
            return f"The first loss that is not finite is in step {measured.step}, {_named([*chain(*bad)])}"
    if not steps:
        return "This rank has trained no row since the line before"
    return f"Every loss of this rank is finite; it had in step {steps[-1].step} {_named([*chain(*steps[-1].row_ids)])}"


@contextmanager
def named_when_out_of_memory(step: int, micro_batch: MicroBatch) -> Iterator[None]:
    """Says what was being computed when memory runs out in the block: a micro-batch of the step `step`, from 1.

    Raises:
        TrainingFailed: in the place of the device's own error.
    """
    batch, rows = micro_batch.batch, len(micro_batch.row_ids)
    sequences, tokens = _shape(batch, "input_ids")
    of_row = f" x {sequences // rows} sequences" if sequences > rows else ""
    english = f" with English prompts of {_shape(batch, 'english_input_ids')[1]}" if has_english(batch) else ""
    less = "materialization.cutoff_tokens" if rows == 1 else f"execution.device_batch_tokens below {sequences * tokens}"
    where = (
        f"in step {step}, in a micro-batch of {rows} rows{of_row} x {tokens} tokens{english}, "
        f"{_named(micro_batch.row_ids)}"
    )
    advice = f"Lower {less}, or set execution.gradient_checkpointing; training goes on from the last checkpoint"
    with _out_of_memory(where, advice):
        yield


@contextmanager
def named_when_out_of_memory_elsewhere() -> Iterator[None]:
    """The same for what is not in a micro-batch: the optimizer's state, which takes twice the weights in float32.

    Raises:
        TrainingFailed: in the place of the device's own error.
    """
    where = "outside of a micro-batch, where weights, gradients and AdamW's moments are"
    advice = (
        "They take 16 bytes for each weight that is trained, whatever the batch; use more devices that share them, "
        "train fewer weights, or take a smaller model"
    )
    with _out_of_memory(where, advice):
        yield


@contextmanager
def _out_of_memory(where: str, advice: str) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingFailed(f"out of memory {where}: {_first_line(error)}. {advice}") from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of torch or Python says that memory ran out, on a GPU or a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return "can't allocate memory" in str(error) or "not enough memory" in str(error)


def has_english(batch: Batch) -> bool:
    """Whether a micro-batch has English prompts beside its rows."""
    return "english_input_ids" in batch


def _shape(batch: Batch, name: str) -> tuple[int, int]:
    ids = batch[name]
    assert isinstance(ids, Tensor)
    return ids.shape[0], ids.shape[1]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _named(row_ids: Sequence[str]) -> str:
    more = f" and {len(row_ids) - _NAMED_ROWS} more" if len(row_ids) > _NAMED_ROWS else ""
    return f"rows {', '.join(row_ids[:_NAMED_ROWS])}{more}"
