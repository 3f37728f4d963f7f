"""The map that stands for the English prompt in a part of the training rows: fitted on the way, in closed form.

Every trained row gives its own activations and its English prompt's, both at t*, without the connection. Their sums of
products are kept in float64; after every `connection.predicted_refit` steps the map is solved for anew,

    W = (C_aa + ridge t I)^-1 C_ab,   C_ab = sum_l sum_n (A_nl - a_l)^T (B_nl - b_l),   t = trace(C_aa) / D

and then all sums are halved: the model that the map reads goes on learning, so a row counts half as much as one of the
next interval. Sums add up over micro-batches and ranks, hence neither changes the map but for rounding. They are kept
in the Trainer's checkpoints, and a run that goes on takes them from there.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cc_tuning.errors import TrainingFailed
from cc_tuning.model.checkpoint import read_tensors
from cc_tuning.model.predicted import EnglishPrediction, LinearMap
from cc_tuning.training.trainer_checkpoints import checkpoint_of_step
from data_contracts.files import written_atomically

logger = logging.getLogger(__name__)

RUNNING_MAP_FILE = "running_map.safetensors"
RIDGE = 1e-6
"""Of the mean diagonal of `C_aa`, as that of the Transform Matrix."""
OverRanks = Callable[[Tensor], Tensor]
"""The sum of a tensor over all ranks."""


class RunningSums:
    """Sums over this rank's rows since the start, older ones counted less; float64."""

    def __init__(self, layers: int, hidden_size: int, device: torch.device) -> None:
        def zeros(*sizes: int) -> Tensor:
            return torch.zeros(sizes, dtype=torch.float64, device=device)

        self.rows = zeros(1)
        self.own, self.english = zeros(layers, hidden_size), zeros(layers, hidden_size)
        self.own_own, self.own_english = zeros(hidden_size, hidden_size), zeros(hidden_size, hidden_size)

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All of them by name."""
        return dict(vars(self))

    def add(self, own: Tensor, english: Tensor) -> None:
        """Take in rows: `A` and `B [B, L, D]` of any dtype."""
        A, B = own.detach().double(), english.detach().double()
        self.rows += len(A)
        self.own += A.sum(0)
        self.english += B.sum(0)
        self.own_own += torch.einsum("nld,nle->de", A, A)
        self.own_english += torch.einsum("nld,nle->de", A, B)

    def halve(self) -> None:
        """Count all rows so far half as much."""
        for tensor in self.tensors.values():
            tensor *= 0.5

    def fill(self, values: dict[str, Tensor]) -> None:
        """Become what `tensors` once was."""
        for name, tensor in self.tensors.items():
            tensor.copy_(values[name])

    def solved(self, over_ranks: OverRanks) -> LinearMap:
        """The map of the rows of all ranks, float64.

        Raises:
            TrainingFailed: activations are not finite, or none of them varies.
        """
        total = {name: over_ranks(tensor.clone()) for name, tensor in self.tensors.items()}
        own_mean, english_mean = total["own"] / total["rows"], total["english"] / total["rows"]
        own_own = total["own_own"] - total["rows"] * own_mean.T @ own_mean
        own_english = total["own_english"] - total["rows"] * own_mean.T @ english_mean
        mean_diagonal = float(own_own.diagonal().mean())
        if not (mean_diagonal > 0 and bool(torch.isfinite(own_english).all())):
            raise TrainingFailed(
                f"the map for connection.predicted_share cannot be fitted: the activations of {float(total['rows'])} "
                f"rows have the mean variance {mean_diagonal}, expected a finite number above 0; look at the base "
                "model, or set connection.predicted_share to 0"
            )
        ridge = RIDGE * mean_diagonal * torch.eye(len(own_own), dtype=own_own.dtype, device=own_own.device)
        return LinearMap(torch.linalg.solve(own_own + ridge, own_english), own_mean, english_mean)


class RefittedMap(TrainerCallback):
    """Solves for the map after every `interval` steps, and keeps it with its sums in the Trainer's checkpoints.

    It stands before `CheckpointManifests`, which then records its file too.
    """

    def __init__(
        self,
        prediction: EnglishPrediction,
        sums: RunningSums,
        interval: int,
        over_ranks: OverRanks,
        resume_from: Path | None,
    ) -> None:
        self._prediction, self._sums, self._interval = prediction, sums, interval
        self._over_ranks, self._resume_from = over_ranks, resume_from

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self._resume_from is None:
            return
        values = read_tensors(self._resume_from / RUNNING_MAP_FILE)
        if "matrix" in values:
            self._prediction.use(LinearMap(**{name: values.pop(name) for name in LinearMap._fields}))
        if state.is_world_process_zero:  # the other ranks begin with nothing, so that the sum over all is this one
            self._sums.fill(values)

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step % self._interval == 0:
            self._prediction.use(self._sums.solved(self._over_ranks))
            self._sums.halve()
            logger.info("step %d: the map of %s was fitted anew", state.global_step, "connection.predicted_share")

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        values = {name: self._over_ranks(tensor.clone()) for name, tensor in self._sums.tensors.items()}
        if not state.is_world_process_zero:
            return
        if self._prediction.is_fitted:
            values |= {name: getattr(self._prediction, name) for name in LinearMap._fields}
        assert args.output_dir is not None
        folder = checkpoint_of_step(Path(args.output_dir), state.global_step)
        with written_atomically(folder / RUNNING_MAP_FILE) as path:
            save_file({name: tensor.cpu().contiguous() for name, tensor in values.items()}, path)
