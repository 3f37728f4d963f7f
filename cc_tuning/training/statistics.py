"""The mean and deviation of English activations, measured once before the first step of training.

A sample of the training rows goes through the model as it will be trained, in evaluation mode and without a gradient;
what the connection reads of their English prompts is summed up in float64. The pass is that of held-out rows: every
rank takes part in it, whatever the engine, and all end with the same numbers. They are written into each of the
Trainer's checkpoints, before its manifest, and a run that goes on takes them from there.
"""

import logging
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cc_tuning.model.checkpoint import read_tensors
from cc_tuning.model.normalisation import ActivationMoments, ActivationNormalisation, ActivationStatistics
from cc_tuning.training.collators import MicroBatch
from cc_tuning.training.trainer_checkpoints import checkpoint_of_step
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)

STATISTICS_FILE = "activation_statistics.safetensors"
Passes = Callable[[], Iterator[tuple[MicroBatch, Tensor]]]
"""Runs the sample through the model: each of this rank's micro-batches when its pass is over, and its loss."""


def sampled_indices(row_ids: Sequence[str], rows: int, seed: int) -> list[int]:
    """The indices, ascending, of the `rows` rows whose hashes of seed and row id are the smallest, or of all."""

    def key(index: int) -> bytes:
        return blake2b(f"{seed}/statistics/{row_ids[index]}".encode(), digest_size=16).digest()

    return sorted(sorted(range(len(row_ids)), key=key)[:rows])


def measured_statistics(
    normalisation: ActivationNormalisation, passes: Passes, over_ranks: Callable[[Tensor], Tensor]
) -> ActivationStatistics:
    """The statistics of what `normalisation` is given in the passes of all ranks, but for idle ones.

    `over_ranks` gives the sum of a tensor over the ranks.

    Raises:
        ConfigError: fewer than two prompts, or activations that are not finite.
    """
    assert normalisation.mean is not None
    layers, hidden_size = normalisation.mean.shape
    moments = ActivationMoments(layers, hidden_size, normalisation.mean.device)
    given: list[Tensor] = []

    def keep(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        given.append(inputs[0].detach())

    handle = normalisation.register_forward_pre_hook(keep)
    try:
        for micro_batch, _ in passes():
            for activations in given:
                if not micro_batch.is_idle:
                    moments.add(activations)
            given.clear()
    finally:
        handle.remove()
    return moments.summed(over_ranks)


class MeasuredStatistics(TrainerCallback):
    """Measures before the first step, or takes up what the checkpoint at `resume_from` holds; keeps it in later ones.

    It stands before `CheckpointManifests`, which then records its file too.
    """

    def __init__(
        self,
        normalisation: ActivationNormalisation,
        measure: Callable[[], ActivationStatistics],
        resume_from: Path | None,
    ) -> None:
        self._normalisation, self._measure, self._resume_from = normalisation, measure, resume_from

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._resume_from is not None:
            path = self._resume_from / STATISTICS_FILE
            self._normalisation.load(ActivationStatistics.taken_from(read_tensors(path)), path)
            return
        self._normalisation.use(self._measure())
        logger.info("activations are %s by %d training prompts", self._normalisation.kind, self._normalisation.prompts)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        statistics = self._normalisation.statistics
        if not state.is_world_process_zero or statistics is None:
            return
        assert args.output_dir is not None
        with written_atomically(checkpoint_of_step(Path(args.output_dir), state.global_step) / STATISTICS_FILE) as path:
            save_file({name: tensor.cpu().contiguous() for name, tensor in statistics.tensors.items()}, path)
