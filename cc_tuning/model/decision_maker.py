"""Selectors of the English layer that the connection carries over: the Decision Maker, the paper's two ablations, and
every layer for itself.

`H = mean_l(F_l + e) W_DM`, `g = softmax((H + noise) / tau)` made one-hot, `v = sum_l g_l F_l`
(Ye et al. 2025, eq. 3 and 4). Logits, noise and sums are float32 even under autocast: in bfloat16 two layers' logits
are often the same number. In training the noise is Gumbel noise and the gradient is that of the soft `g`
(straight-through). In evaluation there is no noise, so the choice is `argmax H` and greedy decoding is deterministic;
the authors' code draws noise there too.
"""

from typing import NamedTuple, Self

import torch
from torch import Tensor, nn

from cc_tuning.model.config import ConnectionConfig


class Decision(NamedTuple):
    """The carried vector and how it came about, all float32. With several positions there are n vectors in a row,
    `[B, n, D]` or `[B, n, L, D]`, and all else is of t*.

    DeepSpeed re-gathers the Decision Maker's weight for the backward pass through a hook on the module's output, and
    looks for tensors in tuples only; so this is one.
    """

    vector: Tensor  # v [B, D], or v_l [B, L, D] for every layer; with `connection.scale` of length 1
    weights: Tensor  # g [B, L], one-hot for decision_maker and random, 1/L for mean and every
    logits: Tensor  # H [B, L], before noise; zeros for selectors that have none
    soft_weights: Tensor  # g before it is made one-hot [B, L]
    probabilities: Tensor  # softmax(H / tau) [B, L], without noise
    gate: Tensor | None = None  # w and behind it b, [1, D + 1] or for every layer [L, D + 1], with `connection.gate`

    @classmethod
    def constant(cls, vector: Tensor, rows: int, layers: int, gate: Tensor | None = None) -> Self:
        """`vector [D]`, or `[L, D]` for every layer, carried over to each of `rows` prompts, of which no layer was
        chosen: all weights are zero. It goes through the model's `gate`.
        """
        none = vector.new_zeros(rows, layers, dtype=torch.float32)
        return cls(vector.float().expand(rows, *vector.shape), none, none, none, none, gate)

    @property
    def with_unit_vector(self) -> "Decision":
        """The same decision with `v / ||v||` in the place of `v`; zero where `v` is."""
        return self._replace(vector=nn.functional.normalize(self.vector, dim=-1))

    @property
    def selected_layer(self) -> Tensor:
        """The layer with the largest weight [B] int64; meaningful for the selectors that choose one layer."""
        return self.weights.argmax(-1)

    def cosine_to(self, activations: Tensor) -> Tensor:
        """Cosine `[B]` between `v` and `sum_l g_l F_l` of other `activations [B, L, D]`, without gradient; for every
        layer the mean of the cosines between `v_l` and `F_l`.
        """
        if self.vector.dim() == activations.dim():
            return nn.functional.cosine_similarity(self.vector.detach(), activations.float(), dim=-1).mean(-1)
        other = carried_vector(self.weights.detach(), activations)
        return nn.functional.cosine_similarity(self.vector.detach(), other, dim=-1)


def carried_vector(weights: Tensor, ffn_outputs: Tensor) -> Tensor:
    """`v = sum_l g_l F_l`; `weights [B, L]` float32, `ffn_outputs [B, L, D]`, result `[B, D]` float32."""
    return (weights.unsqueeze(-1) * ffn_outputs.float()).sum(1)


def one_hot(layer: Tensor, layers: int) -> Tensor:
    """`layer [B]` int64 as float32 one-hot rows `[B, L]`."""
    return nn.functional.one_hot(layer, layers).float()


class Selector(nn.Module):
    """What selectors have in common: the learned length of `v` and its gate, where `connection` asks for them.

    `log_scale [1]` float32 is the logarithm of a share of `||f_1||`, 0 at the start; else it is None. `gate [K, D + 1]`
    float32 are the weights of a gate and behind them its bias, for each of K layers to which something is added; zeros
    at the start, where a gate is 1, or None.
    """

    def __init__(self, learns_scale: bool = False, gate_shape: tuple[int, int] | None = None) -> None:
        super().__init__()
        self.log_scale: nn.Parameter | None
        self.register_parameter("log_scale", nn.Parameter(torch.zeros(1)) if learns_scale else None)
        self.gate: nn.Parameter | None
        self.register_parameter("gate", None if gate_shape is None else nn.Parameter(torch.zeros(gate_shape)))

    def completed(self, decision: Decision) -> Decision:
        """The decision with `exp(log_scale) v / ||v||` in the place of `v`, where a length is learned, and the gate's
        weights, where there is one.

        They leave as an output of this module: engines that shard weights have them whole only while it runs.
        """
        if self.gate is not None:
            decision = decision._replace(gate=1 * self.gate.float())
        if self.log_scale is None:
            return decision
        unit = decision.with_unit_vector
        return unit._replace(vector=self.log_scale.float().exp() * unit.vector)


class DecisionMaker(Selector):
    """The trained selector. `weight` is `W_DM [D, L]` float32, drawn from N(0, `std`); `temperature` is tau, a scalar.

    The weight stays float32 beside a bfloat16 model: at the paper's learning rate of 1e-5 an update is below half a
    bfloat16 step of a weight of 0.02, and would be rounded away.
    """

    def __init__(
        self,
        hidden_size: int,
        layers: int,
        temperature: float,
        std: float,
        learns_scale: bool = False,
        gate_shape: tuple[int, int] | None = None,
    ) -> None:
        super().__init__(learns_scale, gate_shape)
        # A tensor, so that a compiled step is not compiled again whenever it changes. Not saved: the config has it.
        self.temperature: Tensor
        self.register_buffer("temperature", torch.tensor(temperature, dtype=torch.float32), persistent=False)
        self.weight = nn.Parameter(torch.empty(hidden_size, layers, dtype=torch.float32).normal_(0.0, std))

    def forward(self, ffn_outputs: Tensor, embedding: Tensor, row_keys: Tensor, noise: Tensor | None) -> Decision:
        """`ffn_outputs [B, L, D]`, `embedding [B, D]` at t* -> Decision.

        `noise [B, L]` takes the place of the Gumbel noise of training and of the zeros of evaluation. `row_keys` is
        what the random selector needs; the decision here depends on activations alone.
        """
        with torch.autocast(ffn_outputs.device.type, enabled=False):
            source = (ffn_outputs.float() + embedding.float().unsqueeze(1)).mean(1)
            logits = source @ self.weight.float()
            if noise is None:
                noise = gumbel_noise_like(logits) if self.training else torch.zeros_like(logits)
            temperature = self.temperature.float()
            soft = ((logits + noise.to(logits)) / temperature).softmax(-1)
            hard = one_hot(soft.argmax(-1), soft.shape[-1])
            # Straight-through: the value of `hard`, the gradient of `soft`.
            weights = hard - soft.detach() + soft if self.training else hard
            probabilities = (logits.detach() / temperature).softmax(-1)
            vector = carried_vector(weights, ffn_outputs)
            return self.completed(Decision(vector, weights, logits, soft, probabilities))


def gumbel_noise_like(logits: Tensor) -> Tensor:
    """Standard Gumbel noise, `-log` of exponential draws from torch's generator, in the shape of `logits`."""
    return -torch.empty_like(logits).exponential_().log()


class MeanLayer(Selector):
    """Ablation `mean`: the average over layers; nothing is chosen, and no weight chooses."""

    def forward(self, ffn_outputs: Tensor, embedding: Tensor, row_keys: Tensor, noise: Tensor | None) -> Decision:
        """`ffn_outputs [B, L, D]` -> Decision with every weight 1/L."""
        weights = torch.full(ffn_outputs.shape[:2], 1 / ffn_outputs.shape[1], device=ffn_outputs.device)
        vector = carried_vector(weights, ffn_outputs)
        return self.completed(Decision(vector, weights, torch.zeros_like(weights), weights, weights))


class RandomLayer(Selector):
    """Ablation `random`: one layer, drawn anew each time in training, fixed by seed and prompt in evaluation.

    Where the Gumbel noise is largest: with equal logits, that is each layer with the same probability.
    """

    def __init__(self, seed: int, learns_scale: bool = False, gate_shape: tuple[int, int] | None = None) -> None:
        super().__init__(learns_scale, gate_shape)
        self.seed = seed

    def forward(self, ffn_outputs: Tensor, embedding: Tensor, row_keys: Tensor, noise: Tensor | None) -> Decision:
        """`ffn_outputs [B, L, D]`, `row_keys [B]` int64 -> Decision. A row's layer does not depend on its batch."""
        layers = ffn_outputs.shape[1]
        logits = torch.zeros(ffn_outputs.shape[:2], device=ffn_outputs.device)
        if noise is None and self.training:
            noise = gumbel_noise_like(logits)
        if noise is not None:
            layer = noise.to(logits).argmax(-1)
        else:
            # A multiplicative hash of key and seed; its upper bits are the mixed ones.
            layer = (((row_keys + self.seed) * 2654435761) >> 11) % layers
        weights, uniform = one_hot(layer, layers), torch.full_like(logits, 1 / layers)
        return self.completed(Decision(carried_vector(weights, ffn_outputs), weights, logits, uniform, uniform))


class EveryLayer(Selector):
    """Variant `every`: nothing is chosen, and each layer's activation is carried over to the same layer."""

    def forward(self, ffn_outputs: Tensor, embedding: Tensor, row_keys: Tensor, noise: Tensor | None) -> Decision:
        """`ffn_outputs [B, L, D]` -> Decision whose vector is `v_l = F_l`, `[B, L, D]`."""
        weights = torch.full(ffn_outputs.shape[:2], 1 / ffn_outputs.shape[1], device=ffn_outputs.device)
        return self.completed(Decision(ffn_outputs.float(), weights, torch.zeros_like(weights), weights, weights))


def build_selector(connection: ConnectionConfig, hidden_size: int, layers: int, std: float) -> nn.Module:
    """The selector that `connection.selector` names."""
    targets = layers if connection.target == "same" else 1
    gate_shape = (targets, hidden_size + 1) if connection.gate == "state" else None
    of_all = (connection.learns_scale, gate_shape)
    if connection.selector == "mean":
        return MeanLayer(*of_all)
    if connection.selector == "every":
        return EveryLayer(*of_all)
    if connection.selector == "random":
        return RandomLayer(connection.seed, *of_all)
    return DecisionMaker(hidden_size, layers, connection.temperature, std, *of_all)


def temperature_at(connection: ConnectionConfig, progress: float) -> float:
    """tau after the share `progress` of training, 0 at the first step and 1 at the last.

    From `temperature` to `final_temperature`: `tau_0 (tau_1 / tau_0)^p` (geometric) or `tau_0 + (tau_1 - tau_0) p`
    (linear); constant when there is no final one.
    """
    first, last = connection.temperature, connection.final_temperature
    if last is None:
        return first
    if connection.temperature_course == "linear":
        return first + (last - first) * progress
    return first * (last / first) ** progress
