"""The vector that is added at t*, computed from a prompt's own activations.

`F_hat_l = F_l W + b`, `z = (F_hat - m) / s`, `H = mean_l(z_l + e) W_DM`, `v = z_argmax(H)` (Ye et al. 2025, section
3.2, eq. 3 and 4; `m` and `s` where activations are normalised). All in float32, whatever the model's dtype.
"""

import torch
from torch import Tensor, nn

from cc_tuning_vllm.settings import ConnectionSettings


class Connection(nn.Module):
    """Selector, map and statistics, filled by vLLM's loader from the tensors named `connection.*`."""

    def __init__(self, settings: ConnectionSettings, layers: int, hidden_size: int) -> None:
        super().__init__()
        self.settings = settings
        self.layers = layers
        sizes = (layers, hidden_size)
        is_normalised = settings.normalise != "none"
        is_trained = settings.selector == "decision_maker"
        self.decision_maker = _parameter((hidden_size, layers) if is_trained else None)
        self.transform_matrix = _filled_later(settings.shapes["matrix"])
        self.transform_intercept = _parameter(settings.shapes.get("intercept"))
        self.transform_output = _parameter(settings.shapes.get("output"))
        self.activation_mean = _parameter(sizes if is_normalised else None)
        self.activation_divisor = _parameter(sizes if settings.normalise == "standardised" else None)

    def forward(self, own: Tensor, embedding: Tensor, row_keys: Tensor, keeps_own: Tensor) -> Tensor:
        """`v [B, D]` float32; with `scale` it has length 1.

        `own [B, L, D]` are the activations and `embedding [B, D]` the input embedding at t*, `row_keys [B]` int64 what
        the selector `random` draws by, `keeps_own [B]` bool where `own` goes on as it is.
        """
        own = own.float()
        source = torch.where(keeps_own[:, None, None], own, self.predicted(own))
        if self.activation_mean is not None:
            source = source - self.activation_mean
        if self.activation_divisor is not None:
            source = source / self.activation_divisor
        vector = self._carried(source, embedding.float(), row_keys)
        return vector if self.settings.scale is None else nn.functional.normalize(vector, dim=-1)

    def predicted(self, own: Tensor) -> Tensor:
        """`F_hat [B, L, D]` of `F [B, L, D]`, float32."""
        if self.transform_output is not None:
            mapped = (own.flatten(1) @ self.transform_matrix @ self.transform_output).view_as(own)
        elif self.transform_matrix.dim() == 2:
            mapped = own @ self.transform_matrix
        else:
            mapped = torch.bmm(own.transpose(0, 1), self.transform_matrix).transpose(0, 1)
        return mapped if self.transform_intercept is None else mapped + self.transform_intercept

    def _carried(self, source: Tensor, embedding: Tensor, row_keys: Tensor) -> Tensor:
        if self.settings.selector == "mean":
            return source.mean(1)
        if self.decision_maker is not None:
            layer = ((source + embedding.unsqueeze(1)).mean(1) @ self.decision_maker).argmax(-1)
        else:
            # The selector `random`: the multiplicative hash by which a checkpoint is evaluated.
            layer = (((row_keys + self.settings.seed) * 2654435761) >> 11) % self.layers
        return source[torch.arange(len(source), device=source.device), layer]


def _parameter(shape: tuple[int, ...] | None) -> nn.Parameter | None:
    return None if shape is None else _filled_later(shape)


def _filled_later(shape: tuple[int, ...]) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape, dtype=torch.float32), requires_grad=False)
