"""Whose means the rows of a fit are taken about: nobody's, everyone's, or those of the pairs' languages."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Groups:
    """Which group, a language or all pairs together, each fitted pair is in."""

    of_pairs: Tensor
    """`[N]` int64."""
    count: int
    """0: no intercept, nothing is taken about a mean."""

    @property
    def everyone(self) -> Tensor:
        """All pairs, as a mask `[N]` bool."""
        return torch.ones_like(self.of_pairs, dtype=torch.bool)

    def averages(self, fitted: Tensor) -> Tensor:
        """`[Q, N]`: the rows that take the mean over the `fitted [N]` bool pairs of each group; over all fitted pairs
        for a group that has none.
        """
        rows = torch.nn.functional.one_hot(self.of_pairs, max(self.count, 1)).T[: self.count].double() * fitted
        totals = rows.sum(1, keepdim=True)
        return torch.where(totals > 0, rows / totals.clamp(min=1), fitted.double() / fitted.sum())

    def about(self, rows: Tensor, fitted: Tensor) -> Tensor:
        """`rows [N, K]` float64 about the means of the `fitted [N]` bool pairs of their groups."""
        return rows - (self.averages(fitted) @ rows)[self.of_pairs] if self.count else rows

    @property
    def sizes(self) -> Tensor:
        """How many pairs each group has, at least one: `[Q]` int64."""
        return torch.bincount(self.of_pairs, minlength=self.count)[: self.count]

    def means(self, rows: Tensor) -> Tensor:
        """`[Q, D]`: the means of `rows [N, D]`, of any float dtype, over the pairs of each group."""
        if self.count == 1:
            return rows.mean(0, keepdim=True)
        sums = rows.new_zeros(self.count, rows.shape[1])
        return sums.index_add_(0, self.of_pairs, rows) / self.sizes[:, None] if self.count else sums
