"""Means by language, for maps with an intercept for each.

With an unpenalised intercept for each language, ridge regression of B on A is that of `B − B̄_q` on `A − Ā_q`, each row
about the mean of its language q, and then `b_q = B̄_q − Ā_q W` (Frisch and Waugh 1933, *Partial time regressions as
compared with individual trends*, Econometrica 1(4): regressors that are left unpenalised can be taken out first). So
beside the moments only sums by language are needed: `Σ (a − ā_q)(b − b̄_q)ᵀ = AᵀB − Σ_q n_q ā_q b̄_qᵀ`.
"""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor


class GroupSums:
    """The rows seen so far, summed by group: `counts [Q]`, `activations [Q, D]`, `english [Q, D]`, all float64.

    No groups, Q = 0, stands for moments about zero, one for those about the mean.
    """

    def __init__(self, groups: int, hidden_size: int, device: torch.device | str = "cpu") -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.counts = zeros(groups)
        self.activations = zeros(groups, hidden_size)
        self.english = zeros(groups, hidden_size)

    def add(self, groups: Tensor, activations: Tensor, english_activations: Tensor) -> None:
        """Add rows `[R, D]` of any float dtype; row i belongs to group `groups[i]`, `[R]` int64."""
        if not len(self.counts):
            return
        self.counts += torch.bincount(groups, minlength=len(self.counts))
        self.activations.index_add_(0, groups, activations.double())
        self.english.index_add_(0, groups, english_activations.double())

    @classmethod
    def total(cls, parts: Sequence[Self]) -> Self:
        """The sums of several parts together."""
        whole = cls(*_sizes(parts[0].activations), parts[0].activations.device)
        for name in ("counts", "activations", "english"):
            setattr(whole, name, torch.stack([getattr(part, name) for part in parts]).sum(0))
        return whole

    def without(self, part: Self) -> Self:
        """The sums without those of a part."""
        rest = type(self)(*_sizes(self.activations), self.activations.device)
        for name in ("counts", "activations", "english"):
            setattr(rest, name, getattr(self, name) - getattr(part, name))
        return rest

    def means(self) -> tuple[Tensor, Tensor]:
        """`Ā, B̄ [Q, D]`; a group without rows has the mean of all."""
        counts = self.counts[:, None]
        rows = self.counts.sum().clamp(min=1)
        return tuple(
            torch.where(counts > 0, sums / counts.clamp(min=1), sums.sum(0) / rows)
            for sums in (self.activations, self.english)
        )  # type: ignore[return-value]

    def about(self, gram: Tensor, cross: Tensor, squares: float, centres: Self) -> tuple[Tensor, Tensor, float]:
        """The moments `AᵀA`, `AᵀB` and `‖B‖²` of these rows about the means of `centres`."""
        A_mean, B_mean = centres.means()
        weighted = self.counts[:, None] * A_mean
        gram = gram - self.activations.T @ A_mean - A_mean.T @ self.activations + weighted.T @ A_mean
        cross = cross - self.activations.T @ B_mean - A_mean.T @ self.english + weighted.T @ B_mean
        squares += float((self.counts[:, None] * B_mean.square()).sum() - 2 * (self.english * B_mean).sum())
        return gram, cross, squares


def _sizes(rows: Tensor) -> tuple[int, int]:
    return rows.shape[0], rows.shape[1]
