"""How far two tensors are apart; infinitely where one is not finite, so that no maximum overlooks it."""

import math

from torch import Tensor


def absolute(got: Tensor, expected: Tensor) -> float:
    """The largest difference of an element."""
    assert got.shape == expected.shape
    difference = float((got.detach().double() - expected.double()).abs().max())
    return difference if math.isfinite(difference) else math.inf


def relative(got: Tensor, expected: Tensor) -> float:
    """The largest difference of an element, relative to the largest element expected."""
    return absolute(got, expected) / max(float(expected.abs().max()), 1e-12)
