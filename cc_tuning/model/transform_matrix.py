"""The map from a prompt's own activations to English ones, in each of the forms it can be fitted in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from cc_tuning.errors import UnsupportedModel

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

    def check_fits(self, layers: int, hidden_size: int) -> None:
        """Refuse the map for a model of other sizes.

        Raises:
            UnsupportedModel: the shapes are not those of such a model, or values are not finite.
        """
        D = hidden_size
        intercept_shapes = {(D, D): (D,), (layers, D, D): (layers, D)}
        shape, intercept = tuple(self.matrix.shape), None if self.intercept is None else tuple(self.intercept.shape)
        fits = shape in intercept_shapes and intercept in (None, intercept_shapes[shape])
        infinite = sum(int((~torch.isfinite(tensor)).sum()) for tensor in self.tensors.values())
        if infinite or not fits:
            raise UnsupportedModel(
                f"the transform matrix has shape {shape}{f', with an intercept {intercept},' if intercept else ''} and "
                f"{infinite} values that are not finite; this model needs {(D, D)}, or {(layers, D, D)} for one per "
                "layer, and an intercept of the same sizes. Fit the matrix on this checkpoint"
            )

    def apply(self, activations: Tensor) -> Tensor:
        """`F_hat [B, L, D]` of `F [B, L, D]`, all rows and layers in one product; both in the map's dtype."""
        if self.matrix.dim() == 2:
            predicted = activations @ self.matrix
        else:
            predicted = torch.bmm(activations.transpose(0, 1), self.matrix).transpose(0, 1)
        return predicted if self.intercept is None else predicted + self.intercept
