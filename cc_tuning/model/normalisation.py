"""Activations about their mean over training prompts, so that what is carried over is what one prompt says.

At t* most of an activation is the same for every prompt: 95 % and more of `||F_en||^2` in a pretrained Gemma 3 270M.
`connection.normalise` takes that constant away, layer by layer,

    z_l = F_l - m_l        (`centred`)        z_l = (F_l - m_l) / s_l        (`standardised`)

with the mean `m_l` and standard deviation `s_l` of `F_en,l` over training prompts, for each of the D dimensions. `z`
stands wherever equations 3 and 4 of Ye et al. 2025 have `F`, also for activations that the Transform Matrix predicts
and for a prompt's own ones: there is one set of statistics, that of English prompts. No gradient flows into it. It is
taken once, before training, and kept beside the weights.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor, nn

from cc_tuning.errors import ConfigError
from cc_tuning.model.config import Normalisation
from data_contracts.errors import ArtifactMismatch

LEAST_DEVIATION = 0.01
"""No dimension is divided by less than this share of its layer's root mean square `s_l`: one that hardly varied over
the sample would else rule the whole vector as soon as it does."""
_MEAN, _DEVIATION, _PROMPTS = "activation_mean", "activation_deviation", "activation_prompts"


@dataclass(frozen=True)
class ActivationStatistics:
    """`m` and `s` of `F_en`, both `[L, D]` float32, over that many prompts."""

    mean: Tensor
    deviation: Tensor
    prompts: int

    @classmethod
    def taken_from(cls, tensors: dict[str, Tensor]) -> Self | None:
        """The statistics among named tensors, which are removed from them; None when there are none."""
        mean, deviation, prompts = (tensors.pop(name, None) for name in (_MEAN, _DEVIATION, _PROMPTS))
        if mean is None or deviation is None or prompts is None:
            return None
        return cls(mean, deviation, int(prompts))

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The statistics as named tensors."""
        return {_MEAN: self.mean, _DEVIATION: self.deviation, _PROMPTS: torch.tensor([self.prompts])}


class ActivationMoments:
    """Count, mean and squared deviations of activations that come in batches, in float64.

    A batch joins by the update of Chan, Golub and LeVeque (1983, *The American Statistician* 37(3)): sums of squares
    are always about the mean, so a constant that is far larger than what varies costs no digits.
    """

    def __init__(self, layers: int, hidden_size: int, device: torch.device) -> None:
        self._count = torch.zeros((), dtype=torch.float64, device=device)
        self._mean = torch.zeros(layers, hidden_size, dtype=torch.float64, device=device)
        self._squares = torch.zeros_like(self._mean)

    def add(self, activations: Tensor) -> None:
        """Take in `F [B, L, D]` of any dtype."""
        batch = activations.detach().double()
        mean, number = batch.mean(0), batch.shape[0]
        total, shift = self._count + number, mean - self._mean
        self._squares += ((batch - mean) ** 2).sum(0) + shift**2 * (self._count * number / total)
        self._mean += shift * (number / total)
        self._count = total

    def summed(self, over_ranks: Callable[[Tensor], Tensor]) -> ActivationStatistics:
        """The statistics of what all ranks took in, the same on each; `over_ranks` gives the sum of a tensor.

        Raises:
            ConfigError: fewer than two prompts, or values that are not finite.
        """
        count = over_ranks(self._count.clone())
        mean = over_ranks(self._count * self._mean) / count
        squares = over_ranks(self._squares + self._count * (self._mean - mean) ** 2)
        deviation = (squares / count).sqrt()
        if count < 2 or not bool(torch.isfinite(mean).all() and torch.isfinite(deviation).all()):
            raise ConfigError(
                f"connection.normalise needs the mean of English activations over training prompts; got {int(count)} "
                f"prompts, of whose means {int((~torch.isfinite(mean)).sum())} are not finite, expected at least two "
                "prompts and finite activations. Raise connection.statistics_rows, or look at the base model"
            )
        return ActivationStatistics(mean.float(), deviation.float(), int(count))


class ActivationNormalisation(nn.Module):
    """`z [B, L, D]` float32 of `F [B, L, D]`; the same tensor without any change where `kind` is `none`.

    Before statistics are given, `z` is `F`. They are no part of the state dict: they are not trained, and engines that
    shard weights need not know of them.
    """

    def __init__(self, kind: Normalisation, layers: int, hidden_size: int) -> None:
        super().__init__()
        self.kind = kind
        self.prompts = 0
        """How many prompts the statistics are of; 0 before they are given."""
        self.mean: Tensor | None
        self.deviation: Tensor | None
        self.divisor: Tensor | None
        sizes = (layers, hidden_size)
        self.register_buffer("mean", None if kind == "none" else torch.zeros(sizes), persistent=False)
        self.register_buffer("deviation", None if kind == "none" else torch.ones(sizes), persistent=False)
        self.register_buffer("divisor", torch.ones(sizes) if kind == "standardised" else None, persistent=False)

    @property
    def statistics(self) -> ActivationStatistics | None:
        """What is in force; None where nothing is normalised.

        Raises:
            ConfigError: nothing has been measured yet.
        """
        if self.mean is None or self.deviation is None:
            return None
        self.check_measured()
        return ActivationStatistics(self.mean, self.deviation, self.prompts)

    def check_measured(self) -> None:
        """Refuse to go on without the statistics that are needed.

        Raises:
            ConfigError: nothing has been measured yet.
        """
        if self.kind != "none" and not self.prompts:
            raise ConfigError(
                f"connection.normalise is {self.kind!r} and this model has no statistics of activations: they are "
                "measured before training and kept in its checkpoint. Train it with the train stage, or give them to "
                "`normalisation.use`"
            )

    def use(self, statistics: ActivationStatistics) -> None:
        """Normalise with these from now on.

        Raises:
            ConfigError: nothing is to be normalised, the shapes are those of another model, or a layer is to be
                standardised that does not vary.
        """
        if self.mean is None or self.deviation is None or self.mean.shape != statistics.mean.shape:
            expected = None if self.mean is None else tuple(self.mean.shape)
            raise ConfigError(
                f"got statistics of shape {tuple(statistics.mean.shape)} for connection.normalise {self.kind!r} and "
                f"activations of (layers, hidden size) {expected}; take those of this model"
            )
        self.mean.copy_(statistics.mean)
        self.deviation.copy_(statistics.deviation)
        self.prompts = statistics.prompts
        if self.divisor is None:
            return
        of_layer = self.deviation.square().mean(-1, keepdim=True).sqrt()
        if still := (of_layer[:, 0] == 0).nonzero()[:, 0].tolist():
            raise ConfigError(
                f"connection.normalise 'standardised': the activations of layers {still} (from 0) are the same for all "
                f"{statistics.prompts} prompts, so they have no standard deviation; use 'centred', or more prompts "
                "(connection.statistics_rows)"
            )
        self.divisor.copy_(self.deviation.maximum(LEAST_DEVIATION * of_layer))

    def load(self, statistics: ActivationStatistics | None, place: Path) -> None:
        """Use what a checkpoint's file, `place`, holds.

        Raises:
            ArtifactMismatch: it lacks what the connection needs, or has what it does not, or is of another model.
        """
        if (statistics is None) != (self.kind == "none"):
            raise ArtifactMismatch(
                f"{place} holds {'no' if statistics is None else 'the'} statistics of activations, but "
                f"connection.normalise is {self.kind!r}; restore the file or train again"
            )
        if statistics is None:
            return
        try:
            self.use(statistics)
        except ConfigError as error:
            raise ArtifactMismatch(f"{place} does not belong to this checkpoint: {error}") from error

    def forward(self, activations: Tensor) -> Tensor:
        """`z` of `activations [B, L, D]`."""
        if self.mean is None:
            return activations
        centred = activations.float() - self.mean
        return centred if self.divisor is None else centred / self.divisor
