"""Second moments of activation pairs, summed while they are sampled.

The fit `W = argmin ‖A W − B‖²` (Ye et al. 2025, eq. 7) needs only `AᵀA`, `AᵀB` and `‖B‖²`, so rows are used once and
forgotten: memory is O(D²) however many pairs are sampled. Sums are float64, because squaring the condition number in
float32 would lose the small directions. Rows wait in a block of fixed height before they are multiplied, so how they
were batched changes no bit of the result. The block and the buffer of its product are let go whenever a sum is read,
so that the solver has their room: at D = 4,096 they are 384 MiB of the 640 MiB held while rows arrive.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

_BLOCK_ROWS = 4096
"""Rows multiplied at a time. They wait in two float64 blocks that are kept: a fresh block for each batch costs the
system more in new memory pages than the conversion itself."""


class StreamingMoments:
    """The moments of the rows seen so far.

    `gram`: `AᵀA [D, D]`, `cross`: `AᵀB [D, D]`, `activation_mean`, `english_mean [D]`, `english_squares`: `‖B‖²`, all
    float64; `rows`: how many. Everything lives on `device`, where the sampled rows are.
    """

    def __init__(self, hidden_size: int, device: torch.device | str = "cpu") -> None:
        def zeros(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.float64, device=device)

        self.rows = 0
        self._block: Tensor | None = None  # rows of A and of B that wait, [2, _BLOCK_ROWS, D]
        self._product: Tensor | None = None
        self._waiting = 0
        self._gram = zeros(hidden_size, hidden_size)
        self._cross = zeros(hidden_size, hidden_size)
        self._activation_sum = zeros(hidden_size)
        self._english_sum = zeros(hidden_size)
        self._english_squares = zeros()

    @classmethod
    def total(cls, parts: "Sequence[StreamingMoments]") -> "StreamingMoments":
        """The moments of the rows of several parts together."""
        first = parts[0]
        whole = cls(len(first.cross), first.cross.device)
        for part in parts:
            part.settle()
            for name in ("rows", "_gram", "_cross", "_activation_sum", "_english_sum", "_english_squares"):
                setattr(whole, name, getattr(whole, name) + getattr(part, name))
        return whole

    def update(self, activations: Tensor, english_activations: Tensor) -> None:
        """Add rows; row i of one is the pair of row i of the other. Both `[R, D]`, any float dtype.

        Raises:
            ValueError: the shapes differ or are not `[R, D]`.
        """
        expected = (len(activations), len(self._cross))
        for rows in (activations, english_activations):
            if tuple(rows.shape) != expected:
                raise ValueError(f"expected rows of shape {expected}, got {tuple(rows.shape)}")
        if self._block is None:
            self._block = self._cross.new_empty(2, _BLOCK_ROWS, len(self._cross))
        taken = 0
        while taken < len(activations):
            free = self._block[:, self._waiting :]
            some = slice(taken, taken + free.shape[1])
            count = len(activations[some])
            free[0, :count], free[1, :count] = activations[some], english_activations[some]
            self._waiting += count
            taken += count
            if self._waiting == _BLOCK_ROWS:
                self._multiply(self._block)
        self.rows += taken

    @property
    def gram(self) -> Tensor:
        """`AᵀA [D, D]` float64, symmetric to the last bit."""
        self.settle()
        return self._gram

    @property
    def cross(self) -> Tensor:
        """`AᵀB [D, D]` float64."""
        self.settle()
        return self._cross

    @property
    def english_squares(self) -> float:
        """`‖B‖²`, the sum over all rows."""
        self.settle()
        return float(self._english_squares)

    @property
    def activation_mean(self) -> Tensor:
        """The mean row of A, `[D]` float64; zero before any row was seen."""
        self.settle()
        return self._activation_sum / max(self.rows, 1)

    @property
    def english_mean(self) -> Tensor:
        """The mean row of B, `[D]` float64; zero before any row was seen."""
        self.settle()
        return self._english_sum / max(self.rows, 1)

    def mean_squared_error(self, W: Tensor) -> float:
        """The mean of `(A W − B)²` over the elements of the rows seen, for `W [D, D]`.

        `‖A W − B‖² = tr(Wᵀ AᵀA W) − 2 tr(Wᵀ AᵀB) + ‖B‖²` takes a small difference of large sums: below about
        1e-15 of the mean of `B²` it is rounding, and never reported below 0. Errors that matter are measured on the
        rows themselves (`cc_tuning.transform.diagnostics`).
        """
        W = W.to(self._cross)
        squares = float((W * (self.gram @ W)).sum() - 2 * (W * self.cross).sum()) + self.english_squares
        return max(squares, 0.0) / max(self.rows * len(W), 1)

    def settle(self) -> None:
        """Add the rows that wait, and let the buffers go."""
        if self._block is not None:
            if self._waiting:
                self._multiply(self._block)
            self._block = self._product = None

    def _multiply(self, block: Tensor) -> None:
        """Add the rows that wait to the sums."""
        A, B = block[:, : self._waiting]
        if self._product is None:
            self._product = torch.empty_like(self._gram)
        self._gram += _transposed_product(A, A, self._product)
        self._cross += _transposed_product(A, B, self._product)
        self._activation_sum += A.sum(0)
        self._english_sum += B.sum(0)
        self._english_squares += torch.linalg.vector_norm(B).square()
        self._waiting = 0


def _transposed_product(A: Tensor, B: Tensor, out: Tensor) -> Tensor:
    """`AᵀB`, written to `out`. On the CPU by numpy, which sees when it is `AᵀA` and does half the work (BLAS syrk)."""
    if out.device.type == "cpu":
        np.matmul(A.numpy().T, B.numpy(), out=out.numpy())
        return out
    return torch.mm(A.T, B, out=out)
