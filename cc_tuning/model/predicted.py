"""What a map makes of a prompt's own activations while the model trains, in the place of its English prompt's.

At inference the English activations are predicted. A model that was trained with real ones alone meets something else
then. With `connection.predicted_share` a part of the training rows gets, in each layer,

    F_hat_l = (F_l - a_l) W + b_l

with one `W [D, D]` for all layers, as the Transform Matrix is, and the means `a_l`, `b_l [D]` of both sides: least
squares with an intercept for each layer, since most of an activation at t* is its layer's mean. It is fitted anew on
the way (`training/running_map.py`), for the training of this model alone: it is no part of the checkpoint, and the
Transform Matrix is fitted on the finished model as ever.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn


class LinearMap(NamedTuple):
    """`W [D, D]`, `a` and `b [L, D]`, in any dtype."""

    matrix: Tensor
    own_mean: Tensor
    english_mean: Tensor


class EnglishPrediction(nn.Module):
    """The map in force, float32; before the first fit there is none. It is no part of the state dict."""

    def __init__(self, layers: int, hidden_size: int) -> None:
        super().__init__()
        self.is_fitted = False
        self.matrix: Tensor
        self.own_mean: Tensor
        self.english_mean: Tensor
        self.register_buffer("matrix", torch.zeros(hidden_size, hidden_size), persistent=False)
        self.register_buffer("own_mean", torch.zeros(layers, hidden_size), persistent=False)
        self.register_buffer("english_mean", torch.zeros(layers, hidden_size), persistent=False)

    def use(self, fitted: LinearMap) -> None:
        """Predict with this map from now on."""
        self.matrix.copy_(fitted.matrix)
        self.own_mean.copy_(fitted.own_mean)
        self.english_mean.copy_(fitted.english_mean)
        self.is_fitted = True

    def forward(self, own: Tensor, english: Tensor, predicted_rows: Tensor) -> Tensor:
        """`english [B, L, D]`, of the rows of which `predicted_rows [B]` is true what is made of `own [B, L, D]`.

        Before the first fit it is `english`, the same tensor.
        """
        if not self.is_fitted:
            return english
        with torch.autocast(own.device.type, enabled=False):
            predicted = (own.float() - self.own_mean) @ self.matrix + self.english_mean
        return torch.where(predicted_rows[:, None, None], predicted, english.float())
