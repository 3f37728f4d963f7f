"""The memory that a fit in the dual takes, known before any of it is asked for."""

import os

import torch

from cc_tuning.errors import TransformFailed
from cc_tuning.runtime.provenance import readable_bytes
from cc_tuning.transform.config import FitConfig
from cc_tuning.transform.dual import KERNELS
from cc_tuning.transform.landmarks import EXTRA_DIRECTIONS
from cc_tuning.transform.spool import FIT, ActivationSpool

_COORDINATES = 6
"""`[N, m]` float64 matrices at the peak of a fit with landmarks: products, coordinates and both sides of a fold."""
_BASES = 5
"""`[L·D, k]` float64 matrices: what spans the targets, its QR decomposition with its workspace, and the factors."""
_COLUMNS = 2
"""`[N, D]` float64 matrices: a layer of rows of either side."""


def needed_bytes(config: FitConfig, pairs: int, layers: int, hidden_size: int) -> int:
    """Memory of the fit that `config` asks for, as a map from `features: all_layers`."""
    column = 8 * _COLUMNS * pairs * hidden_size
    if config.kernel == "landmarks":
        landmarks = min(config.landmarks, pairs)
        bases = 8 * _BASES * layers * hidden_size * (config.rank + EXTRA_DIRECTIONS)
        return 8 * (_COORDINATES * pairs * landmarks + 4 * landmarks**2) + bases + column
    return 8 * KERNELS * pairs**2 + column + 4 * 4 * layers * hidden_size * min(config.rank, pairs)


def free_bytes(device: torch.device) -> int:
    """The memory of the device that can be had."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def require_memory(spool: ActivationSpool, config: FitConfig, memory: int) -> None:
    """Refuse a fit that takes more than `memory` bytes.

    Raises:
        TransformFailed: says what it needs, and what would do with less.
    """
    pairs = spool.pairs[FIT]
    needed = needed_bytes(config, pairs, spool.layers, spool.hidden_size)
    if needed <= memory:
        return
    if config.kernel == "exact":
        what, instead = f"{KERNELS} kernels of {pairs}² in float64", "use `transform.kernel: landmarks`, s"
    else:
        what, instead = f"{min(config.landmarks, pairs)} landmarks", "choose fewer `transform.landmarks`, s"
    raise TransformFailed(
        f"a map from `features: {config.features}` fitted on {pairs} pairs with {spool.layers} x {spool.hidden_size} "
        f"features needs {readable_bytes(needed)} of memory ({what}) and there are {readable_bytes(memory)}: "
        f"{instead}ample fewer pairs (`transform.pairs`), or use `features: layer`"
    )
