"""The connection's part in training: the learning rate and temperature of its selector, and what it chose.

The objective knows nothing of it; the Trainer is given this beside the objective, for a model with a connection.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cc_tuning.model.connected_pass import CrossLingualOutput
from cc_tuning.model.connection import CrossLingualModel
from cc_tuning.model.decision_maker import temperature_at
from cc_tuning.training.metrics import SELECTION_COUNT
from cc_tuning.training.running_map import RunningSums
from cc_tuning.training.throughput import RowFigures


class ConnectionTraining:
    """The selector of `model` as it is trained; `learning_rate` is its own peak rate, or None for that of the model.

    `sums` take in what a map to the English activations is fitted on, where there is one.
    """

    def __init__(self, model: CrossLingualModel, learning_rate: float | None, sums: RunningSums | None = None) -> None:
        self._sums = sums
        self._config, self._selector, self._learning_rate = model.connection, model.decision_maker, learning_rate
        self._has_temperature = model.connection.selector == "decision_maker"
        self._temperature: float | None = None
        self._layers = model.config.num_hidden_layers

    # -- what is in force

    def set_progress(self, progress: float) -> None:
        """Bring the temperature to where it is after the share `progress` of training, 0 at the first step."""
        if not self._has_temperature:
            return
        temperature = temperature_at(self._config, progress)
        if temperature != self._temperature:
            tensor = self._selector.temperature
            assert isinstance(tensor, Tensor)
            tensor.fill_(temperature)
        self._temperature = temperature

    def give_own_rate(self, optimizer: torch.optim.Optimizer) -> None:
        """Put the selector's weights in a group of their own, where they have their own rate."""
        if self._learning_rate is not None:
            give_own_group(optimizer, list(self._selector.parameters()), self._learning_rate)

    def in_force(self, share_of_peak: float) -> dict[str, float]:
        """The fields of a line that say so; all rates follow one schedule, now at `share_of_peak` of their peaks."""
        fields = {} if self._temperature is None else {"temperature": round(self._temperature, 6)}
        if self._learning_rate is not None:
            fields["decision_maker_learning_rate"] = self._learning_rate * share_of_peak
        return fields

    # -- what was chosen

    def figures(self, device: torch.device) -> RowFigures:
        """Where `choices` are summed: selection_entropy (nats) and selection_cosine, and the rows of each layer."""
        counts = [f"{SELECTION_COUNT}{layer}" for layer in range(1, self._layers + 1)]
        return RowFigures(["selection_entropy", "selection_cosine"], counts, device)

    def choices(self, output: CrossLingualOutput) -> Tensor:
        """`[B, 2 + L]` float32 of a pass that measured the cosine: entropy of `softmax(H / tau)`, cosine, and `g`."""
        weights, probabilities, cosine = output.selection, output.selection_probabilities, output.selection_cosine
        assert weights is not None and probabilities is not None and cosine is not None
        entropy = torch.special.entr(probabilities).sum(1)
        return torch.cat([torch.stack([entropy, cosine], dim=1), weights], dim=1)

    def observe(self, output: CrossLingualOutput) -> None:
        """Take in the activations of a pass, where a map is fitted on them."""
        if self._sums is not None and output.own_activations is not None and output.english_activations is not None:
            self._sums.add(output.own_activations, output.english_activations)


def give_own_group(optimizer: torch.optim.Optimizer, parameters: Sequence[nn.Parameter], rate: float) -> None:
    """Move `parameters` out of the optimizer's groups into a last one with the learning rate `rate`."""
    own = {id(parameter) for parameter in parameters}
    decay = 0.0
    for group in optimizer.param_groups:
        if any(id(parameter) in own for parameter in group["params"]):
            decay = group["weight_decay"]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in own]
    optimizer.add_param_group({"params": list(parameters), "lr": rate, "weight_decay": decay})
