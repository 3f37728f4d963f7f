"""Activations that are made up, as the spool and the pairs of a sample."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from cc_tuning.runtime.progress import no_progress
from cc_tuning.transform.activations import ActivationBatch, SampledPair
from cc_tuning.transform.spool import ActivationSpool

Rows = NDArray[np.float64]


def spool_of(
    folder: Path,
    sides: Mapping[str, tuple[Rows, Rows]],
    pooled: Mapping[str, Rows] | None = None,
    dtype: torch.dtype = torch.float64,
) -> ActivationSpool:
    """`F` and `F_en [N, L, D]` of each split on disk, in batches whose rows are in another order than the pairs."""
    _, layers, hidden_size = next(iter(sides.values()))[0].shape
    spool = ActivationSpool(folder / "rows", layers, hidden_size, torch.device("cpu"))
    total = sum(len(own) for own, _ in sides.values())
    for split, (own, english) in sides.items():
        order = np.random.default_rng(0).permutation(len(own))
        batches = [
            ActivationBatch(
                torch.from_numpy(own[at]).to(dtype),
                torch.from_numpy(english[at]).to(dtype),
                torch.from_numpy(at),
                None if pooled is None else torch.from_numpy(pooled[split][at]).to(dtype),
            )
            for at in np.array_split(order, max(1, len(own) // 16))
        ]
        spool.fill(split, iter(batches), total, no_progress)
    return spool


def pairs_of(texts: Sequence[int], languages: Sequence[str]) -> list[SampledPair]:
    """Pairs whose English prompts are the given numbers."""
    return [
        SampledPair(f"pair-{place}", [1, place], [2, text], language, language)
        for place, (text, language) in enumerate(zip(texts, languages, strict=True))
    ]
