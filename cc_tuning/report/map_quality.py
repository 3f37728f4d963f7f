"""What the diagnostics of a Transform Matrix say beside its errors: direction, size, and the paper's map beside it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Agreement:
    """Whether predictions of held-out pairs point to their own English prompts (`cc_tuning/transform/agreement.py`).

    Means over layers; None where nothing was held out.
    """

    candidates: int
    """Pairs that were searched among."""
    cosine: float | None
    """After the means of language and layer were taken out."""
    found: float | None
    """The share whose nearest English prompt is their own."""
    identity_cosine: float | None
    identity_found: float | None


@dataclass(frozen=True)
class Strength:
    """Sizes at t*, root mean squares (`cc_tuning/transform/strength.py`)."""

    v: float
    v_varying: float
    """Of v about its mean."""
    f1: float
    residual: float
    """After layer 1."""


@dataclass(frozen=True)
class PaperMap:
    """The paper's map on the pairs of another one."""

    held_out_r2: float | None
    held_out_identity_r2: float | None
    r2: float | None
    identity_r2: float | None
    agreement: Agreement


def read_agreement(figures: Mapping[str, Any]) -> Agreement:
    """That of the figures of a map."""
    names = ("cosine", "found", "identity_cosine", "identity_found")
    return Agreement(figures["held_out_candidates"], **{name: figures[f"held_out_{name}"] for name in names})


def read_strength(figures: Mapping[str, Any]) -> Strength:
    """That of a checkpoint, in the figures of its map."""
    return Strength(figures["v_norm"], figures["v_varying_norm"], figures["f1_norm"], figures["residual_norm"])


def read_paper_map(figures: Mapping[str, Any]) -> PaperMap | None:
    """The paper's map beside the one that the figures are of; None where that is the paper's itself."""
    if "paper" not in figures:
        return None
    of = figures["paper"]
    return PaperMap(
        of["held_out_within_r2"], of["held_out_within_identity_r2"], of["within_r2"], of["within_identity_r2"],
        read_agreement(of),
    )  # fmt: skip


@dataclass(frozen=True)
class MapCandidate:
    """One of the maps that one was chosen among (`cc_tuning/transform/choosing.py`); gains in nats a token."""

    name: str
    parameters: int
    r2: float | None
    """On held-out pairs, within language and layer."""
    gain: float
    gain_error: float
    behind: float
    behind_error: float
    is_chosen: bool


@dataclass(frozen=True)
class MapChoice:
    """The choice of a map."""

    by: str
    """`likelihood` or `r2`."""
    maps: Sequence[MapCandidate]
    pairs: int
    """Held-out pairs whose responses were scored."""
    unscored: int
    english_gain: tuple[float, float]
    """Of the real English prompt, with its standard error."""


def read_choice(figures: Mapping[str, Any]) -> MapChoice | None:
    """That in the figures of the chosen map; None where there was no choice."""
    if "candidates" not in figures:
        return None
    names = ("name", "parameters", "gain", "gain_error", "behind", "behind_error")
    maps = [
        MapCandidate(**{name: at[name] for name in names}, r2=at["held_out_within_r2"], is_chosen=at["chosen"])
        for at in figures["candidates"]
    ]
    english = figures["english_gain"], figures["english_gain_error"]
    return MapChoice(figures["choose_by"], maps, figures["scored_pairs"], figures["unscored_pairs"], english)
