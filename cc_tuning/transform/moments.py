"""Second moments of activation pairs, summed while they are sampled.

The fit `W = argmin ‖A W − B‖²` (Ye et al. 2025, eq. 7) needs only `AᵀA`, `AᵀB` and `‖B‖²`, so rows are used once and
forgotten: memory is O(D²) however many pairs are sampled. Sums are float64, because squaring the condition number in
float32 would lose the small directions; splitting the rows differently changes the result by rounding only (1e-15).
"""

import torch
from torch import Tensor

_BLOCK_ROWS = 2048
"""Rows converted to float64 at a time: bounds the extra memory to 2 blocks of D doubles per row."""
_PANELS = 8
"""AᵀA is symmetric: computing it in 8 block rows up to the diagonal costs 56 % of the full product."""


class StreamingMoments:
    """The moments of the rows seen so far.

    `gram`: `AᵀA [D, D]` float64, `cross`: `AᵀB [D, D]` float64, `english_sum`: sum of the rows of B `[D]` float64,
    `english_squares`: `‖B‖²`, `rows`: how many. Everything lives on `device`, where the sampled rows are.
    """

    def __init__(self, hidden_size: int, device: torch.device | str = "cpu") -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.rows = 0
        self.cross = zeros(hidden_size, hidden_size)
        self.english_sum = zeros(hidden_size)
        self._english_squares = zeros()
        self._lower_gram = zeros(hidden_size, hidden_size)

    def update(self, activations: Tensor, english_activations: Tensor) -> None:
        """Add rows; row i of one is the pair of row i of the other. Both `[R, D]`, any float dtype.

        Raises:
            ValueError: the shapes differ or are not `[R, D]`.
        """
        expected = (len(activations), len(self.cross))
        for rows in (activations, english_activations):
            if tuple(rows.shape) != expected:
                raise ValueError(f"expected rows of shape {expected}, got {tuple(rows.shape)}")
        for A, B in zip(activations.split(_BLOCK_ROWS), english_activations.split(_BLOCK_ROWS), strict=True):
            self._add(A.to(self.cross), B.to(self.cross))

    @property
    def gram(self) -> Tensor:
        """`AᵀA [D, D]` float64, symmetric to the last bit."""
        gram = self._lower_gram.tril()
        gram += gram.tril(-1).T
        return gram

    @property
    def english_squares(self) -> float:
        """`‖B‖²`, the sum over all rows."""
        return float(self._english_squares)

    @property
    def english_mean(self) -> Tensor:
        """The mean row of B, `[D]` float64; zero before any row was seen."""
        return self.english_sum / max(self.rows, 1)

    def mean_squared_error(self, W: Tensor) -> float:
        """The mean of `(A W − B)²` over the elements of the rows seen, for `W [D, D]`.

        `‖A W − B‖² = tr(Wᵀ AᵀA W) − 2 tr(Wᵀ AᵀB) + ‖B‖²` takes a small difference of large sums: below about
        1e-15 of the mean of `B²` it is rounding, and never reported below 0. Errors that matter are measured on the
        rows themselves (`cc_tuning.transform.diagnostics`).
        """
        W = W.to(self.cross)
        squares = (W * (self.gram @ W)).sum() - 2 * (W * self.cross).sum() + self._english_squares
        return max(float(squares), 0.0) / max(self.rows * len(W), 1)

    def _add(self, A: Tensor, B: Tensor) -> None:
        for panel in torch.arange(A.shape[1], device="cpu").chunk(_PANELS):
            first, end = int(panel[0]), int(panel[-1]) + 1
            self._lower_gram[first:end, :end].addmm_(A[:, first:end].T, A[:, :end])
        self.cross.addmm_(A.T, B)
        self.english_sum += B.sum(0)
        self._english_squares += torch.linalg.vector_norm(B).square()
        self.rows += len(A)
