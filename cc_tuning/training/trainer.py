"""The Trainer of transformers with one method of its own: where its batches come from."""

from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import Trainer

from cc_tuning.training.batches import BatchShape, LengthGroupedBatches
from cc_tuning.training.dataset import TrainingRows


class LengthGroupedTrainer(Trainer):
    """A Trainer whose ranks read `LengthGroupedBatches` of its `TrainingRows`.

    The loader is not prepared by accelerate: that would deal batches to ranks anew and repeat rows to make them even.
    """

    def __init__(self, *arguments: Any, batch_shape: BatchShape, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._batch_shape = batch_shape

    def get_train_dataloader(self) -> DataLoader[Any]:
        """The micro-batches of this rank."""
        rows = self.train_dataset
        assert isinstance(rows, TrainingRows) and self.args.data_seed is not None
        batches = LengthGroupedBatches(
            rows.row_ids, rows.lengths, self._batch_shape, self.args.data_seed, self.args.process_index
        )
        return EpochDataLoader(
            rows,
            batch_sampler=batches,
            collate_fn=self.data_collator,
            pin_memory=self.args.dataloader_pin_memory,
            generator=torch.Generator(),  # the global one belongs to the Gumbel noise
        )


class EpochDataLoader(DataLoader[Any]):
    """A DataLoader that tells its batch sampler the epoch when the Trainer does."""

    batch_sampler: LengthGroupedBatches

    def set_epoch(self, epoch: int) -> None:
        """Hand the epoch on."""
        self.batch_sampler.set_epoch(epoch)
