"""The two distributions that intervals and p values need: the normal and Student's t with whole degrees of freedom."""

import math
from functools import lru_cache
from statistics import NormalDist

NORMAL = NormalDist()
_SUMMED_UP_TO = 200
"""Degrees of freedom up to which the tail is a finite sum; above, Wallace's transformation is off by less than 1e-7."""
_STEPS, _CLOSE = 50, 1e-12


def normal_tails(z: float) -> float:
    """P(|Z| > |z|) of a standard normal Z, exact far out too."""
    return math.erfc(abs(z) / math.sqrt(2))


def student_tails(t: float, degrees: int) -> float:
    """P(|T| > |t|) of Student's t with `degrees` ≥ 1 degrees of freedom.

    A finite sum (Abramowitz and Stegun 1964, 26.7.3 and 26.7.4); for many degrees of freedom the normal tail of
    z = (8ν + 1)/(8ν + 3) √(ν ln(1 + t²/ν))   (Wallace 1959).
    """
    if degrees > _SUMMED_UP_TO:
        return normal_tails((8 * degrees + 1) / (8 * degrees + 3) * math.sqrt(degrees * math.log1p(t * t / degrees)))
    angle = math.atan2(abs(t), math.sqrt(degrees))
    sine, cosine = math.sin(angle), math.cos(angle)
    first = 1 if degrees % 2 else 0  # the first power of the cosine
    term, total = cosine**first, 0.0
    for power in range(first, degrees - 1, 2):
        total += term
        term *= (power + 1) / (power + 2) * cosine**2
    inside = 2 / math.pi * (angle + sine * total) if degrees % 2 else sine * total
    return min(max(1.0 - inside, 0.0), 1.0)


@lru_cache(maxsize=4096)
def student_quantile(confidence: float, degrees: int) -> float:
    """The t with P(|T| ≤ t) = `confidence`: half the width of an interval in standard errors.

    Wallace's transformation turned round; for few degrees of freedom it is where Newton's method begins, which
    converges from there since the tail is convex.
    """
    if degrees == 1:
        return math.tan(math.pi * confidence / 2)
    z = normal_quantile(confidence) * (8 * degrees + 3) / (8 * degrees + 1)
    t = math.sqrt(degrees * math.expm1(z * z / degrees))
    for _ in range(_STEPS if degrees <= _SUMMED_UP_TO else 0):
        step = (student_tails(t, degrees) - (1 - confidence)) / (2 * _student_density(t, degrees))
        t = max(t + step, t / 2)
        if abs(step) <= _CLOSE * t:
            break
    return t


def _student_density(t: float, degrees: int) -> float:
    log_scale = math.lgamma((degrees + 1) / 2) - math.lgamma(degrees / 2) - 0.5 * math.log(degrees * math.pi)
    return math.exp(log_scale - (degrees + 1) / 2 * math.log1p(t * t / degrees))


def normal_quantile(confidence: float) -> float:
    """The z with P(|Z| ≤ z) = `confidence`."""
    return NORMAL.inv_cdf((1 + confidence) / 2)
