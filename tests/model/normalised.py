"""Tiny connected models whose activations are normalised, and the statistics they are normalised with."""

import torch
from torch import Tensor

from cc_tuning.model import ConnectionConfig, CrossLingualModel
from cc_tuning.model.normalisation import ActivationMoments, ActivationStatistics
from tests.model.tiny_connected import HIDDEN, LAYERS, left_padded, random_prompts, tiny_model

MODES: list[dict[str, object]] = [
    {"normalise": "centred"},
    {"normalise": "standardised"},
    {"scale": 0.5},
    {"normalise": "centred", "scale": 1.0},
    {"normalise": "standardised", "scale": 0.5},
]
"""Every normalisation with a scale and without, but for the paper's method."""


def mode_name(mode: dict[str, object]) -> str:
    """Of a row of `MODES`."""
    return "-".join(map(str, mode.values()))


def statistics_of(model: CrossLingualModel) -> ActivationStatistics:
    """Statistics over twelve random prompts."""
    batch = left_padded(random_prompts(tuple(range(3, 15)), seed=11))
    positions = torch.full((12,), batch["input_ids"].shape[1] - 1 - model.connection.offset)
    moments = ActivationMoments(LAYERS, HIDDEN, model.device)
    moments.add(model.activations(batch["input_ids"], batch["attention_mask"], positions))
    return moments.summed(lambda tensor: tensor)


def normalised_model(family: str, **connection: object) -> CrossLingualModel:
    """`tiny_model` with statistics of its own activations where it needs any."""
    model = tiny_model(family, ConnectionConfig.model_validate(connection))
    if model.connection.normalise != "none":
        model.normalisation.use(statistics_of(model))
    return model


def for_reference(model: CrossLingualModel) -> tuple[Tensor | None, Tensor | None]:
    """Mean and deviation as the slow reference takes them."""
    statistics = model.normalisation.statistics
    if statistics is None:
        return None, None
    return statistics.mean, statistics.deviation if model.connection.normalise == "standardised" else None
