"""The map from a prompt's own activations to English ones, in each of the forms it can be fitted in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

TRANSFORM_KEY = "transform_matrix"
INTERCEPT_KEY = "transform_intercept"


@dataclass(frozen=True)
class TransformMatrix:
    """`F_hat_l = F_l W + b` with one `W [D, D]` for all layers, or `F_hat_l = F_l W_l + b_l` with `W [L, D, D]`.

    `intercept` is `b [D]` or `[L, D]`, or None where there is none, as in the paper.
    """

    matrix: Tensor
    intercept: Tensor | None = None

    @classmethod
    def taken_from(cls, tensors: dict[str, Tensor]) -> Self | None:
        """The map among named tensors, which are removed from them; None when there is none."""
        matrix, intercept = tensors.pop(TRANSFORM_KEY, None), tensors.pop(INTERCEPT_KEY, None)
        return None if matrix is None else cls(matrix, intercept)

    @property
    def tensors(self) -> Mapping[str, Tensor]:
        """The map as named tensors."""
        return {TRANSFORM_KEY: self.matrix} | ({} if self.intercept is None else {INTERCEPT_KEY: self.intercept})

    def to(self, device: torch.device | str, dtype: torch.dtype) -> "TransformMatrix":
        """The same map elsewhere or in another precision."""
        intercept = None if self.intercept is None else self.intercept.to(device, dtype)
        return TransformMatrix(self.matrix.to(device, dtype), intercept)

    def fits(self, layers: int, hidden_size: int) -> bool:
        """Whether the shapes are those of a model with so many layers."""
        D = hidden_size
        kinds = {(D, D): (D,), (layers, D, D): (layers, D)}
        shape = tuple(self.matrix.shape)
        return shape in kinds and (self.intercept is None or tuple(self.intercept.shape) == kinds[shape])

    def apply(self, activations: Tensor) -> Tensor:
        """`F_hat [B, L, D]` of `F [B, L, D]`, all rows and layers in one product; both in the map's dtype."""
        if self.matrix.dim() == 2:
            predicted = activations @ self.matrix
        else:
            predicted = torch.bmm(activations.transpose(0, 1), self.matrix).transpose(0, 1)
        return predicted if self.intercept is None else predicted + self.intercept
