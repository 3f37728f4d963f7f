"""The rows of one side of the fitted pairs, layer by layer, so scaled that no layer speaks for all.

A layer's rows are taken about one mean where there is an intercept, so that no large constant is squared, and divided
by the root of their sum of squares about the groups' means. Products of rows that were read in half precision are made
in float32, whose rounding is 2⁻¹⁶ of what the rows themselves were rounded by; other rows are float64. Whoever adds
products up over layers does so in float64.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from cc_tuning.transform.groups import Groups
from cc_tuning.transform.spool import FIT, ActivationSpool


class ScaledRows:
    """The layers of `activations`, `english_activations` or `pooled` of all pairs of the split `fit`.

    What is known of a layer is known once its rows were read for the first time, all of them.
    """

    def __init__(self, spool: ActivationSpool, name: str, groups: Groups, dtype: torch.dtype | None = None) -> None:
        """`dtype` is that of the rows; by default float32 for rows of half precision, otherwise float64."""
        self._spool, self._name, self._groups = spool, name, groups
        half = spool.dtype_of(FIT, name).itemsize < torch.float32.itemsize
        self.dtype = dtype or (torch.float32 if half else torch.float64)
        self.layers = range(spool.layers_of(name))
        self._buffer: Tensor | None = None  # new memory for each layer would cost the system more than its rows do
        self.means: dict[int, Tensor] = {}
        """By layer, `[D]` float64: of all rows."""
        self.group_means: dict[int, Tensor] = {}
        """By layer, `[Q, D]` float64."""
        self.scales: dict[int, float] = {}
        """By layer, what its rows are divided by; 0 where they do not vary."""

    def rows(self, layer: int, places: range | None = None) -> Tensor:
        """`[N, D]`, or those of the pairs at `places` alone; zero where the layer does not vary.

        The next call overwrites them.
        """
        count = self._spool.pairs[FIT] if places is None else len(places)
        if self._buffer is None or len(self._buffer) < count:
            self._buffer = torch.empty(count, self._spool.hidden_size, dtype=self.dtype, device=self._spool.device)
        rows = self._spool.column(FIT, self._name, layer, places, out=self._buffer[:count])
        if layer not in self.scales:
            assert places is None, "the first look at a layer is at all of it"
            return self._first_look(layer, rows)
        if self._groups.count:
            rows -= self.means[layer].to(rows)
        return self._scaled(layer, rows)

    def varying(self, layers: Sequence[int]) -> int:
        """How many of the layers vary: the sum of squares of their rows about the groups' means."""
        return sum(self.scales[layer] > 0 for layer in layers)

    def release(self) -> None:
        """Let the memory of the rows go; it is had again with the next ones."""
        self._buffer = None

    def _first_look(self, layer: int, rows: Tensor) -> Tensor:
        noise = torch.finfo(rows.dtype).eps * _squares(rows)
        mean, group_means = rows.mean(0), rows.new_zeros(0, rows.shape[1])
        spread = 0.0
        if self._groups.count:
            rows -= mean
            within = self._groups.means(rows)
            group_means = mean + within
            # ‖x − m_q‖² summed is ‖x − m‖² less ‖m_q − m‖²
            spread = -float((within.double().square().sum(1) * self._groups.sizes).sum())
        spread += _squares(rows)
        self.means[layer], self.group_means[layer] = mean.double(), group_means.double()
        self.scales[layer] = spread**0.5 if spread > noise else 0.0
        return self._scaled(layer, rows)

    def _scaled(self, layer: int, rows: Tensor) -> Tensor:
        return rows.div_(self.scales[layer]) if self.scales[layer] else rows.zero_()


def _squares(rows: Tensor) -> float:
    """The sum of squares, row by row in the rows' dtype and over rows in float64."""
    return float(torch.linalg.vector_norm(rows, dim=1).double().square().sum())
