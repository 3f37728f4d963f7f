"""What scores are counted in: how differences are called and written, and between what bounds scores lie.

The bounds decide how an interval is made (`evaluation/statistics/intervals.py`): a score between 0 and 100 cannot move
by more than 100, and one without an upper end can.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cc_tuning.evaluation.benchmark import METRICS, Unit
from cc_tuning.evaluation.statistics.intervals import Bounds


@dataclass(frozen=True)
class Scale:
    """The scale of a metric's scores."""

    unit: Unit
    points: str
    """What a difference is counted in, for people: `1.9 points`."""
    decimals: int
    """How many decimals a figure has where people read it."""
    bounds: Bounds | None
    """The lowest and the highest score; None where there is no highest."""


SCALES: Mapping[Unit, Scale] = {
    scale.unit: scale
    for scale in (
        Scale("percent", "points", 1, (0.0, 100.0)),
        Scale("nats_per_token", "nats per token", 4, None),
        Scale("bits_per_byte", "bits per byte", 4, None),
    )
}


def scale_of(metric: str) -> Scale:
    """The scale of a metric by its name; percent for one that no benchmark declares."""
    return SCALES[METRICS[metric].unit if metric in METRICS else "percent"]
